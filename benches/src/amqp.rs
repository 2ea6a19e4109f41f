//! Runs on RabbitMQ, in a virtual host of its own.

use kombu::ExchangeKind;
use kombu_brokers::RabbitVhost;

use crate::bodies::Bodies;
use crate::rig::{Rig, Via};
use crate::sample::Sample;

pub use crate::redis::Pace;

/// The queue that is measured with.
pub const QUEUE: &str = "bench.queue";

/// The window of every consumer.
pub const PREFETCH: u16 = 256;

/// Our connection, with the queue declared.
pub struct Publisher<'a> {
    rig: Rig,
    vhost: &'a RabbitVhost<'a>,
}

impl<'a> Publisher<'a> {
    /// Connects and declares the queue.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn new(vhost: &'a RabbitVhost<'a>) -> Self {
        Publisher { rig: Rig::new(&vhost.url(), ExchangeKind::Direct, "bench.key"), vhost }
    }

    /// Publishes `count` messages into the empty queue, and ends the connection.
    ///
    /// # Panics
    ///
    /// When a message is not confirmed, or not in the queue.
    pub fn fill(self, count: u64, bodies: &Bodies) {
        self.rig.publish_pipelined(Via::Default, count, bodies);
        assert_eq!(messages(self.vhost), count);
        self.rig.close();
    }
}

/// Publishes `count` messages to the empty queue, which is emptied again.
///
/// # Panics
///
/// When a message is not confirmed, or not in the queue.
pub fn publish(vhost: &RabbitVhost<'_>, via: Via, pace: Pace, count: u64, bodies: &Bodies) -> Sample {
    let Publisher { rig, .. } = Publisher::new(vhost);
    // The first publish opens the channel; it is not what is measured.
    rig.publish_one_by_one(via, 1, bodies);
    let sample = Sample::of(count, || match pace {
        Pace::Pipelined => rig.publish_pipelined(via, count, bodies),
        Pace::OneByOne => rig.publish_one_by_one(via, count, bodies),
    });
    rig.close();
    assert_eq!(messages(vhost), count + 1);
    purge(vhost);
    sample
}

/// Consumes and acknowledges `count` messages, from the call of `consume` until the broker has the last ack.
///
/// # Panics
///
/// When a message is lost or changed, or anything is left.
pub fn consume(vhost: &RabbitVhost<'_>, count: u64, bodies: &Bodies) -> Sample {
    Publisher::new(vhost).fill(count, bodies);
    let Publisher { rig, .. } = Publisher::new(vhost);
    let mut tally = None;
    let sample = Sample::of(count, || {
        tally = Some(rig.drain(count));
        // The broker answers it after it has taken the last ack.
        rig.close();
    });
    assert_eq!(tally, Some(bodies.tally(count)));
    assert_eq!(messages(vhost), 0);
    sample
}

/// Publishes, consumes and acknowledges `count` messages at once on one thread, until the broker has the last ack.
///
/// # Panics
///
/// When a message is lost or changed, or anything is left.
pub fn flow(vhost: &RabbitVhost<'_>, count: u64, bodies: &Bodies) -> Sample {
    let Publisher { rig, .. } = Publisher::new(vhost);
    let (consumer, received) = rig.consume(count, || {});
    let begin = Sample::start();
    rig.publish_pipelined(Via::Default, count, bodies);
    rig.turn_until(&received, count);
    let (tally, settled) = received.end();
    rig.hub.block_on(settled).unwrap().unwrap();
    drop(consumer);
    rig.close();
    let sample = begin.end(count);
    assert_eq!(tally, bodies.tally(count));
    assert_eq!(messages(vhost), 0);
    sample
}

/// Returns how many messages the queue holds, unacknowledged ones included.
///
/// # Panics
///
/// When the broker does not answer.
pub fn messages(vhost: &RabbitVhost<'_>) -> u64 {
    vhost.messages(QUEUE) as u64
}

/// Empties the queue.
///
/// # Panics
///
/// When the broker does not answer.
pub fn purge(vhost: &RabbitVhost<'_>) {
    vhost.purge(QUEUE);
}
