//! Sweeping away binding tables.

use redis::Cmd;

use super::script;
use crate::keys::Keys;

/// Removes binding tables of exchanges whose expiring queues have all gone; the answer is how many were looked at.
#[derive(Debug)]
pub(crate) struct SweepBindings<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
}

impl SweepBindings<'_> {
    /// How many exchanges one sweep looks at, as in Kombu.
    pub(crate) const MAX_EXCHANGES: u32 = 100;

    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("sweep_bindings").evalsha(1);
        command.arg(self.keys.binding_deadlines());
        command.arg(self.keys.binding_prefix()).arg(self.keys.binding_permanent_prefix()).arg(Self::MAX_EXCHANGES);
        command
    }
}
