//! Looking after queues whose messages expire, or are too many.

use redis::Cmd;

use super::told;
use crate::keys::Keys;

/// Takes out of queues what has expired and what is too much.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The queues; none for everything that is due.
    pub(crate) queues: &'a [&'a str],
}

impl Look<'_> {
    /// Returns the command. The number in its answer is how many things were due.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = told::begin("look", self.keys, &[]);
        for queue in self.queues {
            command.arg(*queue);
        }
        command
    }
}
