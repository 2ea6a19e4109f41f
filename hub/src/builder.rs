//! The choices made when a hub is made.

use std::fmt;
use std::sync::Arc;

use kombu_core::{Clock, Result, SystemClock};

use crate::MioHub;

/// Makes a [`MioHub`] with options; see [`MioHub::builder`].
///
/// ```
/// let hub = kombu_hub::MioHub::builder().name("billing").tasks_per_tick(64).build()?;
/// assert_eq!(hub.name(), "billing");
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone)]
pub struct HubBuilder {
    pub(crate) name: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budgets: Budgets,
}

/// How much of each kind one tick does at most; the rest waits for the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    pub(crate) ready: usize,
    pub(crate) timers: usize,
    pub(crate) events: usize,
    pub(crate) tasks: usize,
}

impl HubBuilder {
    pub(crate) fn new() -> Self {
        HubBuilder {
            name: String::from("hub"),
            clock: Arc::new(SystemClock),
            budgets: Budgets { ready: 1024, timers: 1024, events: 256, tasks: 256 },
        }
    }

    /// Sets the name the hub shows in logs; default `hub`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets where time comes from; default the operating system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how many ready callbacks of each class one tick runs at most; default 1024.
    #[must_use]
    pub fn ready_per_tick(mut self, ready: usize) -> Self {
        self.budgets.ready = ready.max(1);
        self
    }

    /// Sets how many due timers one tick fires at most; default 1024.
    #[must_use]
    pub fn timers_per_tick(mut self, timers: usize) -> Self {
        self.budgets.timers = timers.max(1);
        self
    }

    /// Sets how many readinesses one tick takes from the operating system at most; default 256.
    #[must_use]
    pub fn events_per_tick(mut self, events: usize) -> Self {
        self.budgets.events = events.max(1);
        self
    }

    /// Sets how many times one tick polls tasks of each class at most; default 256.
    #[must_use]
    pub fn tasks_per_tick(mut self, tasks: usize) -> Self {
        self.budgets.tasks = tasks.max(1);
        self
    }

    /// Makes the hub; it belongs to the calling thread.
    ///
    /// # Errors
    ///
    /// `Internal` when the process is out of descriptors.
    pub fn build(self) -> Result<MioHub> {
        MioHub::from_builder(self)
    }
}

impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder").field("name", &self.name).field("budgets", &self.budgets).finish_non_exhaustive()
    }
}
