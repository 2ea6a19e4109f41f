//! The contract as the application's hub fulfils it: by its user view.

use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::time::{Duration, Instant};

use kombu_core::Result;
use kombu_core::hub::{
    Callback, HookId, Hub, HubHandle, LocalFuture, Poller, RepeatedCallback, SourceCallback, SourceId, TimerHandle,
};
use mio::Interest;
use mio::event::Source;

use crate::MioHub;

impl Hub for MioHub {
    fn handle(&self) -> HubHandle {
        self.face.handle()
    }

    fn io(&self) -> &dyn Hub {
        self.face.io()
    }

    fn poller(&self) -> &dyn Poller {
        self.face.poller()
    }

    fn now(&self) -> Instant {
        self.face.now()
    }

    fn add_source(&self, source: &mut dyn Source, interest: Interest, on_ready: SourceCallback) -> Result<SourceId> {
        self.face.add_source(source, interest, on_ready)
    }

    fn modify_source(&self, source: &mut dyn Source, id: SourceId, interest: Interest) -> Result<()> {
        self.face.modify_source(source, id, interest)
    }

    fn remove_source(&self, source: &mut dyn Source, id: SourceId) -> Result<()> {
        self.face.remove_source(source, id)
    }

    fn add_reader(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()> {
        self.face.add_reader(fd, callback)
    }

    fn add_writer(&self, fd: RawFd, callback: RepeatedCallback) -> Result<()> {
        self.face.add_writer(fd, callback)
    }

    fn remove_reader(&self, fd: RawFd) -> bool {
        self.face.remove_reader(fd)
    }

    fn remove_writer(&self, fd: RawFd) -> bool {
        self.face.remove_writer(fd)
    }

    fn on_tick(&self, callback: RepeatedCallback) -> HookId {
        self.face.on_tick(callback)
    }

    fn on_close(&self, callback: Callback) -> HookId {
        self.face.on_close(callback)
    }

    fn remove_hook(&self, id: HookId) -> bool {
        self.face.remove_hook(id)
    }

    fn call_soon(&self, callback: Callback) {
        self.face.call_soon(callback);
    }

    fn call_later(&self, delay: Duration, callback: Callback) -> TimerHandle {
        self.face.call_later(delay, callback)
    }

    fn call_at(&self, when: Instant, callback: Callback) -> TimerHandle {
        self.face.call_at(when, callback)
    }

    fn call_repeatedly(&self, interval: Duration, callback: RepeatedCallback) -> TimerHandle {
        self.face.call_repeatedly(interval, callback)
    }

    fn spawn_local(&self, future: LocalFuture) {
        self.face.spawn_local(future);
    }

    fn stop(&self) {
        self.face.stop();
    }

    fn run_once(&self, timeout: Option<Duration>) -> Result<bool> {
        self.face.run_once(timeout)
    }

    fn wait_io(&self, future: Pin<&mut dyn Future<Output = ()>>, deadline: Option<Instant>) -> Result<bool> {
        self.face.wait_io(future, deadline)
    }
}
