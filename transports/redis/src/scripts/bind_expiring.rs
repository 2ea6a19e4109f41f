//! Binding queues that expire.

use std::time::Duration;

use redis::Cmd;

use super::script;
use crate::keys::Keys;

/// Binds queues that expire to an exchange, or renews their bindings. A table whose renewals stop is swept away when all its
/// queues expire.
#[derive(Debug)]
pub(crate) struct BindExpiring<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The exchange.
    pub(crate) exchange: &'a str,
    /// How long the bindings last: see [`ttl`](BindExpiring::ttl).
    pub(crate) ttl: Duration,
    /// Members of the binding table: at least one, at most 1000.
    pub(crate) members: &'a [String],
}

impl BindExpiring<'_> {
    /// Returns how long bindings of a queue with this `x-expires` last: twice that, and no less than an hour, as in Kombu.
    pub(crate) fn ttl(expires: Duration) -> Duration {
        expires.saturating_mul(2).max(SHORTEST)
    }

    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("bind_expiring").evalsha(2);
        command.arg(self.keys.binding(self.exchange)).arg(self.keys.binding_deadlines());
        command.arg(self.ttl.as_millis().to_string()).arg(self.exchange).arg(self.members);
        command
    }
}

const SHORTEST: Duration = Duration::from_secs(3600);
