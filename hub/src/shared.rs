//! The part of a hub that every thread reaches.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread::{self, ThreadId};
use std::time::Instant;

use async_task::Runnable;
use kombu_core::Clock;
use kombu_core::hub::{Class, HubId, RemoteCallback, RemoteHub, Scheduled};

use crate::lane::{Item, Lane};
use crate::park::Park;
use crate::per_class::{CLASSES, PerClass};
use crate::timers::{Action, Timers};

/// What [`HubHandle`](kombu_core::hub::HubHandle)s of one hub point to.
pub(crate) struct Shared {
    id: HubId,
    owner: ThreadId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lanes: PerClass<Lane>,
    pub(crate) timers: Timers,
    pub(crate) park: Park,
    waker: mio::Waker,
    running: AtomicBool,
    stopping: AtomicBool,
    closed: AtomicBool,
}

impl Shared {
    /// Makes the shared part of a hub that belongs to the calling thread.
    pub(crate) fn new(clock: Arc<dyn Clock>, waker: mio::Waker) -> Arc<Self> {
        let shared = Arc::new(Shared {
            id: HubId::new(),
            owner: thread::current().id(),
            clock,
            lanes: PerClass::default(),
            timers: Timers::new(),
            park: Park::new(),
            waker,
            running: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&shared);
        shared.clock.on_change(Arc::new(move || {
            if let Some(shared) = weak.upgrade() {
                shared.wake();
            }
        }));
        shared
    }

    /// Wakes the hub's thread if it sleeps. To be called after the work is queued.
    pub(crate) fn wake(&self) {
        self.park.wake(|| {
            if let Err(error) = self.waker.wake() {
                // Only a full or broken eventfd fails, which the hub itself holds open.
                tracing::error!(%error, "cannot wake the hub");
            }
        });
    }

    /// Queues `item` for the next tick; drops it when the hub is closed.
    pub(crate) fn push(&self, class: Class, item: Item) {
        match self.lanes.of(class).push(item) {
            Ok(()) => self.wake(),
            Err(refused) => drop(refused),
        }
    }

    /// Queues a task that was woken.
    pub(crate) fn push_task(&self, class: Class, task: Runnable) {
        match self.lanes.of(class).push_task(task) {
            Ok(()) => self.wake(),
            Err(refused) if thread::current().id() == self.owner => drop(refused),
            // The hub drops its tasks before it refuses them, so no task can get here. If one did, its future would not be
            // this thread's to drop: better to leak it.
            Err(refused) => std::mem::forget(refused),
        }
    }

    pub(crate) fn set_running(&self, running: bool) -> bool {
        self.running.swap(running, Ordering::SeqCst)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(crate) fn take_stop(&self) -> bool {
        self.stopping.swap(false, Ordering::SeqCst)
    }

    /// Refuses everything but tasks that wake up.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for class in CLASSES {
            self.lanes.of(class).close_ready();
        }
    }
}

impl RemoteHub for Shared {
    fn id(&self) -> HubId {
        self.id
    }

    fn call_soon(&self, class: Class, callback: RemoteCallback) {
        self.push(class, Item::Callback(callback));
    }

    fn schedule(&self, class: Class, task: Arc<dyn Scheduled>) {
        self.push(class, Item::Scheduled(task));
    }

    fn spawn(&self, class: Class, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.push(class, Item::Spawn(future));
    }

    fn wake_at(&self, class: Class, when: Instant, waker: Waker) -> u64 {
        match self.timers.insert(class, when, Action::Wake(waker)) {
            Ok((number, earlier)) => {
                if earlier {
                    self.wake();
                }
                number
            }
            Err(action) => {
                if let Action::Wake(waker) = action {
                    waker.wake();
                }
                0
            }
        }
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn cancel_timer(&self, number: u64) {
        match crate::state::local_core(self.id) {
            Some(core) => core.cancel_timer(number),
            None => self.timers.cancel(number, false),
        }
    }
}
