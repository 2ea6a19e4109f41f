//! One queue.

use kombu_core::{Malformed, ShortStr};

use crate::connection::ConnectionKey;
use crate::consumer::ConsumerKey;
use crate::definition::QueueDefinition;
use crate::exchange::ExchangeKey;
use crate::map::Set;
use crate::round::Round;
use crate::slots::Key;

/// Names a queue in the broker.
pub(crate) type QueueKey = Key<QueueSlot>;

/// Tells keys of queues apart from others.
pub(crate) enum QueueSlot {}

/// What the broker knows of a queue, with what the store keeps at hand for it.
pub(crate) struct Queue<Q> {
    pub(crate) name: ShortStr,
    /// `None` for a queue found in the store that nobody has declared here.
    pub(crate) definition: Option<QueueDefinition>,
    /// Who may use an exclusive queue.
    pub(crate) owner: Option<ConnectionKey>,
    pub(crate) stored: Q,
    pub(crate) consumers: Vec<ConsumerKey>,
    /// Those of the consumers whose window has room.
    pub(crate) round: Round<ConsumerKey>,
    /// Where it is bound, and with which key.
    pub(crate) bound: Set<(ExchangeKey, ShortStr)>,
    /// What was set aside from it.
    pub(crate) malformed: Vec<Malformed>,
}

impl<Q> Queue<Q> {
    pub(crate) fn new(
        name: ShortStr,
        definition: Option<QueueDefinition>,
        owner: Option<ConnectionKey>,
        stored: Q,
    ) -> Self {
        Queue {
            name,
            definition,
            owner,
            stored,
            consumers: Vec::new(),
            round: Round::default(),
            bound: Set::default(),
            malformed: Vec::new(),
        }
    }
    pub(crate) fn is_auto_delete(&self) -> bool {
        self.definition.as_ref().is_some_and(|definition| definition.auto_delete)
    }
}
