//! Setting messages aside.

use kombu_core::Result;
use kombu_core::serialization::json;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Moves an unacknowledged message to the list of what was found in its queue and is not a message.
#[derive(Debug)]
pub(crate) struct SetAside<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Its tag.
    pub(crate) tag: &'a str,
    /// The queue it came from.
    pub(crate) queue: &'a str,
    /// Why.
    pub(crate) reason: &'a str,
}

impl SetAside<'_> {
    /// Returns the command.
    ///
    /// # Errors
    ///
    /// `Encode`, never for text.
    pub(crate) fn command(&self) -> Result<Cmd> {
        let mut command = script("set_aside").evalsha(3);
        command.arg(self.keys.unacked()).arg(self.keys.unacked_index()).arg(self.keys.malformed(self.queue));
        command.arg(self.tag).arg(json::to_vec(self.reason)?);
        Ok(command)
    }

    /// Reads the answer: whether it was still there.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<bool> {
        match answer {
            Value::Int(moved) => Ok(moved == 1),
            other => Err(unexpected("set_aside", &other)),
        }
    }
}
