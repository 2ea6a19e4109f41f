//! One delivery of a message, and where a transport hands deliveries in.

use std::fmt;
use std::sync::Arc;

use crate::envelope::Envelope;
use crate::error::Error;
use crate::short_str::ShortStr;

/// Names a delivery on its channel: 1, 2, 3, … (AMQP `delivery-tag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag(pub u64);

impl fmt::Display for DeliveryTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a consumer on its channel (AMQP `consumer-tag`).
pub type ConsumerTag = ShortStr;

/// A message handed to a consumer, or fetched with `basic_get`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The name under which it is settled.
    pub tag: DeliveryTag,
    /// Whether the broker knows or suspects that it was delivered before.
    pub redelivered: bool,
    /// How often it was given back before, where the transport counts.
    pub delivery_count: Option<u32>,
    /// The message.
    pub envelope: Arc<Envelope>,
}

/// What a sink says of a delivery that was [`put`](DeliverySink::put).
#[derive(Debug)]
pub enum Put {
    /// It is in, behind others that the application was told of.
    In,
    /// It is in, and [`DeliverySink::wake`] is to be called as soon as no lock is held.
    Wake,
    /// It is not in.
    Refused(Delivery),
}

/// Where a transport hands in the deliveries of one consumer; core implements it.
///
/// May be called from any thread, and by the transport while it dispatches, but never with a lock held that `basic_ack`,
/// `basic_reject` or `basic_publish` of the same transport take: a sink may wake code that calls them at once.
pub trait DeliverySink: Send + Sync {
    /// Takes a delivery. Never blocks. The transport delivers no more than the prefetch allows.
    fn deliver(&self, delivery: Delivery);

    /// Takes several deliveries at once, leaving `deliveries` empty.
    fn deliver_all(&self, deliveries: &mut Vec<Delivery>) {
        for delivery in deliveries.drain(..) {
            self.deliver(delivery);
        }
    }

    /// Takes a delivery while the caller holds locks: the quick way, in which the order of deliveries is that of the caller's lock.
    /// Never blocks, and calls and drops nothing foreign. A sink that cannot do so refuses, by default always; the delivery is then
    /// [delivered](DeliverySink::deliver) when no lock is held.
    fn put(&self, delivery: Delivery) -> Put {
        Put::Refused(delivery)
    }

    /// Tells the application of what was [`put`](DeliverySink::put). Called with no lock held, once for each [`Put::Wake`].
    fn wake(&self) {}

    /// Says whether the application, once it was told of a delivery that was [`put`](DeliverySink::put), comes back with
    /// [`Channel::catch_up`](crate::Channel::catch_up) before it rests. A transport may then keep what follows until that call, and
    /// hand it over with [`put_all`](DeliverySink::put_all). By default it does not.
    fn comes_back(&self) -> bool {
        false
    }

    /// Takes what was kept until the application came back, under the rules of [`put`](DeliverySink::put). What it has no use for
    /// any more it leaves.
    fn put_all(&self, deliveries: &mut Vec<Delivery>) {
        let _ = deliveries;
    }

    /// Returns how many deliveries the application has not taken yet. A transport takes no more messages for a consumer
    /// without acknowledgement while these are many; nothing else bounds them.
    fn waiting(&self) -> usize {
        0
    }

    /// Learns that the broker ended this consumer (queue deleted, channel lost); no delivery follows.
    fn cancelled(&self, reason: Error);
}
