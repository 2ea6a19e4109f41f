//! Keeping declarations.

use redis::Cmd;

use super::script;

/// Keeps what an exchange or a queue was declared with, unless it is known already; the answer is what is known.
#[derive(Debug)]
pub(crate) struct Define<'a> {
    /// The hash of the exchange or queue.
    pub(crate) key: &'a str,
    /// Names and values of its fields.
    pub(crate) fields: &'a [(&'static str, String)],
}

impl Define<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("define").evalsha(1);
        command.arg(self.key);
        for (name, value) in self.fields {
            command.arg(name).arg(value);
        }
        command
    }
}
