//! The state behind a channel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use kombu_core::{ChannelEvents, Delivery, DeliveryTag, Error, Result, Scope, Settled};

use crate::aside::Asides;
use crate::client::ClientChannel;
use crate::consumer::Consumer;
use crate::events::Events;
use crate::lapin::channel_gone;
use crate::publish::Publisher;
use crate::session::{CLOSE_PATIENCE, Session, within};
use crate::settle::Settles;

/// A channel: one AMQP channel that declares, consumes and settles, and one that publishes.
pub(crate) struct ChannelCore {
    pub(crate) session: Arc<Session>,
    pub(crate) client: Arc<dyn ClientChannel>,
    events: Arc<Events>,
    publisher: OnceLock<Arc<Publisher>>,
    asides: OnceLock<Asides>,
    consumers: Mutex<Vec<Arc<Consumer>>>,
    pub(crate) settles: Settles,
    /// Closed, or lost.
    is_over: AtomicBool,
    /// The last delivery.
    last_tag: AtomicU64,
    /// Deliveries up to this one were given back by `basic.recover`.
    given_back: AtomicU64,
}

impl ChannelCore {
    pub(crate) fn new(session: Arc<Session>, client: Arc<dyn ClientChannel>) -> Arc<Self> {
        let core = Arc::new(ChannelCore {
            session,
            client,
            events: Arc::default(),
            publisher: OnceLock::new(),
            asides: OnceLock::new(),
            consumers: Mutex::default(),
            settles: Settles::default(),
            is_over: AtomicBool::new(false),
            last_tag: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
        });
        core.session.add_channel(&core);
        core
    }

    pub(crate) fn observe(&self, events: Arc<dyn ChannelEvents>) {
        self.events.set(events);
        // What happened before anybody looked is told now.
        if let Some(error) = self.session.ended() {
            self.died(error);
        }
    }

    pub(crate) fn events(&self) -> Option<Arc<dyn ChannelEvents>> {
        self.events.get()
    }

    pub(crate) fn publisher(&self) -> &Arc<Publisher> {
        self.publisher.get_or_init(|| Publisher::new(Arc::clone(&self.session), Arc::clone(&self.events)))
    }

    pub(crate) fn asides(&self) -> &Asides {
        self.asides.get_or_init(|| Asides::new(Publisher::new(Arc::clone(&self.session), Arc::default())))
    }

    pub(crate) fn consumers(&self) -> MutexGuard<'_, Vec<Arc<Consumer>>> {
        // Nothing panics while the lock is held; a poisoned list is as good as any.
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Does `work`, an operation in AMQP's words, after everything published before. An error that ends the channel is told.
    pub(crate) async fn perform<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.is_over() {
            return Err(self.session.ended().unwrap_or_else(channel_gone).during(operation));
        }
        if let Some(publisher) = self.publisher.get()
            && let Some(barrier) = publisher.barrier()
        {
            barrier.await;
        }
        self.flush();
        let result = self.session.answer(work).await;
        result.map_err(|error| {
            let error = error.during(operation);
            match error.scope() {
                Scope::Connection => self.session.failed(error.duplicate()),
                Scope::Channel => self.died(error.duplicate()),
                _ => {}
            }
            error
        })
    }

    /// Notes deliveries, in their order; with `no_ack` they count as settled.
    pub(crate) fn delivered(&self, deliveries: &[Delivery], no_ack: bool) {
        if let Some(last) = deliveries.last() {
            self.last_tag.fetch_max(last.tag.0, Ordering::AcqRel);
            self.settles.delivered(deliveries.iter().map(|delivery| delivery.tag), no_ack);
        }
    }

    /// Learns that the broker took back everything delivered so far.
    pub(crate) fn recovered(&self) {
        self.given_back.fetch_max(self.last_tag.load(Ordering::Acquire), Ordering::AcqRel);
        self.settles.recovered();
    }

    /// Settles by `how`, unless the broker has taken the delivery back.
    pub(crate) fn settle(
        self: &Arc<Self>,
        operation: &'static str,
        tag: DeliveryTag,
        how: impl FnOnce(&Arc<Self>) -> Result<()>,
    ) -> Settled {
        let settled = self.settle_now(operation, tag, how);
        if let Err(error) = &settled {
            self.tell_failed(error.duplicate());
        }
        Settled::ready(settled)
    }

    /// As [`settle`](ChannelCore::settle), without telling of a failure.
    pub(crate) fn settle_now(
        self: &Arc<Self>,
        operation: &'static str,
        tag: DeliveryTag,
        how: impl FnOnce(&Arc<Self>) -> Result<()>,
    ) -> Result<()> {
        let settled = if self.is_taken_back(tag) { Err(channel_gone()) } else { how(self).map_err(|_| channel_gone()) };
        settled.map_err(|error| error.during(operation).with("delivery_tag", tag))
    }

    /// Says whether the broker has taken a delivery back.
    pub(crate) fn is_taken_back(&self, tag: DeliveryTag) -> bool {
        self.is_over() || (tag.0 != 0 && tag.0 <= self.given_back.load(Ordering::Acquire))
    }

    /// Tells that a settle failed.
    pub(crate) fn tell_failed(&self, error: Error) {
        if let Some(events) = self.events() {
            events.settle_failed(error);
        }
    }

    /// Looks whether it was this channel that the broker closed.
    pub(crate) fn look(&self, error: &Error) {
        if !self.client.is_open() {
            self.died(error.duplicate());
        }
    }

    /// The channel is lost, alone or with its connection.
    pub(crate) fn died(&self, error: Error) {
        if self.is_over.swap(true, Ordering::AcqRel) {
            return;
        }
        self.consumers().clear();
        if let Some(events) = self.events() {
            events.closed(error);
        }
    }

    /// Closes it: what was published and settled is sent, what is held goes back.
    pub(crate) async fn close(&self) -> Result<()> {
        if let Some(asides) = self.asides.get() {
            asides.close(self, CLOSE_PATIENCE).await;
        }
        if let Some(publisher) = self.publisher.get() {
            let is_lost = self.session.ended().is_some();
            if let Some(barrier) = publisher.barrier().filter(|_| !is_lost && !publisher.is_blocked()) {
                within(&self.session.handle, CLOSE_PATIENCE, barrier).await;
            }
        }
        // One that never published must not begin to.
        self.publisher().close(CLOSE_PATIENCE).await;
        if !self.is_over() {
            self.flush();
        }
        if self.is_over.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let consumers = std::mem::take(&mut *self.consumers());
        consumers.iter().for_each(|consumer| consumer.end());
        match within(&self.session.handle, CLOSE_PATIENCE, self.client.close()).await {
            // One that the broker closed first is closed.
            Some(Err(error)) if error.scope() != Scope::Connection => Ok(()),
            Some(closed) => closed,
            None => Ok(()),
        }
    }
}
