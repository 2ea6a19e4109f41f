//! The lock of the visibility sweep.
//!
//! Key and token are Kombu's, and so is the way it is released: whoever finds the key there leaves the sweep to its holder.
//! Kombu takes it for `unacked_mutex_expire` once. Here it is taken for a shorter time and renewed, so that a holder that died
//! is not waited for that long. A client that takes an expired lock while its last holder still sweeps does no harm: every
//! message is given back in one step, and only by the first who tries.

use std::time::Duration;

use redis::Cmd;

use super::script;
use crate::keys::Keys;

/// Takes, renews and releases the lock of the visibility sweep.
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

    /// Returns the command that makes it last for `expire` from now: answered with 0 when `token` does not hold it any more.
    pub(crate) fn renew(&self, expire: Duration) -> Cmd {
        let mut command = script("renew_lock").evalsha(1);
        let milliseconds = expire.as_millis().max(1).to_string();
        command.arg(self.keys.unacked_mutex()).arg(self.token).arg(milliseconds);
        command
    }

    /// Returns the command that releases it, if `token` still holds it; the answer is 1 if so.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("unlock").evalsha(1);
        command.arg(self.keys.unacked_mutex()).arg(self.token);
        command
    }
}
