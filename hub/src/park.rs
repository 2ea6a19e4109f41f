//! The one place where the hub's thread and its wakers agree on who wakes whom.
//!
//! The thread that wants to sleep publishes "sleeping" and **then** looks at every queue once more. Whoever queues something
//! does so **first** and then asks whether the thread sleeps. So one of the two always sees the other: either the sleeper finds
//! the work, or the waker finds the sleeper. `tests/loom_park.rs` runs this file under every interleaving.

use super::sync::atomic::{AtomicBool, Ordering};

/// Says whether a thread sleeps and somebody has to wake it.
#[derive(Debug)]
pub(crate) struct Park {
    sleeping: AtomicBool,
}

impl Park {
    pub(crate) fn new() -> Self {
        Park { sleeping: AtomicBool::new(false) }
    }

    /// Publishes "sleeping", then asks `has_work`. Returns `true` when the thread may block now: whatever is queued from here on
    /// wakes it. Either way the thread calls [`awake`](Park::awake) before it goes on.
    pub(crate) fn sleep_unless(&self, has_work: impl FnOnce() -> bool) -> bool {
        // A read-modify-write, as in `wake`: the two are ordered in one way or the other, never both blind.
        self.sleeping.swap(true, Ordering::SeqCst);
        !has_work()
    }

    /// Says that the thread is awake again: nobody needs to wake it.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Calls `waker` if the thread sleeps; of several callers, one does. To be called after the work is queued.
    pub(crate) fn wake(&self, waker: impl FnOnce()) {
        // A load first would be cheaper by a few nanoseconds, but leaves the orders that loom can check.
        if self.sleeping.swap(false, Ordering::SeqCst) {
            waker();
        }
    }
}
