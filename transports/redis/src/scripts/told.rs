//! What the scripts that know of policies have in common.

use bytes::Bytes;
use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// What such a script returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The server's time, in milliseconds since 1970.
    pub(crate) now: u64,
    /// When something is due, by that time.
    pub(crate) due: Option<u64>,
    /// What its numbers mean is each script's own.
    pub(crate) numbers: Vec<i64>,
    /// Letters that wait to be sent on, with their ids.
    pub(crate) letters: Vec<(String, Bytes)>,
}

impl Told {
    /// Reads the answer of the script `name`.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not such a script's.
    pub(crate) fn read(name: &'static str, answer: &Value) -> Result<Self> {
        Self::take(answer).ok_or_else(|| unexpected(name, answer))
    }

    fn take(answer: &Value) -> Option<Self> {
        let Value::Array(parts) = answer else { return None };
        let [Value::Int(now), Value::Int(due), Value::Array(numbers), Value::Array(letters)] = parts.as_slice() else {
            return None;
        };
        let number = |number: &Value| match number {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        let letter = |pair: &[Value]| match pair {
            [Value::BulkString(id), Value::BulkString(text)] => {
                Some((String::from_utf8_lossy(id).into_owned(), Bytes::copy_from_slice(text)))
            }
            _ => None,
        };
        Some(Told {
            now: u64::try_from(*now).ok()?,
            due: u64::try_from(*due).ok(),
            numbers: numbers.iter().map(number).collect::<Option<_>>()?,
            letters: letters.chunks(2).map(letter).collect::<Option<_>>()?,
        })
    }
}

/// Begins the command of such a script, which has `more` keys of its own.
pub(super) fn begin(name: &'static str, keys: &Keys, more: &[&str]) -> Cmd {
    let mut command = script(name).evalsha(4 + more.len());
    command.arg(keys.policies()).arg(keys.due()).arg(keys.letters()).arg(keys.sizes());
    for key in more {
        command.arg(*key);
    }
    command.arg(keys.prefix()).arg(keys.steps().len());
    for end in keys.list_ends() {
        command.arg(end);
    }
    command
}
