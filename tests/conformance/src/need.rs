//! What a check needs before it can run.

use std::fmt;

use kombu_core::{Capabilities, Ordering, Support};

/// Something the transport declares, or the harness offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A capability that is a [`Support`], by its name.
    Can(&'static str),
    /// Priorities, in whichever order.
    Priority,
    /// An order of messages, the queue's or each publisher's.
    Order,
    /// Messages of a killed process come back.
    CrashRestore,
    /// A broker of the check's own with this hook.
    Hook(Hook),
}

/// What the harness can do to a broker; see [`Broker`](crate::Broker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// Stop the broker and start it again with its data.
    Restart,
    /// Cut every connection.
    Cut,
    /// Make the broker refuse publishes for want of resources.
    Block,
    /// A broker that wants a password.
    Password,
}

impl Need {
    /// Says how the transport comes by it; `None` for what only the harness has.
    pub(crate) fn support(self, can: &Capabilities) -> Option<Support> {
        let is = |holds: bool| if holds { Support::Native } else { Support::No };
        match self {
            Need::Can(name) => can.supports().into_iter().find(|(known, _)| *known == name).map(|(_, support)| support),
            Need::Priority => Some(is(can.priority.is_some())),
            Need::Order => Some(is(can.ordering != Ordering::None)),
            Need::CrashRestore => Some(is(can.restore_after_crash.is_some())),
            Need::Hook(_) => None,
        }
    }

    pub(crate) fn is_hook(self) -> bool {
        matches!(self, Need::Hook(_))
    }

    /// Returns the name of the capability, or of the hook.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Need::Can(name) => name,
            Need::Priority => "priority",
            Need::Order => "ordering",
            Need::CrashRestore => "restore_after_crash",
            Need::Hook(Hook::Restart) => "hook `restart`",
            Need::Hook(Hook::Cut) => "hook `cut`",
            Need::Hook(Hook::Block) => "hook `block`",
            Need::Hook(Hook::Password) => "hook `password`",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
