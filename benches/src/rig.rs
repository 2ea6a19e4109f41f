//! One connection on a hub of its own, with a queue to measure with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kombu::{Confirmed, Connection, Exchange, ExchangeKind, Hub, Message, Pending, Producer, Queue, Settling};

use crate::bodies::{Bodies, Tally};

/// A connection registered with a hub on this thread, and one declared queue.
pub struct Rig {
    /// The hub; the rig's thread turns it.
    pub hub: Hub,
    /// The connection.
    pub connection: Connection,
    /// The queue, bound to the exchange by `key`.
    pub queue: Queue,
    named: Producer,
    default: Producer,
}

/// Which way messages take to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A declared exchange.
    Named,
    /// The default exchange, by the queue's name.
    Default,
}

/// How many publishes are under way at once where they are pipelined.
pub const WINDOW: usize = 1024;

/// What a consumer has received so far; written by its callback alone.
#[derive(Default)]
pub struct Received {
    count: AtomicU64,
    end: Mutex<Option<(Tally, Settling)>>,
}

impl Received {
    /// Returns how many messages came.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Returns the tally of all messages and the answer to the last ack, once they have come.
    ///
    /// # Panics
    ///
    /// When the last message has not come yet.
    pub fn end(&self) -> (Tally, Settling) {
        self.end.lock().unwrap().take().expect("the last message has come")
    }
}

impl Rig {
    /// Connects to `url` and declares the queue, bound to an exchange of the given kind.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn new(url: &str, kind: ExchangeKind, binding_key: &str) -> Self {
        let hub = Hub::new().unwrap();
        let connection = Connection::new(url).unwrap();
        connection.register_with_event_loop(&hub).unwrap();
        let exchange = Exchange::new("bench.exchange", kind);
        let queue = Queue::new("bench.queue").bind(&exchange, binding_key);
        queue.declare(&connection).wait().unwrap();
        let named = connection.producer().with_exchange(&exchange).with_routing_key("bench.key");
        let default = connection.producer().with_routing_key("bench.queue");
        Rig { hub, connection, queue, named, default }
    }

    /// Returns the producer for one of the two ways.
    pub fn producer(&self, via: Via) -> &Producer {
        match via {
            Via::Named => &self.named,
            Via::Default => &self.default,
        }
    }

    /// Starts a consumer that acknowledges each message and calls `at_end` after message number `count`.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn consume(&self, count: u64, at_end: impl Fn() + Send + 'static) -> (kombu::Consumer, Arc<Received>) {
        let received = Arc::new(Received::default());
        let shared = Arc::clone(&received);
        let mut tally = Tally::default();
        let on_message = move |message: Message| {
            tally.add(message.body());
            let settled = message.ack();
            if tally.count == count {
                *shared.end.lock().unwrap() = Some((tally, settled));
                at_end();
            }
            shared.count.store(tally.count, Ordering::Release);
        };
        let consumer = self.connection.consumer(&self.queue).on_message(on_message).consume().wait().unwrap();
        (consumer, received)
    }

    /// Publishes messages `0..count`, with up to 1024 under way at once, and waits for every confirmation.
    ///
    /// # Panics
    ///
    /// When a message is not confirmed, or did not reach one queue.
    pub fn publish_pipelined(&self, via: Via, count: u64, bodies: &Bodies) {
        let producer = self.producer(via);
        let work = async {
            let mut under_way: VecDeque<Pending<Confirmed>> = VecDeque::with_capacity(WINDOW);
            for index in 0..count {
                if under_way.len() == WINDOW {
                    check(under_way.pop_front().unwrap().await);
                }
                under_way.push_back(producer.publish(bodies.at(index)).send());
            }
            for pending in under_way {
                check(pending.await);
            }
        };
        self.hub.block_on(work).unwrap();
    }

    /// Publishes messages `0..count`, each after the confirmation of the one before.
    ///
    /// # Panics
    ///
    /// As [`publish_pipelined`](Rig::publish_pipelined).
    pub fn publish_one_by_one(&self, via: Via, count: u64, bodies: &Bodies) {
        let producer = self.producer(via);
        let work = async {
            for index in 0..count {
                check(producer.publish(bodies.at(index)).await);
            }
        };
        self.hub.block_on(work).unwrap();
    }

    /// Consumes and acknowledges `count` messages, and waits until the last ack is taken; returns what came.
    ///
    /// # Panics
    ///
    /// When an ack fails, or the messages do not come.
    pub fn drain(&self, count: u64) -> Tally {
        let handle = self.hub.handle();
        let (consumer, received) = self.consume(count, move || handle.stop());
        self.hub.run_forever().unwrap();
        let (tally, settled) = received.end();
        self.hub.block_on(settled).unwrap().unwrap();
        drop(consumer);
        tally
    }

    /// Turns the hub until `received` has `count` messages.
    ///
    /// # Panics
    ///
    /// When nothing happens for ten seconds.
    pub fn turn_until(&self, received: &Received, count: u64) {
        while received.count() < count {
            assert!(self.hub.run_once(Some(PATIENCE)).unwrap(), "{} of {count} messages came", received.count());
        }
    }

    /// Ends the connection.
    ///
    /// # Panics
    ///
    /// When it cannot be closed in good order.
    pub fn close(self) {
        self.connection.close().wait().unwrap();
    }
}

/// Checks a confirmation.
///
/// # Panics
///
/// When the message did not reach exactly one queue, as far as the broker tells.
#[inline]
pub fn check(result: kombu::Result<Confirmed>) {
    assert_eq!(result.unwrap().queues.unwrap_or(1), 1);
}

const PATIENCE: Duration = Duration::from_secs(10);
