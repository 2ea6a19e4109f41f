//! Keeping declarations.

use redis::Cmd;

use super::script;

/// Keeps what an exchange or a queue was declared with, unless it is known already; the answer is what is known.
#[derive(Debug)]
pub(crate) struct Define<'a> {
    /// The hash of the exchange or queue.
    pub(crate) key: &'a str,
    /// The hash of policies; and the queue with its arguments about the life of messages, in JSON, if it has any.
    pub(crate) policies: &'a str,
    pub(crate) policy: Option<(&'a str, &'a [u8])>,
    /// Names and values of its fields.
    pub(crate) fields: &'a [(&'static str, String)],
}

impl Define<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("define").evalsha(2);
        let (queue, policy) = self.policy.unwrap_or_default();
        command.arg(self.key).arg(self.policies).arg(queue).arg(policy);
        for (name, value) in self.fields {
            command.arg(name).arg(value);
        }
        command
    }
}
