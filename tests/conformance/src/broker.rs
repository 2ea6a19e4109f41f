//! What a harness can do to its broker.

use crate::need::Hook;

/// A broker that the suite may treat badly. Checks that need a [`Hook`] get one of their own, made by the harness's factory and
/// dropped with the check.
pub trait Broker: Send {
    /// Returns the URL, the same over every restart.
    fn url(&self) -> String;

    /// Returns what of the following works here; by default nothing.
    fn hooks(&self) -> &[Hook] {
        &[]
    }

    /// Stops the broker; what is persistent stays ([`Hook::Restart`]).
    fn stop(&mut self) {}

    /// Starts it again after [`stop`](Broker::stop), at the same URL ([`Hook::Restart`]).
    fn start(&mut self) {}

    /// Cuts every connection without a goodbye; new ones are taken ([`Hook::Cut`]).
    fn cut(&mut self) {}

    /// Makes the broker refuse publishes for want of resources, or take them again ([`Hook::Block`]).
    fn block(&mut self, is_blocked: bool) {
        let _ = is_blocked;
    }

    /// Returns the password in the URL ([`Hook::Password`]).
    fn password(&self) -> Option<String> {
        None
    }
}
