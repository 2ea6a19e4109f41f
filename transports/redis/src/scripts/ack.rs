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
        let mut command = script("ack").evalsha(2);
        command.arg(self.keys.unacked()).arg(self.keys.unacked_index());
        for tag in self.tags {
            command.arg(tag.as_ref());
        }
        command
    }
}

impl Ack<'_, ()> {
    /// Reads the answer: the indexes of the tags that were gone, because somebody else gave their messages back.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<Vec<usize>> {
        let Value::Array(items) = &answer else { return Err(unexpected("ack", &answer)) };
        let index = |item: &Value| match item {
            Value::Int(index) => usize::try_from(*index).ok(),
            _ => None,
        };
        items.iter().map(index).collect::<Option<_>>().ok_or_else(|| unexpected("ack", &answer))
    }
}
