//! Stores messages in queues that do more than keep them in order.

use std::sync::Arc;
use std::time::Duration;

use kombu_core::{Envelope, Outcome, Result};

use super::State;
use super::dispatch::{hand_out, next_consumer};
use crate::afterwards::Afterwards;
use crate::death::Reason;
use crate::message::QueueMessage;
use crate::policy::{Overflow, Policy};
use crate::queue::QueueKey;
use crate::refusal;
use crate::store::QueueStore;
use crate::turn::Turn;

impl<S: QueueStore> State<S> {
    /// Puts a message into a queue with a policy, or one that expires into any queue, and serves the consumers.
    #[cold]
    pub(super) fn enqueue(
        &mut self,
        key: QueueKey,
        envelope: Arc<Envelope>,
        if_failed: Outcome,
        after: &mut Afterwards,
    ) -> Result<Option<Turn>> {
        let now = self.now();
        let Some(queue) = self.queues.get(key) else { return Ok(None) };
        let mut message = QueueMessage::new(envelope);
        if let Some(policy) = queue.policy.as_deref() {
            let priority = message.envelope.properties.priority.unwrap_or(0);
            message.level = priority.min(policy.max_priority);
            let overflow = policy.overflow;
            if overflow != Overflow::DropHead && self.would_overflow(key, &message)? {
                let error = self.queues.get(key).map_or_else(|| refusal::full(""), |queue| refusal::full(&queue.name));
                match overflow {
                    Overflow::RejectPublishDlx => self.bury_unstored(key, message, Reason::Maxlen, after),
                    _ => after.drop_envelope(message.envelope),
                }
                return Err(error);
            }
        }
        let Some(queue) = self.queues.get_mut(key) else { return Ok(None) };
        if let Some(ttl) = time_to_live(&message.envelope, queue.policy.as_deref()) {
            message.expire_at(Some(now.after(ttl)));
            (queue.is_plain, queue.may_expire) = (false, true);
        }
        self.push_and_serve(key, message, after).map_err(|error| error.with_outcome(if_failed))
    }

    fn push_and_serve(&mut self, key: QueueKey, message: QueueMessage, after: &mut Afterwards) -> Result<Option<Turn>> {
        let State { store, queues, consumers, channels, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return Ok(None) };
        let next = next_consumer(&mut queue.round, consumers, channels);
        queue.push(store, message).map_err(|error| error.with("queue", &queue.name))?;
        let Some(next) = next else {
            // Another message is the first one now, or may be.
            let is_first = queue.len(store)? == 1 || !queue.levels.is_empty();
            if self.shrink(key, after) || is_first {
                self.look_at_head(key, after);
            }
            return Ok(None);
        };
        // A message for which somebody waits is delivered, even if it expires at once.
        if queue.len(store)? == 1
            && let Some(message) = queue.pop(store)?
        {
            if next.consumer.no_ack {
                queue.forget(store, &message)?;
            }
            let shows_count = queue.policy.as_ref().is_some_and(|policy| policy.shows_count);
            return Ok(hand_out(message, key, next, &mut queue.round, shows_count));
        }
        self.dispatch(key, after);
        Ok(None)
    }

    /// Says whether a queue would hold more than it may with one message more.
    fn would_overflow(&mut self, key: QueueKey, message: &QueueMessage) -> Result<bool> {
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return Ok(false) };
        let len = queue.len(store)? as u64;
        let bytes = queue.bytes.saturating_add(message.bytes());
        let Some(policy) = &queue.policy else { return Ok(false) };
        Ok(policy.max_length.is_some_and(|max| len >= max) || policy.max_length_bytes.is_some_and(|max| bytes > max))
    }

    /// Takes the first messages out of a queue that holds more than it may, until it does not; says whether there were any.
    pub(super) fn shrink(&mut self, key: QueueKey, after: &mut Afterwards) -> bool {
        let mut any = false;
        loop {
            let State { store, queues, .. } = self;
            let Some(queue) = queues.get_mut(key) else { return any };
            let Some(policy) = queue.policy.as_deref() else { return any };
            let (max_length, max_bytes) = (policy.max_length, policy.max_length_bytes);
            if policy.overflow != Overflow::DropHead || (max_length, max_bytes) == (None, None) {
                return any;
            }
            // A store that cannot say what it holds is looked at again with the next message.
            let Ok(len) = queue.len(store) else { return any };
            let is_over =
                max_length.is_some_and(|max| len as u64 > max) || max_bytes.is_some_and(|max| queue.bytes > max);
            if !is_over {
                return any;
            }
            let Ok(Some(message)) = queue.pop(store) else { return any };
            self.bury(key, message, Reason::Maxlen, after);
            any = true;
        }
    }
}

/// Returns how long a message may wait in a queue: the shorter of its own time and the queue's.
fn time_to_live(envelope: &Envelope, policy: Option<&Policy>) -> Option<Duration> {
    let own = envelope.properties.expiration().map(|time| {
        // The wire holds whole milliseconds.
        Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    });
    let queue = policy.and_then(|policy| policy.message_ttl);
    own.into_iter().chain(queue).min()
}
