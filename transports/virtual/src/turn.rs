//! Whose turn it is to hand deliveries to a sink.
//!
//! Deliveries are decided on under the broker's mutex and handed over after it is released, for a sink may run code of the
//! application. Two threads that decide one after the other could then hand over in the other order. So each sink has a *turn*: the
//! thread that takes it hands its delivery over, and whatever other threads leave in the outbox meanwhile.
//!
//! A sink that can be handed a delivery under the mutex (core's) has none of this trouble: it is handed in at once, and only waking
//! the application waits for the mutex's release.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kombu_core::reply::{self, Reply, ReplySender};
use kombu_core::{Delivery, DeliverySink, DeliveryTag, Envelope, Error, Put};

/// Nobody has the turn; the outbox is empty.
const IDLE: u8 = 0;
/// Somebody has the turn; the outbox is empty.
const BUSY: u8 = 1;
/// Somebody has the turn and must look at the outbox before giving it up.
const MORE: u8 = 2;

/// A sink and the turn to use it.
///
/// Only who holds the broker's mutex calls [`offer`](Outlet::offer), [`end`](Outlet::end) and [`drained`](Outlet::drained); so only
/// they take the turn. Only who has the turn gives it up, and needs no mutex for that when the outbox stayed empty.
pub(crate) struct Outlet {
    sink: Arc<dyn DeliverySink>,
    turn: AtomicU8,
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    deliveries: Vec<Delivery>,
    /// The buffer the turn's holder lends: empty, with room.
    spare: Vec<Delivery>,
    /// Why the consumer ended, to be told when everything before is delivered.
    end: Option<Error>,
    waiting: Vec<ReplySender<()>>,
}

/// What is to be done for an outlet when no lock is held, by [`run`](Turn::run).
pub(crate) enum Turn {
    /// Its sink took a delivery and is to be woken.
    Wake(Alarm),
    /// It has deliveries for its sink.
    HandOver(HandOver),
}

/// Wakes the application behind a sink when it is dropped.
pub(crate) struct Alarm(Arc<Outlet>);

/// The turn of an outlet, with the delivery to begin with.
///
/// The delivery is held in its parts: each is then moved by itself, which is faster than moving what was just put together.
pub(crate) struct HandOver {
    held: Held,
    tag: DeliveryTag,
    redelivered: bool,
    delivery_count: Option<u32>,
    /// `None` when there is nothing to begin with.
    envelope: Option<Arc<Envelope>>,
}

/// The turn alone; given up when it is dropped.
struct Held(Arc<Outlet>);

impl Outlet {
    pub(crate) fn new(sink: Arc<dyn DeliverySink>) -> Arc<Self> {
        Arc::new(Outlet { sink, turn: AtomicU8::new(IDLE), outbox: Mutex::default() })
    }

    /// Adds a delivery behind those before; returns the turn when nobody has it.
    #[inline]
    pub(crate) fn offer(self: &Arc<Self>, delivery: Delivery) -> Option<Turn> {
        match self.sink.put(delivery) {
            Put::In => None,
            Put::Wake => Some(Turn::Wake(Alarm(Arc::clone(self)))),
            Put::Refused(delivery) => self.offer_turn(delivery).map(Turn::HandOver),
        }
    }

    /// Says whether the application comes back for what follows a delivery; see [`DeliverySink::comes_back`].
    pub(crate) fn comes_back(&self) -> bool {
        self.sink.comes_back()
    }

    /// Hands over what was kept meanwhile, leaving what the sink has no use for.
    pub(crate) fn put_all(&self, deliveries: &mut Vec<Delivery>) {
        self.sink.put_all(deliveries);
    }

    fn offer_turn(self: &Arc<Self>, delivery: Delivery) -> Option<HandOver> {
        if self.turn.load(Ordering::Acquire) == IDLE {
            self.turn.store(BUSY, Ordering::Relaxed);
            return Some(HandOver::of(self, delivery));
        }
        self.leave(delivery)
    }

