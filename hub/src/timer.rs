//! Kombu's timer face of a hub.

use std::time::{Duration, Instant};

use kombu_core::hub::{Class, TimerHandle};

use crate::MioHub;

/// The timers of a hub under Kombu's names; made by [`MioHub::timer`].
///
/// ```
/// use std::time::Duration;
///
/// let hub = kombu_hub::MioHub::new()?;
/// hub.timer().call_repeatedly(Duration::from_secs(3), |_| println!(" kombu "));
/// assert_eq!(hub.timer().len(), 1);
/// hub.timer().clear();
/// assert!(hub.timer().is_empty());
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timer<'a> {
    hub: &'a MioHub,
}

impl<'a> Timer<'a> {
    pub(crate) fn new(hub: &'a MioHub) -> Self {
        Timer { hub }
    }

    /// Calls `callback` once, `delay` from now; the same as [`MioHub::call_later`].
    pub fn call_after(&self, delay: Duration, callback: impl FnOnce(&MioHub) + 'static) -> TimerHandle {
        self.hub.call_later(delay, callback)
    }

    /// Calls `callback` once at `when`; the same as [`MioHub::call_at`].
    pub fn call_at(&self, when: Instant, callback: impl FnOnce(&MioHub) + 'static) -> TimerHandle {
        self.hub.call_at(when, callback)
    }

    /// Calls `callback` every `interval`; the same as [`MioHub::call_repeatedly`].
    pub fn call_repeatedly(&self, interval: Duration, callback: impl FnMut(&MioHub) + 'static) -> TimerHandle {
        self.hub.call_repeatedly(interval, callback)
    }

    /// Cancels `timer`; the same as [`TimerHandle::cancel`].
    pub fn cancel(&self, timer: &TimerHandle) {
        timer.cancel();
    }

    /// Cancels every timer of the application; those of transports stay.
    pub fn clear(&self) {
        let core = self.hub.core();
        core.shared.timers.clear(Class::User);
        core.drop_orphans();
    }

    /// Counts the timers of the application that are still to run.
    pub fn len(&self) -> usize {
        self.hub.core().shared.timers.count(Class::User)
    }

    /// Says whether the application has no timer that is still to run.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns when the application's next timer or sleeper is due; `None` when there is none.
    pub fn next_due(&self) -> Option<Instant> {
        self.hub.core().shared.timers.next_due(&[Class::User])
    }
}
