//! The event loop's contract: [`Hub`], [`Poller`], [`HubHandle`]. `kombu-hub` implements it on mio; core knows no
//! implementation.

mod class;
mod default_hub;
mod handle;
mod local;
mod poller;

use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::event::Source;

use crate::error::Result;

pub use crate::clock::instant_after;
pub use class::Class;
pub(crate) use default_hub::dedicated_hub;
pub use default_hub::{HubFactory, HubFactoryEntry, set_hub_factory, shared_hub};
pub(crate) use handle::wait_on_own_hub;
pub use handle::{HubHandle, HubId, RemoteCallback, RemoteHub, Scheduled, Sleep, TimerHandle};
pub use local::{LocalHubGuard, local_hub, register_local_hub};
pub use poller::{PollEvent, Poller, Readiness};

/// A callback that runs once on the hub's thread.
pub type Callback = Box<dyn FnOnce(&dyn Hub)>;

/// A callback that runs any number of times on the hub's thread.
pub type RepeatedCallback = Box<dyn FnMut(&dyn Hub)>;

/// A callback for a [`Source`] that became ready.
pub type SourceCallback = Box<dyn FnMut(&dyn Hub, Readiness) -> Progress>;

/// A future that stays on the hub's thread.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What a [`SourceCallback`] tells the hub about its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Read or written until the operating system said `WouldBlock`: call again at the next readiness.
    Drained,
    /// Stopped early to be fair to others: call again in the next tick, without waiting for a readiness.
    More,
}

/// Names one registration of a [`Source`] with a hub; never reused while the hub lives, unlike a descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// Names one [`on_tick`](Hub::on_tick) or [`on_close`](Hub::on_close) callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HookId(pub u64);

/// An event loop that belongs to one thread: sockets, timers, callbacks and local tasks.
///
/// The same object serves every transport registered with it, and the application. It is not `Send`; [`handle`](Hub::handle)
/// gives the part that other threads may hold.
///
/// **One tick**: ready callbacks in the order they were asked for → due timers → [`on_tick`](Hub::on_tick) → poll → readers
/// and writers → local tasks. Each step has a budget, so that a busy source starves nobody.
///
/// **Two classes.** What is registered through [`io`](Hub::io) belongs to the [I/O class](Class::Io): it moves bytes and never
/// runs the application's code. Everything else is the [user class](Class::User). [`wait_io`](Hub::wait_io), which carries
/// every `.wait()`, turns the I/O class only, so a callback may wait for a broker's answer without another callback of the
/// application running underneath it.
///
/// **Callbacks** are called on the hub's thread, one at a time, with no lock of the hub held: they may call any method of the
/// hub, also remove themselves. A callback that panics is removed and reported; the hub goes on.
///
/// # For implementers
///
/// Every method is called on the hub's own thread only. None may block, except [`run_once`](Hub::run_once) and
/// [`wait_io`](Hub::wait_io). What is handed in may be kept until it is removed or the hub closes, and is dropped on the hub's
/// thread with no lock held.
pub trait Hub {
    /// Returns the part of the hub that other threads may hold; what it schedules has the class of `self`.
    fn handle(&self) -> HubHandle;

    /// Returns the view of this hub that registers with [`Class::Io`]. Calling it on that view returns the same view.
    fn io(&self) -> &dyn Hub;

    /// Returns the poller under this hub.
    fn poller(&self) -> &dyn Poller;

    /// Returns the time by the hub's clock, read once per tick step: cheap, and equal for all that happens at once.
    fn now(&self) -> Instant;

    /// Watches `source`, edge-triggered: after `on_ready` said [`Progress::Drained`] it is called again at the next change.
    ///
    /// The hub registers the source with its poller; the caller must not. The caller keeps the source and must hand it to
    /// [`remove_source`](Hub::remove_source) before dropping it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the operating system refuses the source (closed, or registered already); `Closed` after
    /// [`stop`](Hub::stop) finished the hub.
    fn add_source(&self, source: &mut dyn Source, interest: Interest, on_ready: SourceCallback) -> Result<SourceId>;

    /// Changes what `source` is watched for.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when `id` is not registered or the operating system refuses.
    fn modify_source(&self, source: &mut dyn Source, id: SourceId, interest: Interest) -> Result<()>;

    /// Stops watching `source`; its callback is not called again, not even for a readiness of the current tick.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when `id` is not registered. The callback is gone whatever the answer.
    fn remove_source(&self, source: &mut dyn Source, id: SourceId) -> Result<()>;

    /// Calls `callback` whenever `fd` is readable, closed or broken; level-triggered, as Kombu's `add_reader`.
    ///
    /// One reader per descriptor: a second call replaces the first. The descriptor must stay open until it is removed; one
    /// found closed is removed and reported.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the operating system refuses the descriptor.
    fn add_reader(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()>;

    /// Calls `callback` whenever `fd` is writable or broken; otherwise as [`add_reader`](Hub::add_reader).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the operating system refuses the descriptor.
    fn add_writer(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()>;

    /// Removes the reader of `fd`; says whether there was one. It is not called again, not even in the current tick.
    fn remove_reader(&self, fd: RawFd) -> bool;

    /// Removes the writer of `fd`; says whether there was one.
    fn remove_writer(&self, fd: RawFd) -> bool;

    /// Removes reader and writer of `fd`; says whether there was one.
    fn remove(&self, fd: RawFd) -> bool {
        let reader = self.remove_reader(fd);
        self.remove_writer(fd) || reader
    }

    /// Calls `callback` once per tick, after the timers and before the poll.
    fn on_tick(&self, callback: RepeatedCallback) -> HookId;

    /// Calls `callback` when the hub closes, on its thread, while its handle still works.
    fn on_close(&self, callback: Callback) -> HookId;

    /// Removes a callback of [`on_tick`](Hub::on_tick) or [`on_close`](Hub::on_close); says whether it was there.
    fn remove_hook(&self, id: HookId) -> bool;

    /// Calls `callback` in the next tick, after everything that was asked for before it.
    fn call_soon(&self, callback: Callback);

    /// Calls `callback` once, `delay` from now.
    fn call_later(&self, delay: Duration, callback: Callback) -> TimerHandle {
        self.call_at(instant_after(self.now(), delay), callback)
    }

    /// Calls `callback` once at `when`; a time in the past means the next tick. Equal times run in the order of the calls.
    fn call_at(&self, when: Instant, callback: Callback) -> TimerHandle;

    /// Calls `callback` every `interval`, first after one interval, without drift: runs are due at multiples of the interval
    /// from now, and runs missed because the hub was busy are skipped, not made up for.
    fn call_repeatedly(&self, interval: Duration, callback: RepeatedCallback) -> TimerHandle;

    /// Runs `future` on the hub's thread. It starts in the next tick.
    fn spawn_local(&self, future: LocalFuture);

    /// Makes [`run_once`](Hub::run_once)'s outer loop (`run_forever`) return after the current tick.
    fn stop(&self);

    /// Runs one tick, waiting up to `timeout` for something to do; `None` waits until there is something. Says whether
    /// anything ran.
    ///
    /// # Errors
    ///
    /// `Reentrant` from inside a callback of this hub; `Closed` when the hub is closed.
    fn run_once(&self, timeout: Option<Duration>) -> Result<bool>;

    /// Turns the I/O class until `future` is ready (`true`) or `deadline` has passed (`false`). May be called from inside a
    /// callback: that is what `.wait()` does.
    ///
    /// # Errors
    ///
    /// `Closed` when the hub is closed.
    fn wait_io(&self, future: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) -> Result<bool>;
}
