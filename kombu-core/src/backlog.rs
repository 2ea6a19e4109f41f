//! How much waits to be published, and who waits until it is less: what stands behind
//! [`Channel::poll_publish_ready`](crate::Channel::poll_publish_ready) and the answer `Overloaded`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts what waits to be published, in bytes, over all channels of a connection; for transports.
///
/// Above 4 MiB a publisher that asks is told to wait, and woken below 2 MiB; above 64 MiB a publish is refused, unless it is the
/// only one.
///
/// ```
/// let backlog = kombu_core::backlog::Backlog::default();
/// assert!(backlog.add(65 << 20), "the only one, whatever its size");
/// assert!(!backlog.add(1));
/// backlog.remove(65 << 20);
/// assert!(backlog.add(1));
/// ```
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Backlog {
    /// Counts a publish of `size` bytes; `false`, counting nothing, above the hard limit.
    pub fn add(&self, size: usize) -> bool {
        let before = self.bytes.fetch_add(size, Ordering::AcqRel);
        let fits = before == 0 || before + size <= HARD_LIMIT;
        if !fits {
            self.bytes.fetch_sub(size, Ordering::AcqRel);
        }
        fits
    }

    /// Counts a publish of `size` bytes that has its answer.
    pub fn remove(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
    }

    /// Says whether a publish would be taken gladly; keeps the waker otherwise.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes.load(Ordering::Acquire) < HIGH_WATER {
            return Poll::Ready(());
        }
        {
            // Nothing panics while the lock is held.
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
        }
        // What fell below the mark before the waker was kept did not wake it.
        if self.bytes.load(Ordering::Acquire) < HIGH_WATER { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Wakes who waits, if there is room again.
    pub fn wake(&self) {
        if self.bytes.load(Ordering::Acquire) >= LOW_WATER {
            return;
        }
        // As above.
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes everybody, whatever the room: a channel or the connection is closed.
    pub fn wake_all(&self) {
        // As above.
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Above this a publish is refused, unless it is the only one.
const HARD_LIMIT: usize = 64 * 1024 * 1024;
/// Above this a publisher that asks is told to wait.
const HIGH_WATER: usize = 4 * 1024 * 1024;
/// Below this it is woken.
const LOW_WATER: usize = 2 * 1024 * 1024;
