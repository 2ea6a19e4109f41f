//! One consumer.

use kombu_core::ConsumerTag;

use crate::channel_record::ChannelKey;
use crate::queue::QueueKey;
use crate::slots::Key;
use crate::tray::Tray;

/// Names a consumer in the broker.
pub(crate) type ConsumerKey = Key<ConsumerSlot>;

/// Tells keys of consumers apart from others.
pub(crate) enum ConsumerSlot {}

/// What the broker knows of a consumer.
pub(crate) struct Consumer {
    pub(crate) tag: ConsumerTag,
    pub(crate) channel: ChannelKey,
    pub(crate) queue: QueueKey,
    pub(crate) tray: Tray,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    /// Consumers of a higher priority are served first.
    pub(crate) priority: i64,
    /// How many deliveries it may hold unsettled; 0 is no limit.
    pub(crate) limit: u32,
    /// How many it holds.
    pub(crate) unsettled: u32,
    pub(crate) state: Readiness,
}

/// Whether a consumer is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It takes part in its queue's round. Its window may be full; that is looked at when there is a message for it.
    Ready,
    /// There was a message for it and its window was full: it comes back with its next settled delivery.
    WindowFull,
    /// There was a message for it and its channel's window was full: it waits in the channel's line.
    ChannelFull,
}

impl Consumer {
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.no_ack || self.limit == 0 || self.unsettled < self.limit
    }
}
