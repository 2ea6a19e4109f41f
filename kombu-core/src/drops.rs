//! How often messages were dropped, for brokers that do not count it.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::delivery::Delivery;

/// Counts the drops of messages whose broker does not: of a message in a classic queue RabbitMQ says that it was delivered
/// before, not how often.
///
/// A message is known by its queue and everything it consists of, so messages alike in all of it count together. One that is
/// delivered for the first time begins anew. Some thousands are remembered, the latest; a queue gives back to its front, so those
/// that go round are no more than its consumers' windows hold.
#[derive(Default)]
pub(crate) struct Drops {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

/// Two generations: when the younger is full it becomes the older, which is forgotten.
#[derive(Default)]
struct Counts {
    younger: HashMap<u64, u32>,
    older: HashMap<u64, u32>,
}

impl Drops {
    /// Counts a drop of `delivery`, which came from `queue`, and returns how many there were before.
    pub(crate) fn count(&self, queue: &str, delivery: &Delivery) -> u32 {
        let message = self.identify(queue, delivery);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.take(message);
        let before = if delivery.redelivered { known.unwrap_or(0) } else { 0 };
        counts.put(message, before.saturating_add(1));
        before
    }

    fn identify(&self, queue: &str, delivery: &Delivery) -> u64 {
        let envelope = &*delivery.envelope;
        let mut hasher = self.hasher.build_hasher();
        (queue, envelope.exchange.as_str(), envelope.routing_key.as_str(), &envelope.body).hash(&mut hasher);
        // Not everything in them can be hashed, but all of it can be written. A hasher takes whatever it is given.
        let _ = write!(HashWriter(&mut hasher), "{:?} {:?}", envelope.properties, envelope.headers);
        hasher.finish()
    }
}

impl Counts {
    fn take(&mut self, message: u64) -> Option<u32> {
        self.younger.remove(&message).or_else(|| self.older.remove(&message))
    }

    fn put(&mut self, message: u64, count: u32) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(message, count);
    }
}

struct HashWriter<'a, H>(&'a mut H);

impl<H: Hasher> Write for HashWriter<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// How many messages a generation holds.
const GENERATION: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{DeliveryTag, Envelope};

    fn delivery(body: String, redelivered: bool) -> Delivery {
        let envelope = Arc::new(Envelope { body: body.into(), ..Envelope::default() });
        Delivery { tag: DeliveryTag(1), redelivered, delivery_count: None, envelope }
    }

    #[test]
    fn each_message_of_each_queue_counts_for_itself() {
        let drops = Drops::default();
        let (one, again) = (delivery("one".into(), false), delivery("one".into(), true));
        assert_eq!([drops.count("q", &one), drops.count("q", &again), drops.count("q", &again)], [0, 1, 2]);
        assert_eq!(drops.count("other", &again), 0);
        assert_eq!(drops.count("q", &delivery("two".into(), true)), 0);
        let mut marked = (*again.envelope).clone();
        marked.headers.table_mut().insert("retries", 1);
        assert_eq!(drops.count("q", &Delivery { envelope: Arc::new(marked), ..again.clone() }), 0);
        assert_eq!(drops.count("q", &again), 3);
        // A twin that was never delivered before begins anew.
        assert_eq!([drops.count("q", &one), drops.count("q", &again)], [0, 1]);
    }

    #[test]
    fn the_latest_are_remembered() {
        let drops = Drops::default();
        for round in 0..3 {
            for number in 0..GENERATION {
                assert_eq!(drops.count("q", &delivery(number.to_string(), true)), round, "{number}");
            }
        }
        for number in 0..10 * GENERATION {
            let _counted = drops.count("flood", &delivery(number.to_string(), true));
        }
        let counts = drops.counts.lock().unwrap();
        assert!(counts.younger.len() + counts.older.len() <= 2 * GENERATION);
        drop(counts);
        assert_eq!(drops.count("q", &delivery("0".into(), true)), 0, "forgotten");
    }
}
