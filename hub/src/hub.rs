//! The hub as applications hold it.

use std::fmt;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kombu_core::hub::{
    Callback, HookId, Hub, HubHandle, LocalFuture, LocalHubGuard, Progress, Readiness, RemoteHub, RepeatedCallback,
    SourceCallback, SourceId, TimerHandle, register_local_hub,
};
use kombu_core::{Clock, Error, Result, reply};
use mio::Interest;
use mio::event::Source;

use crate::builder::HubBuilder;
use crate::face::Face;
use crate::state::Core;
use crate::stats::Stats;
use crate::tasks::JoinHandle;
use crate::timer::Timer;

/// An event loop that belongs to one thread: Kombu's `Hub` on [mio].
///
/// It takes closures, which are given the hub again: they may add and remove anything, themselves included. `&MioHub` is a
/// `&dyn Hub`, the contract that transports register with. What is registered through `MioHub` is the application's (user
/// class); transports use [`io`](MioHub::io).
///
/// **One tick**: ready callbacks in the order they were asked for → due timers → `on_tick` → poll → readers and writers → local
/// tasks. Each step has a [budget](HubBuilder), so that a busy source starves nobody. An idle hub makes no wake-ups.
///
/// **A callback that panics** is removed and [reported](MioHub::on_error); the hub goes on.
///
/// Dropping the hub [closes](MioHub::close) it.
pub struct MioHub {
    pub(crate) face: Rc<Face>,
    /// The hub itself, not the reference a callback is given.
    owner: Option<LocalHubGuard>,
}

impl MioHub {
    /// Makes a hub with the defaults; it belongs to the calling thread.
    ///
    /// # Errors
    ///
    /// `Internal` when the process is out of descriptors.
    pub fn new() -> Result<Self> {
        HubBuilder::new().build()
    }

