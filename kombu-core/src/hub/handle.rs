//! The part of a hub that other threads hold.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{Class, Hub};
use crate::clock::instant_after;
use crate::error::Result;
use crate::reply::{self, Reply};

/// Names one hub of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HubId(u64);

impl HubId {
    /// Returns an id no other hub of this process has.
    #[allow(clippy::new_without_default, reason = "every call gives another id")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        HubId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A callback handed in from another thread.
pub type RemoteCallback = Box<dyn FnOnce(&dyn Hub) + Send>;

/// Something that runs on a hub's thread again and again without an allocation per run; see [`HubHandle::schedule`].
pub trait Scheduled: Send + Sync {
    /// Called on the hub's thread once per [`schedule`](HubHandle::schedule).
    fn run(self: Arc<Self>, hub: &dyn Hub);
}

/// What a hub implementation offers to other threads; users hold it as [`HubHandle`].
///
/// # For implementers
///
/// Called from any thread, also the hub's own, also at once from several. Nothing here blocks for longer than a short mutex.
/// Order: whatever one thread hands in through [`call_soon`](RemoteHub::call_soon), [`schedule`](RemoteHub::schedule) and
/// [`spawn`](RemoteHub::spawn) with one class runs (or is first polled) in that order. Once the hub is closed, what is handed in
/// is dropped.
pub trait RemoteHub: Send + Sync {
    /// Returns the hub's name.
    fn id(&self) -> HubId;

    /// Runs `callback` on the hub's thread in its next tick, waking the hub if it sleeps.
    fn call_soon(&self, class: Class, callback: RemoteCallback);

    /// Runs `task` on the hub's thread in its next tick, waking the hub if it sleeps. Does not allocate on its own account.
    fn schedule(&self, class: Class, task: Arc<dyn Scheduled>);

    /// Polls `future` on the hub's thread until it is done.
    fn spawn(&self, class: Class, future: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// Wakes `waker` at `when`, unless the timer whose number it returns is [cancelled](RemoteHub::cancel_timer) before. When
    /// the hub closes, the waker is woken at once: no sleeper sleeps for ever.
    fn wake_at(&self, class: Class, when: Instant, waker: Waker) -> u64;

    /// Returns the time by the hub's clock.
    fn now(&self) -> Instant;

    /// Says whether some thread is turning the hub at this moment (also while it sleeps in its poll).
    fn is_running(&self) -> bool;

    /// Says whether the hub is closed: nothing handed in will ever run.
    fn is_closed(&self) -> bool;

    /// Makes the hub's `run_forever` return after the current tick.
    fn stop(&self);

    /// Cancels the timer with this number; one that ran already is no error.
    fn cancel_timer(&self, number: u64);
}

/// Reaches a [`Hub`] from any thread: `Clone + Send + Sync`.
///
/// What it hands in has a [class](Class): that of the view it was taken from (`hub.handle()`: user, `hub.io().handle()`: I/O).
/// Once the hub is closed, whatever is handed in is dropped without running.
#[derive(Clone)]
pub struct HubHandle {
    remote: Arc<dyn RemoteHub>,
    class: Class,
}

impl HubHandle {
    /// Wraps an implementation.
    pub fn new(remote: Arc<dyn RemoteHub>, class: Class) -> Self {
        HubHandle { remote, class }
    }

    /// Returns the hub's name.
    pub fn id(&self) -> HubId {
        self.remote.id()
    }

    /// Returns a handle of the same hub whose work is of the I/O class; for transports.
    #[must_use]
    pub fn io(&self) -> HubHandle {
        HubHandle { remote: Arc::clone(&self.remote), class: Class::Io }
    }

    /// Returns a handle of the same hub whose work is of the user class.
    #[must_use]
    pub fn user(&self) -> HubHandle {
        HubHandle { remote: Arc::clone(&self.remote), class: Class::User }
    }

    /// Runs `callback` on the hub's thread in its next tick, after everything this thread handed in before.
    pub fn call_soon(&self, callback: impl FnOnce(&dyn Hub) + Send + 'static) {
        self.remote.call_soon(self.class, Box::new(callback));
    }

    /// Runs `task` on the hub's thread in its next tick; unlike [`call_soon`](HubHandle::call_soon) without an allocation.
    pub fn schedule(&self, task: Arc<dyn Scheduled>) {
        self.remote.schedule(self.class, task);
    }

    /// Polls `future` on the hub's thread until it is done. Dropping the returned [`Reply`] does not stop it.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Reply<T> {
        let (sender, receiver) = reply::channel();
        self.remote.spawn(self.class, Box::pin(async move { sender.send(future.await) }));
        receiver
    }

    /// Returns a future that is ready `delay` from now by the hub's clock, on whatever executor it is polled; also when the
    /// hub closes.
    pub fn sleep(&self, delay: Duration) -> Sleep {
        self.sleep_until(instant_after(self.now(), delay))
    }

    /// Returns a future that is ready at `when` by the hub's clock, or when the hub closes.
    pub fn sleep_until(&self, when: Instant) -> Sleep {
        Sleep { handle: self.clone(), when, timer: None }
    }

    /// Returns the time by the hub's clock.
    pub fn now(&self) -> Instant {
        self.remote.now()
    }

    /// Says whether some thread is turning the hub at this moment.
    pub fn is_running(&self) -> bool {
        self.remote.is_running()
    }

    /// Says whether the hub is closed.
    pub fn is_closed(&self) -> bool {
        self.remote.is_closed()
    }

    /// Makes the hub's `run_forever` return after the current tick.
    pub fn stop(&self) {
        self.remote.stop();
    }
}

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHandle").field("id", &self.id()).field("class", &self.class).finish()
    }
}

/// A timer that can be cancelled from any thread. Dropping it does not cancel.
#[derive(Clone)]
pub struct TimerHandle {
    remote: Arc<dyn RemoteHub>,
    number: u64,
}

impl TimerHandle {
    /// Names timer `number` of `remote`; for hub implementations.
    pub fn new(remote: Arc<dyn RemoteHub>, number: u64) -> Self {
        TimerHandle { remote, number }
    }

    /// Cancels the timer: it does not run again. One that ran already, or was cancelled, is no error.
    pub fn cancel(&self) {
        self.remote.cancel_timer(self.number);
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TimerHandle").field(&self.number).finish()
    }
}

/// A future that is ready at a given time. Dropping it cancels the timer.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    handle: HubHandle,
    when: Instant,
    timer: Option<TimerHandle>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        if self.handle.now() >= self.when || self.handle.is_closed() {
            return Poll::Ready(());
        }
        let remote = &self.handle.remote;
        let number = remote.wake_at(self.handle.class, self.when, cx.waker().clone());
        self.timer = Some(TimerHandle::new(Arc::clone(remote), number));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.cancel();
        }
    }
}

/// Asks the hub this thread owns, if it is `handle`'s, to turn its I/O class for `future`; `None` when it is another's.
pub(crate) fn wait_on_own_hub(
    handle: &HubHandle,
    future: Pin<&mut dyn Future<Output = ()>>,
    deadline: Option<Instant>,
) -> Option<Result<bool>> {
    super::local_hub(handle.id()).map(|hub| hub.wait_io(future, deadline))
}
