//! `basic.*`

use std::time::Duration;

use crate::FieldTable;
use crate::delivery::ConsumerTag;
use crate::short_str::ShortStr;

/// The arguments of `basic.publish` that are not part of the [`Envelope`](crate::Envelope).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BasicPublish {
    /// Return the message if it matches no queue.
    pub mandatory: bool,
    /// How long after this call the publisher gives up. A transport that has not begun to send by then must not send, and
    /// answers `Timeout` with [`Outcome::NotSent`](crate::Outcome::NotSent). A span, not a time, so that transports that never
    /// wait need not look at a clock.
    pub timeout: Option<Duration>,
}

/// The arguments of `basic.consume`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BasicConsume {
    /// The queue.
    pub queue: ShortStr,
    /// The consumer's name, unique on its channel; empty lets the transport choose.
    pub consumer_tag: ConsumerTag,
    /// Deliveries count as acknowledged when they are sent.
    pub no_ack: bool,
    /// Refuse other consumers on the queue.
    pub exclusive: bool,
    /// The broker's own arguments, such as `x-priority`.
    pub arguments: FieldTable,
}

/// The arguments of `basic.get`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BasicGet {
    /// The queue.
    pub queue: ShortStr,
    /// The message counts as acknowledged when it is sent.
    pub no_ack: bool,
}
