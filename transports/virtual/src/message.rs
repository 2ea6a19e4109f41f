//! A message in a queue.

use std::sync::Arc;

use kombu_core::Envelope;

/// A message as it waits in one queue: what was published, shared between all queues that got it, and what this queue knows of it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// What was published.
    pub envelope: Arc<Envelope>,
    /// Its place in the queue, lowest first. The store's own: it numbers a message that is pushed or popped as it likes, and reads
    /// the number when the message is put back.
    pub position: u64,
    /// How often it was given back.
    pub delivery_count: u32,
    /// Whether it was, or may have been, delivered before.
    pub redelivered: bool,
}

impl QueueMessage {
    /// Makes a message that was never delivered, at position 0.
    pub fn new(envelope: Arc<Envelope>) -> Self {
        QueueMessage { envelope, position: 0, delivery_count: 0, redelivered: false }
    }

    /// Notes that it was delivered and came back.
    pub(crate) fn given_back(mut self) -> Self {
        self.delivery_count = self.delivery_count.saturating_add(1);
        self.redelivered = true;
        self
    }
}
