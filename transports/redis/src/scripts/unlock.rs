//! The lock of the visibility sweep.

use std::time::Duration;

use redis::Cmd;

use super::script;
use crate::keys::Keys;

/// Releases the lock of the visibility sweep, if `token` still holds it; the answer is 1 if so.
#[derive(Debug)]
pub(crate) struct Unlock<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// What the lock was taken with: 32 hexadecimal digits, as in Kombu.
    pub(crate) token: &'a str,
}

impl Unlock<'_> {
    /// Returns the command that takes the lock for `expire`: answered with OK, or with nil while somebody else holds it.
    pub(crate) fn lock(&self, expire: Duration) -> Cmd {
        let mut command = redis::cmd("SET");
        let milliseconds = expire.as_millis().max(1).to_string();
        command.arg(self.keys.unacked_mutex()).arg(self.token).arg("NX").arg("PX").arg(milliseconds);
        command
    }

    /// Returns the command that releases it.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("unlock").evalsha(1);
        command.arg(self.keys.unacked_mutex()).arg(self.token);
        command
    }
}
