//! Forgetting messages.

use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Forgets unacknowledged messages.
#[derive(Debug)]
pub(crate) struct Ack<'a, T> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Their tags: at least one, at most [`MAX_TAGS`](Ack::MAX_TAGS).
    pub(crate) tags: &'a [T],
}

impl Ack<'_, ()> {
    /// How many tags go into one command.
    pub(crate) const MAX_TAGS: usize = 1000;
}

impl<T: AsRef<str>> Ack<'_, T> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("ack").evalsha(3);
        command.arg(self.keys.unacked()).arg(self.keys.unacked_index()).arg(self.keys.consumers());
        for tag in self.tags {
            command.arg(tag.as_ref());
        }
        command
    }
}

/// A tag that was gone: its message was forgotten before, or somebody else gave it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Its index.
    pub(crate) index: usize,
    /// Whether its consumer still has its lease, so that nobody can have given it back for being dead.
    pub(crate) is_registered: bool,
}

impl Ack<'_, ()> {
    /// Reads the answer: the tags that were gone.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<Vec<Gone>> {
        let Value::Array(items) = &answer else { return Err(unexpected("ack", &answer)) };
        let gone = |item: &Value| match item {
            Value::Int(number) => {
                let index = usize::try_from(number.unsigned_abs()).ok()?.checked_sub(1)?;
                Some(Gone { index, is_registered: *number > 0 })
            }
            _ => None,
        };
        items.iter().map(gone).collect::<Option<_>>().ok_or_else(|| unexpected("ack", &answer))
    }
}
