//! A message in a queue.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kombu_core::Envelope;

use crate::moment::Moment;

/// A message as it waits in one queue: what was published, shared between all queues that got it, and what this queue knows of it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// What was published.
    pub envelope: Arc<Envelope>,
    /// Its place in the queue, lowest first. The store's own: it numbers a message that is pushed or popped as it likes, and reads
    /// the number when the message is put back.
    pub position: u64,
    /// When it is no longer wanted, in microseconds since 1970 UTC.
    expires: Option<NonZeroU64>,
    /// How often it was given back.
    pub delivery_count: u32,
    /// Whether it was, or may have been, delivered before.
    pub redelivered: bool,
    /// Which of the queue's levels of priority it belongs to. The layer's own: each level is a queue of the store.
    pub(crate) level: u8,
}

impl QueueMessage {
    /// Makes a message that was never delivered and does not expire, at position 0.
    pub fn new(envelope: Arc<Envelope>) -> Self {
        QueueMessage { envelope, position: 0, expires: None, delivery_count: 0, redelivered: false, level: 0 }
    }

    /// Returns when it is no longer wanted, to the microsecond; a store that outlives the process keeps it with the message.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires.map(|micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros.get()))
    }

    /// Sets when it is no longer wanted; what is before 1970 counts as then.
    pub fn set_expires(&mut self, when: Option<SystemTime>) {
        self.expire_at(when.map(Moment::of));
    }

    #[inline]
    pub(crate) fn expiry(&self) -> Option<Moment> {
        self.expires.map(|micros| Moment(micros.get()))
    }

    pub(crate) fn expire_at(&mut self, when: Option<Moment>) {
        self.expires = when.map(|when| NonZeroU64::new(when.0).unwrap_or(NonZeroU64::MIN));
    }

    /// Notes that it was delivered and came back.
    pub(crate) fn given_back(mut self) -> Self {
        self.delivery_count = self.delivery_count.saturating_add(1);
        self.redelivered = true;
        self
    }
}
