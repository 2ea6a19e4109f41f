//! One channel, as the broker sees it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use kombu_core::{ChannelEvents, ConsumerTag, Error, Qos};

use crate::connection::ConnectionKey;
use crate::consumer::ConsumerKey;
use crate::map::Map;
use crate::put_off::PutOff;
use crate::slots::Key;
use crate::unacked::Unacked;

/// Names a channel in the broker.
pub(crate) type ChannelKey = Key<ChannelSlot>;

/// Tells keys of channels apart from others.
pub(crate) enum ChannelSlot {}

/// What the broker knows of a channel.
pub(crate) struct ChannelRecord {
    pub(crate) connection: ConnectionKey,
    pub(crate) unacked: Unacked,
    /// Those of them that are acknowledged.
    pub(crate) put_off: Arc<PutOff>,
    pub(crate) consumers: Map<ConsumerTag, ConsumerKey>,
    /// The window of consumers started from now on; 0 is no limit.
    pub(crate) consumer_limit: u32,
    /// The window of all consumers together; 0 is no limit.
    pub(crate) limit: u32,
    /// How many deliveries to consumers are unsettled.
    pub(crate) unsettled: u32,
    /// Consumers that wait for room in the channel's window, first come, first served.
    pub(crate) line: VecDeque<ConsumerKey>,
    pub(crate) events: Option<Arc<dyn ChannelEvents>>,
    /// Numbers the consumers that are to be named.
    pub(crate) named: u64,
    /// Why the broker closed it.
    pub(crate) fate: Arc<OnceLock<Error>>,
}

impl ChannelRecord {
    pub(crate) fn new(connection: ConnectionKey, fate: Arc<OnceLock<Error>>, put_off: Arc<PutOff>) -> Self {
        ChannelRecord {
            connection,
            unacked: Unacked::new(),
            put_off,
            consumers: Map::default(),
            consumer_limit: u32::from(Qos::default().prefetch_count),
            limit: 0,
            unsettled: 0,
            line: VecDeque::new(),
            events: None,
            named: 0,
            fate,
        }
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.limit == 0 || self.unsettled < self.limit
    }
}
