//! A hub with one promise broken: the mio hub behind a face that does one thing wrong.

mod fault;
mod remote;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kombu_core::hub::{
    Callback, Class, HookId, Hub, HubHandle, LocalFuture, Poller, Progress, RemoteHub, RepeatedCallback,
    SourceCallback, SourceId, TimerHandle,
};
use kombu_core::{Clock, Error, ErrorKind, Result};
use kombu_hub::MioHub;
use mio::Interest;
use mio::event::Source;

pub(crate) use self::fault::HubFault;
use self::remote::Remote;

use crate::world::lock;

/// The face.
pub(crate) struct BrokenHub {
    mio: MioHub,
    fault: HubFault,
    me: Weak<BrokenHub>,
    soon: RefCell<Vec<Callback>>,
    has_panicked: Rc<Cell<bool>>,
    is_flooded: Rc<Cell<bool>>,
    readers: RefCell<BTreeMap<RawFd, Identity>>,
    rearmed: RefCell<BTreeMap<RawFd, Rc<RefCell<RepeatedCallback>>>>,
    reversed: RefCell<u32>,
    remote: Arc<Remote>,
}

/// What is open under a descriptor's number, such as `socket:[4711]`: the number alone may be another thread's by now.
type Identity = Option<PathBuf>;

fn identity(fd: RawFd) -> Identity {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

impl BrokenHub {
    pub(crate) fn make(fault: HubFault, clock: Arc<dyn Clock>) -> Result<Rc<dyn Hub>> {
        let mut builder = MioHub::builder().clock(clock);
        if fault == HubFault::OneTimerPerTick {
            builder = builder.timers_per_tick(1);
        }
        let mio = builder.build()?;
        let remote = Arc::new(Remote { inner: mio.handle(), fault, kept: Mutex::default() });
        Ok(Rc::new_cyclic(|me| BrokenHub {
            mio,
            fault,
            me: me.clone(),
            soon: RefCell::default(),
            has_panicked: Rc::default(),
            is_flooded: Rc::default(),
            readers: RefCell::default(),
            rearmed: RefCell::default(),
            reversed: RefCell::new(1000),
            remote,
        }))
    }

    fn is(&self, fault: HubFault) -> bool {
        self.fault == fault
    }

    fn hub(&self) -> &dyn Hub {
        &self.mio
    }

    /// Has a callback called with this hub instead of the one behind it.
    fn once(&self, callback: Callback) -> Callback {
        let (me, has_panicked, fault) = (self.me.clone(), Rc::clone(&self.has_panicked), self.fault);
        Box::new(move |_| {
            let Some(me) = me.upgrade() else { return };
            if matches!(fault, HubFault::PanicKills | HubFault::PanicLeavesTheHub) {
                if catch_unwind(AssertUnwindSafe(|| callback(&*me))).is_err() {
                    has_panicked.set(true);
                }
            } else {
                callback(&*me);
            }
        })
    }

    fn repeated(&self, mut callback: RepeatedCallback) -> RepeatedCallback {
        let me = self.me.clone();
        Box::new(move |_| {
            if let Some(me) = me.upgrade() {
                callback(&*me);
            }
        })
    }

    /// What is done before a tick.
    fn before_tick(&self) -> Result<()> {
        for callback in self.soon.take().into_iter().rev() {
            self.hub().call_soon(callback);
        }
        for (class, callback) in std::mem::take(&mut *lock(&self.remote.kept)).into_iter().rev() {
            match class {
                Class::Io => self.mio.handle().io().call_soon(callback),
                Class::User => self.mio.handle().user().call_soon(callback),
            }
        }
        if self.is(HubFault::ClosedDescriptorKills)
            && self.readers.borrow().iter().any(|(fd, added)| identity(*fd) != *added)
        {
            return Err(Error::new(ErrorKind::Internal, "a descriptor is bad"));
        }
        for (fd, callback) in self.rearmed.borrow().iter() {
            let callback = Rc::clone(callback);
            // Watched again, whatever became of it.
            drop(self.hub().add_reader(*fd, Box::new(move |hub| (callback.borrow_mut())(hub))));
        }
        if self.is(HubFault::Spins) {
            self.hub().call_soon(Box::new(|_| ()));
        }
        Ok(())
    }
}

impl Hub for BrokenHub {
    fn handle(&self) -> HubHandle {
        match self.fault {
            HubFault::RemoteDoesNotWake | HubFault::RemoteLifo => {
                HubHandle::new(Arc::clone(&self.remote) as Arc<dyn RemoteHub>, Class::User)
            }
            _ => self.mio.handle(),
        }
    }

    fn io(&self) -> &dyn Hub {
        self.mio.io()
    }

    fn poller(&self) -> &dyn Poller {
        self.hub().poller()
    }

    fn now(&self) -> Instant {
        self.mio.now()
    }

    fn add_source(
        &self,
        source: &mut dyn Source,
        interest: Interest,
        mut on_ready: SourceCallback,
    ) -> Result<SourceId> {
        let (fault, is_flooded) = (self.fault, Rc::clone(&self.is_flooded));
        self.hub().add_source(
            source,
            interest,
            Box::new(move |hub, readiness| {
                let progress = on_ready(hub, readiness);
                if progress == Progress::More {
                    is_flooded.set(true);
                }
                match fault {
                    HubFault::MoreMeansDrained => Progress::Drained,
                    HubFault::DrainedMeansMore => Progress::More,
                    _ => progress,
                }
            }),
        )
    }

    fn modify_source(&self, source: &mut dyn Source, id: SourceId, interest: Interest) -> Result<()> {
        if self.is(HubFault::ModifyIgnored) {
            return Ok(());
        }
        self.hub().modify_source(source, id, interest)
    }

    fn remove_source(&self, source: &mut dyn Source, id: SourceId) -> Result<()> {
        if self.is(HubFault::SourceRemovalIgnored) {
            return Ok(());
        }
        self.hub().remove_source(source, id)
    }

    fn add_reader(&self, fd: RawFd, mut callback: RepeatedCallback) -> Result<()> {
        let is_new = self.readers.borrow_mut().insert(fd, identity(fd)).is_none();
        if self.is(HubFault::AddAgainIgnored) && !is_new {
            return Ok(());
        }
        let callback = match self.fault {
            HubFault::ReaderOnce => {
                let mut has_run = false;
                Box::new(move |hub: &dyn Hub| {
                    if !std::mem::replace(&mut has_run, true) {
                        callback(hub);
                    }
                })
            }
            _ => callback,
        };
        let callback = self.repeated(callback);
        if self.is(HubFault::ClosedPeerSpins) {
            let shared = Rc::new(RefCell::new(callback));
            self.rearmed.borrow_mut().insert(fd, Rc::clone(&shared));
            return self.hub().add_reader(fd, Box::new(move |hub| (shared.borrow_mut())(hub)));
        }
        self.hub().add_reader(fd, callback)
    }

    fn add_writer(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()> {
        if self.is(HubFault::WriterStarves) && self.readers.borrow().contains_key(&fd) {
            return Ok(());
        }
        let callback = self.repeated(callback);
        self.hub().add_writer(fd, callback)
    }

    fn remove_reader(&self, fd: RawFd) -> bool {
        self.rearmed.borrow_mut().remove(&fd);
        if self.is(HubFault::RemovalIgnored) {
            return self.readers.borrow_mut().remove(&fd).is_some();
        }
        if !self.is(HubFault::AddAgainIgnored) {
            self.readers.borrow_mut().remove(&fd);
        }
        self.hub().remove_reader(fd)
    }

    fn remove_writer(&self, fd: RawFd) -> bool {
        self.hub().remove_writer(fd)
    }

    fn on_tick(&self, callback: RepeatedCallback) -> HookId {
        let (fault, has_panicked) = (self.fault, Rc::clone(&self.has_panicked));
        let mut callback = self.repeated(callback);
        let mut has_run = false;
        self.hub().on_tick(Box::new(move |hub| {
            if fault == HubFault::HookOnce && std::mem::replace(&mut has_run, true) {
                return;
            }
            if matches!(fault, HubFault::PanicKills | HubFault::PanicLeavesTheHub) {
                if catch_unwind(AssertUnwindSafe(|| callback(hub))).is_err() {
                    has_panicked.set(true);
                }
            } else {
                callback(hub);
            }
        }))
    }

    fn on_close(&self, callback: Callback) -> HookId {
        let callback = self.once(callback);
        self.hub().on_close(callback)
    }

    fn remove_hook(&self, id: HookId) -> bool {
        if self.is(HubFault::HookRemovalIgnored) {
            return true;
        }
        self.hub().remove_hook(id)
    }

    fn call_soon(&self, callback: Callback) {
        let callback = self.once(callback);
        match self.fault {
            HubFault::CallSoonLifo => self.soon.borrow_mut().push(callback),
            HubFault::CallSoonLate => drop(self.hub().call_later(Duration::from_secs(3), callback)),
            HubFault::FloodStarvesOthers if self.is_flooded.get() => {}
            HubFault::WaitIoRunsUser => self.soon.borrow_mut().insert(0, callback),
            _ => self.hub().call_soon(callback),
        }
    }

    fn call_at(&self, when: Instant, callback: Callback) -> TimerHandle {
        let now = self.now();
        let callback = self.once(callback);
        let when = match self.fault {
            HubFault::TimersEarly => now,
            HubFault::TimersLate if when > now => when + Duration::from_millis(5),
            // Later ones of the same time come first.
            HubFault::TimersReversed => {
                *self.reversed.borrow_mut() -= 1;
                when + Duration::from_nanos(u64::from(*self.reversed.borrow()) % 1000)
            }
            HubFault::FloodStarvesOthers if self.is_flooded.get() => now + Duration::from_secs(3600),
            _ => when,
        };
        if self.is(HubFault::ZeroDelayAtOnce) && when <= now {
            callback(&self.mio);
            return self.hub().call_later(Duration::ZERO, Box::new(|_| ()));
        }
        let handle = self.hub().call_at(when, callback);
        if self.is(HubFault::CancelIgnored) {
            return self.hub().call_later(Duration::ZERO, Box::new(|_| ()));
        }
        handle
    }

    fn call_repeatedly(&self, interval: Duration, callback: RepeatedCallback) -> TimerHandle {
        let mut callback = self.repeated(callback);
        match self.fault {
            HubFault::RepeatDrifts => self.hub().call_repeatedly(interval + interval / 10, callback),
            HubFault::RepeatOnce => self.hub().call_later(interval, Box::new(move |hub| callback(hub))),
            _ => self.hub().call_repeatedly(interval, callback),
        }
    }

    fn spawn_local(&self, future: LocalFuture) {
        if !self.is(HubFault::LocalTaskForgotten) {
            self.hub().spawn_local(future);
        }
    }

    fn stop(&self) {
        self.hub().stop();
    }

    fn run_once(&self, timeout: Option<Duration>) -> Result<bool> {
        self.before_tick()?;
        let ran = self.hub().run_once(timeout);
        match self.fault {
            HubFault::PanicKills if self.has_panicked.get() => Err(Error::new(ErrorKind::Panicked, "the hub died")),
            HubFault::PanicLeavesTheHub if self.has_panicked.take() => {
                std::panic::resume_unwind(Box::new("a callback's panic"))
            }
            HubFault::Reentrant if ran.as_ref().is_err_and(|error| error.kind() == ErrorKind::Reentrant) => Ok(false),
            HubFault::Spins => ran.map(|_| false),
            _ => ran,
        }
    }

    fn wait_io(&self, future: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) -> Result<bool> {
        if self.is(HubFault::WaitIoRunsUser) {
            self.soon.take().into_iter().rev().for_each(|callback| callback(&self.mio));
        }
        self.hub().wait_io(future, deadline)
    }
}
