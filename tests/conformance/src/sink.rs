//! Where the checks receive: sinks and observers that keep what they hear.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use kombu_core::hub::HubHandle;
use kombu_core::{ChannelEvents, Delivery, DeliverySink, Error, Malformed, Returned, ShortStr};

/// Wakes the check's hub when something happens on another thread.
pub(crate) struct Poke {
    handle: HubHandle,
    home: ThreadId,
}

impl Poke {
    pub(crate) fn new(handle: HubHandle) -> Self {
        Poke { handle, home: std::thread::current().id() }
    }

    fn poke(&self) {
        if std::thread::current().id() != self.home {
            self.handle.call_soon(|_| ());
        }
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a part is locked.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink that keeps its deliveries.
pub(crate) struct Collector {
    poke: Poke,
    deliveries: Mutex<Vec<Delivery>>,
    cancelled: Mutex<Vec<Error>>,
}

impl Collector {
    pub(crate) fn new(poke: Poke) -> Arc<Self> {
        Arc::new(Collector { poke, deliveries: Mutex::default(), cancelled: Mutex::default() })
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.deliveries).len()
    }

    /// Takes everything that came.
    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut lock(&self.deliveries))
    }

    /// Says whether a delivery with this body came.
    pub(crate) fn has(&self, body: &str) -> bool {
        lock(&self.deliveries).iter().any(|delivery| delivery.envelope.body == body.as_bytes())
    }

    /// Takes the notices that the consumer ended.
    pub(crate) fn cancelled(&self) -> Vec<Error> {
        std::mem::take(&mut lock(&self.cancelled))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        !lock(&self.cancelled).is_empty()
    }
}

impl DeliverySink for Collector {
    fn deliver(&self, delivery: Delivery) {
        lock(&self.deliveries).push(delivery);
        self.poke.poke();
    }

    fn deliver_all(&self, deliveries: &mut Vec<Delivery>) {
        lock(&self.deliveries).append(deliveries);
        self.poke.poke();
    }

    fn cancelled(&self, reason: Error) {
        lock(&self.cancelled).push(reason);
        self.poke.poke();
    }
}

/// An observer of a channel that counts what it hears.
pub(crate) struct Listener {
    poke: Poke,
    returned: AtomicUsize,
}

impl Listener {
    pub(crate) fn new(poke: Poke) -> Arc<Self> {
        Arc::new(Listener { poke, returned: AtomicUsize::new(0) })
    }

    /// Returns how many messages came back without being the answer to a publish.
    pub(crate) fn returned(&self) -> usize {
        self.returned.load(Ordering::Relaxed)
    }
}

impl ChannelEvents for Listener {
    fn malformed(&self, _: Malformed) {
        self.poke.poke();
    }

    fn returned(&self, _: Returned) {
        self.returned.fetch_add(1, Ordering::Relaxed);
        self.poke.poke();
    }

    fn blocked(&self, _: Option<ShortStr>) {
        self.poke.poke();
    }

    fn settle_failed(&self, _: Error) {
        self.poke.poke();
    }

    fn disturbed(&self, _: Option<Error>) {
        self.poke.poke();
    }

    fn closed(&self, _: Error) {
        self.poke.poke();
    }
}
