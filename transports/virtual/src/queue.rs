//! One queue.

use std::collections::VecDeque;

use kombu_core::{Malformed, Result, ShortStr};

use crate::alarm::AlarmKey;
use crate::connection::ConnectionKey;
use crate::consumer::ConsumerKey;
use crate::definition::QueueDefinition;
use crate::exchange::ExchangeKey;
use crate::map::Set;
use crate::message::QueueMessage;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::round::Round;
use crate::slots::Key;
use crate::store::QueueStore;

/// Names a queue in the broker.
pub(crate) type QueueKey = Key<QueueSlot>;

/// Tells keys of queues apart from others.
pub(crate) enum QueueSlot {}

/// What the broker knows of a queue, with what the store keeps at hand for it.
pub(crate) struct Queue<Q> {
    pub(crate) name: ShortStr,
    /// Nothing about it needs a look at each message: it has no policy and holds nothing that expires.
    pub(crate) is_plain: bool,
    /// Messages in it may expire.
    pub(crate) may_expire: bool,
    /// `None` for a queue found in the store that nobody has declared here.
    pub(crate) definition: Option<QueueDefinition>,
    /// What its arguments ask for.
    pub(crate) policy: Option<Box<Policy>>,
    /// Who may use an exclusive queue.
    pub(crate) owner: Option<ConnectionKey>,
    pub(crate) stored: Q,
    /// The queues of the store for the priorities above 0.
    pub(crate) levels: Vec<Q>,
    /// The bodies of the ready messages together, where a limit asks for it.
    pub(crate) bytes: u64,
    pub(crate) consumers: Vec<ConsumerKey>,
    /// The consumers in turn, but for those for whom there was a message while their window was full.
    pub(crate) round: Round<ConsumerKey>,
    /// Where it is bound, and with which key.
    pub(crate) bound: Set<(ExchangeKey, ShortStr)>,
    /// What was set aside from it, with the message where it is one that the store still holds.
    pub(crate) malformed: VecDeque<(Malformed, Option<QueueMessage>)>,
    /// When it was last used, for a queue that expires.
    pub(crate) used: Moment,
    pub(crate) expiry_alarm: Option<AlarmKey>,
    pub(crate) unused_alarm: Option<AlarmKey>,
}

/// What is between the name of a queue and a priority, in the names of the store; Kombu's separator on Redis.
const LEVEL: &str = "\u{6}\u{16}";

impl<Q> Queue<Q> {
    pub(crate) fn new(
        name: ShortStr,
        definition: Option<QueueDefinition>,
        owner: Option<ConnectionKey>,
        stored: Q,
    ) -> Self {
        Queue {
            name,
            is_plain: true,
            may_expire: false,
            definition,
            policy: None,
            owner,
            stored,
            levels: Vec::new(),
            bytes: 0,
            consumers: Vec::new(),
            round: Round::default(),
            bound: Set::default(),
            malformed: VecDeque::new(),
            used: Moment(0),
            expiry_alarm: None,
            unused_alarm: None,
        }
    }

    pub(crate) fn is_auto_delete(&self) -> bool {
        self.definition.as_ref().is_some_and(|definition| definition.auto_delete)
    }

