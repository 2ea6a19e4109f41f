//! A value that arrives later, once, from another thread or task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    closed: bool,
}

struct Shared<T>(Mutex<Slot<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // Nothing panics while the lock is held; a poisoned slot is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes both ends of a reply.
pub fn channel<T>() -> (ReplySender<T>, Reply<T>) {
    let shared = Arc::new(Shared(Mutex::new(Slot { value: None, waker: None, closed: false })));
    (ReplySender { shared: Some(Arc::clone(&shared)) }, Reply { shared })
}

/// The end that answers. Dropping it unanswered answers `None`.
pub struct ReplySender<T> {
    shared: Option<Arc<Shared<T>>>,
}

impl<T> ReplySender<T> {
    /// Answers, and wakes whoever waits.
    pub fn send(mut self, value: T) {
        if let Some(shared) = self.shared.take() {
            Self::finish(&shared, Some(value));
        }
    }

    /// Says whether nobody waits any more: the [`Reply`] is dropped.
    pub fn is_abandoned(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| Arc::strong_count(shared) == 1)
    }

    fn finish(shared: &Shared<T>, value: Option<T>) {
        let waker = {
            let mut slot = shared.lock();
            slot.value = value;
            slot.closed = true;
            slot.waker.take()
        };
        // Wakers are foreign code: called with the lock released.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for ReplySender<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            Self::finish(&shared, None);
        }
    }
}

impl<T> fmt::Debug for ReplySender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplySender")
    }
}

/// The end that waits: a future of the value, or of `None` when the other end was dropped without answering.
///
/// Cancellation safe: dropping it gives up the value and nothing else.
#[must_use = "a reply does nothing unless it is awaited"]
pub struct Reply<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Future for Reply<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.shared.lock();
        if slot.closed {
            return Poll::Ready(slot.value.take());
        }
        let old = match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => slot.waker.replace(cx.waker().clone()),
        };
        drop(slot);
        drop(old);
        Poll::Pending
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
