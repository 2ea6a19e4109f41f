//! A channel of memory, and what is known of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use kombu_core::method::BasicPublish;
use kombu_core::{Channel, ChannelEvents, DeliverySink, DeliveryTag, Envelope, ShortStr};

use crate::fault::Fault;
use crate::world::lock;

/// A channel of memory, and what was delivered on it and not settled.
pub(crate) struct Inside {
    pub(crate) memory: Arc<dyn Channel>,
    pub(crate) held: Mutex<BTreeMap<u64, (ShortStr, Arc<Envelope>)>>,
    pub(crate) sinks: Mutex<Vec<Arc<dyn DeliverySink>>>,
    pub(crate) prefetch: AtomicUsize,
    pub(crate) is_closed: AtomicBool,
    pub(crate) has_given_back: AtomicBool,
    observer: Mutex<Option<Arc<dyn ChannelEvents>>>,
}

impl Inside {
    pub(crate) fn new(memory: Arc<dyn Channel>) -> Self {
        Inside {
            memory,
            held: Mutex::default(),
            sinks: Mutex::default(),
            prefetch: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            has_given_back: AtomicBool::new(false),
            observer: Mutex::default(),
        }
    }

    pub(crate) fn observe(&self, events: Arc<dyn ChannelEvents>) {
        *lock(&self.observer) = Some(Arc::clone(&events));
        self.memory.observe(events);
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn ChannelEvents>> {
        lock(&self.observer).clone()
    }

    /// Loses what is held.
    pub(crate) fn drop_held(&self) {
        self.each_held(|tag, _, _| drop(self.memory.basic_ack(tag, false)));
    }

    /// Puts what is held back to the end of its queue, as new messages.
    pub(crate) fn held_to_tail(&self) {
        self.each_held(|tag, queue, envelope| self.to_tail(tag, queue, envelope));
    }

    pub(crate) fn holds(&self) -> bool {
        !lock(&self.held).is_empty()
    }

    /// Does to what is held what `fault` does when the channel closes.
    pub(crate) fn closing(&self, fault: Fault) {
        match fault {
            Fault::CloseLosesHeld => self.drop_held(),
            Fault::CloseReordersHeld => self.held_to_tail(),
            _ => {}
        }
    }

    pub(crate) fn each_held(&self, act: impl Fn(DeliveryTag, ShortStr, Arc<Envelope>)) {
        // Not in the loop's head, where it would stay locked: what is settled makes room for the next delivery.
        let held = std::mem::take(&mut *lock(&self.held));
        for (tag, (queue, envelope)) in held {
            act(DeliveryTag(tag), queue, envelope);
        }
    }

    /// Puts a delivery back to the end of its queue, as a new message.
    pub(crate) fn to_tail(&self, tag: DeliveryTag, queue: ShortStr, envelope: Arc<Envelope>) {
        drop(self.memory.basic_ack(tag, false));
        let again = Envelope { exchange: ShortStr::default(), routing_key: queue, ..(*envelope).clone() };
        drop(self.memory.basic_publish(BasicPublish::default(), Arc::new(again)));
    }
}

/// Memory answers at once.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory did not answer at once"),
    }
}