    pub(crate) fn has_single_active_consumer(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.single_active_consumer)
    }

    /// Lets a consumer take part in the round, unless another one is the single active one.
    pub(crate) fn join(&mut self, consumer: ConsumerKey, priority: i64) {
        if !self.has_single_active_consumer() || self.consumers.first() == Some(&consumer) {
            self.round.join(consumer, priority);
        }
    }

    /// Gives the queue a policy, and opens what the store needs for it.
    pub(crate) fn adopt<S: QueueStore<Queue = Q>>(
        &mut self,
        store: &mut S,
        policy: Option<Box<Policy>>,
        definition: &QueueDefinition,
    ) -> Result<()> {
        let Some(policy) = policy else { return Ok(()) };
        for priority in 1..=policy.max_priority {
            self.levels.push(store.create(&level_name(&self.name, priority), definition)?);
        }
        if policy.max_length_bytes.is_some() {
            self.bytes = self.count_bytes(store)?;
        }
        self.is_plain = false;
        self.may_expire |= policy.message_ttl.is_some();
        self.policy = Some(policy);
        Ok(())
    }

    /// Takes a consumer out. Where it was the single active one, returns the one that follows it.
    pub(crate) fn drop_consumer(&mut self, consumer: ConsumerKey) -> Option<ConsumerKey> {
        let was_active = self.consumers.first() == Some(&consumer);
        self.round.leave(consumer);
        self.consumers.retain(|other| *other != consumer);
        self.consumers.first().copied().filter(|_| was_active && self.has_single_active_consumer())
    }

    /// Adds up the bodies of what the store holds, by taking everything out and putting it back.
    fn count_bytes<S: QueueStore<Queue = Q>>(&mut self, store: &mut S) -> Result<u64> {
        let mut taken = Vec::new();
        while let Some(message) = self.pop(store)? {
            taken.push(message);
        }
        let bytes = taken.iter().map(QueueMessage::bytes).sum();
        for message in taken.into_iter().rev() {
            self.put_back(store, message)?;
        }
        Ok(bytes)
    }

    pub(crate) fn push<S: QueueStore<Queue = Q>>(&mut self, store: &mut S, message: QueueMessage) -> Result<()> {
        let bytes = message.bytes();
        store.push(level(&mut self.stored, &mut self.levels, message.level), message)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Takes the first message out: that of the highest priority.
    #[inline]
    pub(crate) fn pop<S: QueueStore<Queue = Q>>(&mut self, store: &mut S) -> Result<Option<QueueMessage>> {
        if self.is_plain { store.pop(&mut self.stored) } else { self.pop_of_levels(store) }
    }

    fn pop_of_levels<S: QueueStore<Queue = Q>>(&mut self, store: &mut S) -> Result<Option<QueueMessage>> {
        for priority in (0..=self.levels.len()).rev() {
            // There are at most 255 priorities above 0.
            let priority = priority as u8;
            if let Some(mut message) = store.pop(level(&mut self.stored, &mut self.levels, priority))? {
                message.level = priority;
                self.bytes = self.bytes.saturating_sub(message.bytes());
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    pub(crate) fn put_back<S: QueueStore<Queue = Q>>(&mut self, store: &mut S, message: QueueMessage) -> Result<()> {
        let bytes = message.bytes();
        store.put_back(level(&mut self.stored, &mut self.levels, message.level), message)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    pub(crate) fn forget<S: QueueStore<Queue = Q>>(&mut self, store: &mut S, message: &QueueMessage) -> Result<()> {
        store.forget(level(&mut self.stored, &mut self.levels, message.level), message)
    }

    pub(crate) fn len<S: QueueStore<Queue = Q>>(&mut self, store: &mut S) -> Result<usize> {
        let mut len = store.len(&mut self.stored)?;
        for stored in &mut self.levels {
            len += store.len(stored)?;
        }
        Ok(len)
    }

    pub(crate) fn purge<S: QueueStore<Queue = Q>>(
        &mut self,
        store: &mut S,
        removed: &mut Vec<QueueMessage>,
    ) -> Result<usize> {
        let mut count = store.purge(&mut self.stored, removed)?;
        for stored in &mut self.levels {
            count += store.purge(stored, removed)?;
        }
        self.bytes = 0;
        Ok(count)
    }

    pub(crate) fn remove<S: QueueStore<Queue = Q>>(&mut self, store: &mut S) -> Result<()> {
        let mut removed = store.remove(&self.name, &mut self.stored);
        for (stored, priority) in self.levels.iter_mut().zip(1..) {
            removed = removed.and(store.remove(&level_name(&self.name, priority), stored));
        }
        removed
    }
}

impl QueueMessage {
    /// Returns the size of the body, which is what limits count.
    pub(crate) fn bytes(&self) -> u64 {
        self.envelope.body.len() as u64
    }
}

fn level_name(queue: &str, priority: u8) -> String {
    format!("{queue}{LEVEL}{priority}")
}

/// Returns the queue of the store for a priority.
#[inline]
fn level<'a, Q>(stored: &'a mut Q, levels: &'a mut [Q], priority: u8) -> &'a mut Q {
    match priority.checked_sub(1).and_then(|index| levels.get_mut(usize::from(index))) {
        Some(level) => level,
        None => stored,
    }
}
