//! The handle of a broken hub.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Instant;

use kombu_core::hub::{Class, HubHandle, HubId, RemoteCallback, RemoteHub, Scheduled};

use super::HubFault;
use crate::world::lock;

/// A handle that keeps what other threads hand in until the next tick.
pub(super) struct Remote {
    pub(super) inner: HubHandle,
    pub(super) fault: HubFault,
    pub(super) kept: Mutex<Vec<(Class, RemoteCallback)>>,
}

impl RemoteHub for Remote {
    fn id(&self) -> HubId {
        self.inner.id()
    }

    fn call_soon(&self, class: Class, callback: RemoteCallback) {
        lock(&self.kept).push((class, callback));
        if self.fault == HubFault::RemoteLifo {
            // It wakes the hub; the order is wrong.
            self.inner.call_soon(|_| ());
        }
    }

    fn schedule(&self, class: Class, task: Arc<dyn Scheduled>) {
        match class {
            Class::Io => self.inner.io().schedule(task),
            Class::User => self.inner.user().schedule(task),
        }
    }

    fn spawn(&self, class: Class, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        match class {
            Class::Io => drop(self.inner.io().spawn(future)),
            Class::User => drop(self.inner.user().spawn(future)),
        }
    }

    fn wake_at(&self, _class: Class, when: Instant, waker: Waker) -> u64 {
        let sleep = self.inner.sleep_until(when);
        drop(self.inner.spawn(async move {
            sleep.await;
            waker.wake();
        }));
        0
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn is_running(&self) -> bool {
        self.inner.is_running()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn stop(&self) {
        self.inner.stop();
    }

    fn cancel_timer(&self, _number: u64) {}
}
