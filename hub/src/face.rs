//! The contract's view of a hub, one for each class.

use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kombu_core::hub::{
    Callback, Class, HookId, Hub, HubHandle, LocalFuture, Poller, RemoteHub, RepeatedCallback, SourceCallback,
    SourceId, TimerHandle, instant_after,
};
use kombu_core::{Error, ErrorKind, Result};
use mio::event::Source;
use mio::{Interest, Token};

use crate::sources::Role;
use crate::state::{Core, TimerCallback};
use crate::timers::Action;

/// A hub as one class sees it: whatever is registered through it has that class.
pub(crate) struct Face {
    core: Rc<Core>,
    class: Class,
    /// The view of the I/O class; `None` is that view.
    io: Option<Box<Face>>,
}

impl Face {
    /// Makes the views of `core` and returns that of the user class.
    pub(crate) fn new(core: Rc<Core>) -> Rc<Self> {
        let io = Face { core: Rc::clone(&core), class: Class::Io, io: None };
        let face = Rc::new(Face { core: Rc::clone(&core), class: Class::User, io: Some(Box::new(io)) });
        // A core is given its views once, here.
        let _ = core.face.set(Rc::downgrade(&face));
        face
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }
}

impl Hub for Face {
    fn handle(&self) -> HubHandle {
        HubHandle::new(Arc::clone(&self.core.shared) as Arc<dyn RemoteHub>, self.class)
    }

    fn io(&self) -> &dyn Hub {
        match &self.io {
            Some(io) => &**io,
            None => self,
        }
    }

    fn poller(&self) -> &dyn Poller {
        &self.core.poller
    }

    fn now(&self) -> Instant {
        self.core.now()
    }

    fn add_source(&self, source: &mut dyn Source, interest: Interest, on_ready: SourceCallback) -> Result<SourceId> {
        let core = &self.core;
        if core.shared.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the hub is closed").during("hub.add_source"));
        }
        let key = core.sources.borrow_mut().insert_source(self.class, on_ready);
        if let Err(error) = core.poller.register(source, Token(key), interest) {
            let callback = core.sources.borrow_mut().remove_source(key);
            drop(callback);
            return Err(error);
        }
        Ok(SourceId(key as u64))
    }

    fn modify_source(&self, source: &mut dyn Source, id: SourceId, interest: Interest) -> Result<()> {
        let key = source_key(id);
        if !self.core.sources.borrow().has_source(key) {
            return Err(unknown_source("hub.modify_source", id));
        }
        self.core.poller.reregister(source, Token(key), interest)
    }

    fn remove_source(&self, source: &mut dyn Source, id: SourceId) -> Result<()> {
        let removed = self.core.sources.borrow_mut().remove_source(source_key(id));
        if removed.is_none() {
            return Err(unknown_source("hub.remove_source", id));
        }
        let result = self.core.poller.deregister(source);
        drop(removed);
        result
    }

    fn add_reader(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()> {
        self.core.add_watch(fd, Role::Reader, self.class, callback)
    }

    fn add_writer(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()> {
        self.core.add_watch(fd, Role::Writer, self.class, callback)
    }

    fn remove_reader(&self, fd: RawFd) -> bool {
        self.core.remove_watch(fd, Role::Reader)
    }

    fn remove_writer(&self, fd: RawFd) -> bool {
        self.core.remove_watch(fd, Role::Writer)
    }

    fn on_tick(&self, callback: RepeatedCallback) -> HookId {
        self.core.hooks.borrow_mut().add_tick(self.class, callback)
    }

    fn on_close(&self, callback: Callback) -> HookId {
        self.core.hooks.borrow_mut().add_close(self.class, callback)
    }

    fn remove_hook(&self, id: HookId) -> bool {
        let removed = self.core.hooks.borrow_mut().remove(id);
        removed.is_some()
    }

    fn call_soon(&self, callback: Callback) {
        self.core.call_soon(self.class, callback);
    }

    fn call_later(&self, delay: Duration, callback: Callback) -> TimerHandle {
        // By the clock itself: the step's time may be long ago inside a slow callback.
        self.call_at(instant_after(self.core.shared.clock.now(), delay), callback)
    }

    fn call_at(&self, when: Instant, callback: Callback) -> TimerHandle {
        self.core.add_timer(self.class, when, Action::Once, TimerCallback::Once(callback))
    }

    fn call_repeatedly(&self, interval: Duration, callback: RepeatedCallback) -> TimerHandle {
        let first = instant_after(self.core.shared.clock.now(), interval);
        self.core.add_timer(self.class, first, Action::Every(interval), TimerCallback::Repeated(Some(callback)))
    }

    fn spawn_local(&self, future: LocalFuture) {
        if let Some(task) = self.core.spawn(self.class, future) {
            task.detach();
        }
    }

    fn stop(&self) {
        self.core.shared.stop();
    }

    fn run_once(&self, timeout: Option<Duration>) -> Result<bool> {
        match self.core.face.get().and_then(Weak::upgrade) {
            Some(user) => self.core.run_once(&*user, timeout),
            None => Err(Error::new(ErrorKind::Closed, "the hub is closed").during("hub.run_once")),
        }
    }

    fn wait_io(&self, future: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) -> Result<bool> {
        self.core.wait_io(self.io(), future, deadline)
    }
}

fn source_key(id: SourceId) -> usize {
    // An id that does not fit is not one of ours, and neither is 0.
    usize::try_from(id.0).unwrap_or(0)
}

fn unknown_source(operation: &'static str, id: SourceId) -> Error {
    Error::new(ErrorKind::InvalidArgument, "no such source is registered").during(operation).with("source", id.0)
}
