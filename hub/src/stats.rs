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

#[derive(Debug, Default)]
pub(crate) struct Counters(Cell<Stats>);

impl Counters {
    pub(crate) fn add(&self, count: Count) {
        let mut stats = self.0.get();
        let field = match count {
            Count::Tick => &mut stats.ticks,
            Count::Poll => &mut stats.polls,
            Count::WakeUp => &mut stats.wake_ups,
            Count::Ready => &mut stats.ready,
            Count::Timer => &mut stats.timers,
            Count::Hook => &mut stats.hooks,
            Count::Source => &mut stats.sources,
            Count::Reader => &mut stats.readers,
            Count::Writer => &mut stats.writers,
            Count::Task => &mut stats.tasks,
            Count::Error => &mut stats.errors,
        };
        *field += 1;
        self.0.set(stats);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.get()
    }
}
