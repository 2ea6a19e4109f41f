//! What a hub did, in numbers.

use std::cell::Cell;

/// Counts since a hub was made; read with [`MioHub::stats`](crate::MioHub::stats). Tests count these instead of measuring time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ticks begun, nested ones included.
    pub ticks: u64,
    /// Calls of the operating system's poll.
    pub polls: u64,
    /// Polls that were allowed to block, each of which ended in a wake-up: for a timer, a descriptor or another thread.
    pub wake_ups: u64,
    /// Callbacks of `call_soon` and `schedule` that ran.
    pub ready: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Calls of `on_tick` callbacks.
    pub hooks: u64,
    /// Calls of the callbacks of sources.
    pub sources: u64,
    /// Calls of readers.
    pub readers: u64,
    /// Calls of writers.
    pub writers: u64,
    /// Polls of tasks.
    pub tasks: u64,
    /// Errors reported: panics, dead descriptors.
    pub errors: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Tick,
    Poll,
    WakeUp,
    Ready,
    Timer,
    Hook,
    Source,
    Reader,
    Writer,
    Task,
    Error,
}

/// One cell per [`Count`].
#[derive(Debug, Default)]
pub(crate) struct Counters([Cell<u64>; Count::Error as usize + 1]);

impl Counters {
    pub(crate) fn add(&self, count: Count) {
        let cell = &self.0[count as usize];
        cell.set(cell.get() + 1);
    }

    pub(crate) fn stats(&self) -> Stats {
        let count = |count: Count| self.0[count as usize].get();
        Stats {
            ticks: count(Count::Tick),
            polls: count(Count::Poll),
            wake_ups: count(Count::WakeUp),
            ready: count(Count::Ready),
            timers: count(Count::Timer),
            hooks: count(Count::Hook),
            sources: count(Count::Source),
            readers: count(Count::Reader),
            writers: count(Count::Writer),
            tasks: count(Count::Task),
            errors: count(Count::Error),
        }
    }
}