    /// Makes a hub whose time comes from `clock`; with a [`ManualClock`](kombu_core::ManualClock) it never waits for time.
    ///
    /// # Errors
    ///
    /// `Internal` when the process is out of descriptors.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Result<Self> {
        HubBuilder::new().clock(clock).build()
    }

    /// Returns what makes a hub with other options.
    pub fn builder() -> HubBuilder {
        HubBuilder::new()
    }

    pub(crate) fn from_builder(builder: HubBuilder) -> Result<Self> {
        let core = Core::new(builder)?;
        let id = core.shared.id();
        let face = Face::new(core);
        let weak: Weak<dyn Hub> = Rc::<Face>::downgrade(&face);
        Ok(MioHub { face, owner: Some(register_local_hub(id, weak)) })
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        self.face.core()
    }

    /// Returns the hub's name, `hub` unless the [builder](HubBuilder::name) gave another.
    pub fn name(&self) -> &str {
        &self.core().name
    }

    /// Returns the part that other threads may hold; what it hands in is of the user class.
    pub fn handle(&self) -> HubHandle {
        self.face.handle()
    }

    /// Returns the view that transports register with: what goes through it also runs while a callback waits for an answer.
    pub fn io(&self) -> &dyn Hub {
        self.face.io()
    }

    /// Returns the timers under Kombu's names: `hub.timer().call_repeatedly(..)`.
    pub fn timer(&self) -> Timer<'_> {
        Timer::new(self)
    }

    /// Returns the time by the hub's clock; inside a callback, that of the current step of the tick.
    pub fn now(&self) -> Instant {
        self.face.now()
    }

    /// Returns the counts since the hub was made.
    pub fn stats(&self) -> Stats {
        self.core().counters.stats()
    }

    /// Calls `callback` in the next tick, after everything that was asked for before it.
    pub fn call_soon(&self, callback: impl FnOnce(&MioHub) + 'static) {
        self.face.call_soon(self.once(callback));
    }

    /// Calls `callback` once, `delay` from now.
    pub fn call_later(&self, delay: Duration, callback: impl FnOnce(&MioHub) + 'static) -> TimerHandle {
        self.face.call_later(delay, self.once(callback))
    }

    /// Calls `callback` once at `when`; a time in the past means the next tick. Equal times run in the order of the calls.
    pub fn call_at(&self, when: Instant, callback: impl FnOnce(&MioHub) + 'static) -> TimerHandle {
        self.face.call_at(when, self.once(callback))
    }

    /// Calls `callback` every `interval`, first after one interval, without drift; turns missed because the hub was busy are
    /// skipped. An interval of zero means every tick.
    pub fn call_repeatedly(&self, interval: Duration, callback: impl FnMut(&MioHub) + 'static) -> TimerHandle {
        self.face.call_repeatedly(interval, self.repeated(callback))
    }

    /// Calls `callback` whenever `fd` is readable, closed or broken, again and again while it is (level-triggered). A second
    /// reader of the same descriptor replaces the first. Keep the descriptor open until it is [removed](MioHub::remove_reader).
    ///
    /// A descriptor found closed is removed and [reported](MioHub::on_error). So is a reader that was called 16 times with
    /// the end of a socket before it and did not read or remove it (65 536 times where the hub cannot see the end: pipes).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::fd::AsRawFd;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (mut here, mut there) = UnixStream::pair().expect("a socket pair");
    /// there.write_all(b"hi").expect("writable");
    /// let hub = kombu_hub::MioHub::new()?;
    /// hub.add_reader(&here.as_raw_fd(), move |hub| {
    ///     let mut byte = [0];
    ///     here.read_exact(&mut byte).expect("readable");
    ///     if byte == *b"i" {
    ///         hub.stop();
    ///     }
    /// })?;
    /// hub.run_forever()?;
    /// # Ok::<(), kombu_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the descriptor is closed, registered otherwise, or of a kind that cannot be watched (regular
    /// files); `Closed` when the hub is closed.
    pub fn add_reader(&self, fd: &impl AsRawFd, callback: impl FnMut(&MioHub) + 'static) -> Result<()> {
        self.face.add_reader(fd.as_raw_fd(), self.repeated(callback))
    }

    /// Calls `callback` whenever `fd` is writable or broken; otherwise as [`add_reader`](MioHub::add_reader).
    ///
    /// # Errors
    ///
    /// As [`add_reader`](MioHub::add_reader).
    pub fn add_writer(&self, fd: &impl AsRawFd, callback: impl FnMut(&MioHub) + 'static) -> Result<()> {
        self.face.add_writer(fd.as_raw_fd(), self.repeated(callback))
    }

    /// Removes the reader of `fd`; says whether there was one. It is not called again, not even in the current tick.
    pub fn remove_reader(&self, fd: &impl AsRawFd) -> bool {
        self.face.remove_reader(fd.as_raw_fd())
    }

    /// Removes the writer of `fd`; says whether there was one.
    pub fn remove_writer(&self, fd: &impl AsRawFd) -> bool {
        self.face.remove_writer(fd.as_raw_fd())
    }

    /// Removes reader and writer of `fd`; says whether there was one.
    pub fn remove(&self, fd: &impl AsRawFd) -> bool {
        self.face.remove(fd.as_raw_fd())
    }

    /// Watches a mio source, edge-triggered: after `on_ready` said [`Progress::Drained`] it is called again at the next change.
    /// The hub registers the source; hand it to [`remove_source`](MioHub::remove_source) before dropping it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the operating system refuses the source; `Closed` when the hub is closed.
    pub fn add_source(
        &self,
        source: &mut dyn Source,
        interest: Interest,
        mut on_ready: impl FnMut(&MioHub, Readiness) -> Progress + 'static,
    ) -> Result<SourceId> {
        let face = Rc::downgrade(&self.face);
        let callback: SourceCallback = Box::new(move |_, readiness| match MioHub::reached_from(&face) {
            Some(hub) => on_ready(&hub, readiness),
            None => Progress::Drained,
        });
        self.face.add_source(source, interest, callback)
    }

    /// Changes what `source` is watched for.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when `id` is not registered or the operating system refuses.
    pub fn modify_source(&self, source: &mut dyn Source, id: SourceId, interest: Interest) -> Result<()> {
        self.face.modify_source(source, id, interest)
    }

    /// Stops watching `source`; its callback is not called again, not even for a readiness of the current tick.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when `id` is not registered.
    pub fn remove_source(&self, source: &mut dyn Source, id: SourceId) -> Result<()> {
        self.face.remove_source(source, id)
    }

    /// Calls `callback` once per tick, after the timers and before the poll; one added by another, first in the next tick.
    pub fn on_tick(&self, callback: impl FnMut(&MioHub) + 'static) -> HookId {
        self.face.on_tick(self.repeated(callback))
    }

    /// Calls `callback` when the hub closes, while its handle still works.
    pub fn on_close(&self, callback: impl FnOnce(&MioHub) + 'static) -> HookId {
        self.face.on_close(self.once(callback))
    }

    /// Removes a callback of [`on_tick`](MioHub::on_tick) or [`on_close`](MioHub::on_close); says whether it was there.
    pub fn remove_hook(&self, id: HookId) -> bool {
        self.face.remove_hook(id)
    }

    /// Calls `handler` with every error nobody called for: a panic of a callback, a descriptor closed under the hub. Replaces
    /// the handler before; without one they are logged as errors, at most once per second and cause.
    pub fn on_error(&self, handler: impl FnMut(&Error) + 'static) {
        let old = self.core().reporter.replace(Some(Box::new(handler)));
        drop(old);
    }

    /// Runs `future` on the hub's thread, starting in the next tick, and returns a future of its value.
    ///
    /// ```
    /// let hub = kombu_hub::MioHub::new()?;
    /// let sum = hub.spawn_local(async { 2 + 3 });
    /// assert_eq!(hub.block_on(sum)??, 5);
    /// # Ok::<(), kombu_core::Error>(())
    /// ```
    pub fn spawn_local<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        let (sender, receiver) = reply::channel();
        let future: LocalFuture = Box::pin(async move { sender.send(future.await) });
        JoinHandle::new(receiver, self.core().spawn(kombu_core::hub::Class::User, future))
    }

    /// Runs until [`stop`](MioHub::stop) or [`close`](MioHub::close) is called. A stop that came before ends it after one tick.
    ///
    /// # Errors
    ///
    /// `Reentrant` from inside a callback of this hub; `Closed` when the hub is closed; `InvalidState` in a process that was forked
    /// from the hub's own; `Internal` when the operating system's poll fails.
    pub fn run_forever(&self) -> Result<()> {
        self.core().run_forever(&*self.face)
    }

    /// Runs until something ran, or until `timeout` passed by the hub's clock; says whether something ran. `None` waits for as
    /// long as it takes, zero does not wait. `on_tick` does not count.
    ///
    /// # Errors
    ///
    /// As [`run_forever`](MioHub::run_forever).
    pub fn run_once(&self, timeout: Option<Duration>) -> Result<bool> {
        self.face.run_once(timeout)
    }

    /// Runs until `future` is ready and returns its value. The application's callbacks run meanwhile.
    ///
    /// # Errors
    ///
    /// `Reentrant` from inside a callback of this hub; `Closed` when the hub is or gets closed; `InvalidState` in a process that was
    /// forked from the hub's own; `Internal` when the operating system's poll fails.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        self.core().block_on(&*self.face, pin!(future))
    }

    /// Makes [`run_forever`](MioHub::run_forever) return after the current tick.
    pub fn stop(&self) {
        self.face.stop();
    }

    /// Closes the hub: calls the `on_close` callbacks, runs what is ready once, then drops every callback, timer and task and
    /// wakes every sleeper. From inside a callback that happens when the tick ends. Closing twice is no error.
    pub fn close(&self) {
        self.core().close();
    }

    /// Says whether the hub is closed, or will be when the tick ends.
    pub fn is_closed(&self) -> bool {
        self.core().is_closed()
    }

    /// Returns the hub that a callback is given.
    fn reached_from(face: &Weak<Face>) -> Option<MioHub> {
        face.upgrade().map(|face| MioHub { face, owner: None })
    }

    fn once(&self, callback: impl FnOnce(&MioHub) + 'static) -> Callback {
        let face = Rc::downgrade(&self.face);
        Box::new(move |_| {
            if let Some(hub) = MioHub::reached_from(&face) {
                callback(&hub);
            }
        })
    }

    fn repeated(&self, mut callback: impl FnMut(&MioHub) + 'static) -> RepeatedCallback {
        let face = Rc::downgrade(&self.face);
        Box::new(move |_| {
            if let Some(hub) = MioHub::reached_from(&face) {
                callback(&hub);
            }
        })
    }
}

impl Drop for MioHub {
    fn drop(&mut self) {
        if self.owner.is_some() {
            self.core().close();
        }
    }
}

impl fmt::Debug for MioHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.core();
        let mut debug = f.debug_struct("MioHub");
        debug.field("name", &core.name).field("id", &core.shared.id()).field("closed", &self.is_closed());
        if let Ok(sources) = core.sources.try_borrow() {
            debug.field("registered", &sources.len()).field("descriptors", &sources.descriptors());
        }
        debug.field("stats", &self.stats()).finish()
    }
}