    fn leave(self: &Arc<Self>, delivery: Delivery) -> Option<HandOver> {
        let mut outbox = self.lock();
        if self.take_or_flag() {
            // Its holder gave the turn up without the outbox's mutex: nothing was in it.
            return Some(HandOver::of(self, delivery));
        }
        outbox.deliveries.push(delivery);
        None
    }

    /// Ends the outlet: `end` is told to the sink after everything that was offered, or, with `discard`, after what is being handed
    /// over at this moment. Returns the turn when nobody has it.
    pub(crate) fn end(self: &Arc<Self>, end: Error, discard: bool) -> (Option<Turn>, Vec<Delivery>) {
        let mut outbox = self.lock();
        let discarded = if discard { std::mem::take(&mut outbox.deliveries) } else { Vec::new() };
        outbox.end = Some(end);
        let turn = self.take_or_flag().then(|| {
            self.turn.store(MORE, Ordering::Relaxed);
            let held = Held(Arc::clone(self));
            let (tag, redelivered, delivery_count) = (DeliveryTag(0), false, None);
            Turn::HandOver(HandOver { held, tag, redelivered, delivery_count, envelope: None })
        });
        (turn, discarded)
    }

    /// Takes back what was offered and not handed over.
    pub(crate) fn discard(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.lock().deliveries)
    }

    /// Answers when nobody has the turn any more; `None` when that is so already.
    pub(crate) fn drained(&self) -> Option<Reply<()>> {
        let mut outbox = self.lock();
        if self.turn.load(Ordering::Acquire) == IDLE
            || self.turn.compare_exchange(BUSY, MORE, Ordering::AcqRel, Ordering::Acquire) == Err(IDLE)
        {
            return None;
        }
        let (sender, reply) = reply::channel();
        outbox.waiting.push(sender);
        Some(reply)
    }

    /// Takes the turn (`true`), or tells its holder to look at the outbox (`false`). Called with the outbox locked.
    fn take_or_flag(&self) -> bool {
        match self.turn.compare_exchange(BUSY, MORE, Ordering::AcqRel, Ordering::Acquire) {
            Err(IDLE) => {
                self.turn.store(BUSY, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Nothing panics while the outbox is locked.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what others left, until nothing is left, and gives the turn up.
    #[cold]
    fn clear(&self) {
        let mut batch = Vec::new();
        loop {
            let mut outbox = self.lock();
            if !outbox.deliveries.is_empty() {
                if batch.capacity() == 0 {
                    batch = std::mem::take(&mut outbox.spare);
                }
                std::mem::swap(&mut batch, &mut outbox.deliveries);
                drop(outbox);
                self.sink.deliver_all(&mut batch);
                batch.clear();
            } else if let Some(end) = outbox.end.take() {
                drop(outbox);
                self.sink.cancelled(end);
            } else {
                if batch.capacity() > 0 {
                    outbox.spare = batch;
                }
                let waiting = std::mem::take(&mut outbox.waiting);
                self.turn.store(IDLE, Ordering::Release);
                drop(outbox);
                waiting.into_iter().for_each(|waiting| waiting.send(()));
                return;
            }
        }
    }
}

impl Turn {
    /// Does it.
    #[inline]
    pub(crate) fn run(self) {
        match self {
            Turn::Wake(alarm) => drop(alarm),
            Turn::HandOver(turn) => turn.run(),
        }
    }
}

/// Also when another sink panics first: the consumer goes on.
impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.sink.wake();
    }
}

impl HandOver {
    #[inline]
    fn of(outlet: &Arc<Outlet>, delivery: Delivery) -> Self {
        let Delivery { tag, redelivered, delivery_count, envelope } = delivery;
        HandOver { held: Held(Arc::clone(outlet)), tag, redelivered, delivery_count, envelope: Some(envelope) }
    }

    /// Hands over the delivery, and everything others leave behind it meanwhile.
    #[inline]
    fn run(self) {
        let HandOver { held, tag, redelivered, delivery_count, envelope } = self;
        if let Some(envelope) = envelope {
            held.0.sink.deliver(Delivery { tag, redelivered, delivery_count, envelope });
        }
    }
}

/// Also when the sink panics: the consumer goes on.
impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if self.0.turn.compare_exchange(BUSY, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.0.clear();
        }
    }
}
