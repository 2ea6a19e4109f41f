//! Sends on what died in a queue.

use std::sync::Arc;

use kombu_core::{ErrorKind, Malformed, Outcome, ShortStr};

use super::State;
use crate::afterwards::Afterwards;
use crate::death::{self, Reason};
use crate::message::QueueMessage;
use crate::queue::QueueKey;
use crate::store::QueueStore;

/// A message that left its queue without being acknowledged, to be sent on.
pub(crate) struct Dead {
    message: QueueMessage,
    queue: QueueKey,
    name: ShortStr,
    reason: Reason,
    exchange: ShortStr,
    routing_key: Option<ShortStr>,
    /// Whether the store holds it until it is sent on.
    is_stored: bool,
}

impl<S: QueueStore> State<S> {
    /// Sends a message that was taken out of a queue to the queue's dead-letter exchange, or forgets it where there is none.
    pub(super) fn bury(&mut self, key: QueueKey, message: QueueMessage, reason: Reason, after: &mut Afterwards) {
        self.bury_as(key, message, reason, true, after);
    }

    /// Does the same to a message that never came into the queue.
    pub(super) fn bury_unstored(
        &mut self,
        key: QueueKey,
        message: QueueMessage,
        reason: Reason,
        after: &mut Afterwards,
    ) {
        self.bury_as(key, message, reason, false, after);
    }

    fn bury_as(
        &mut self,
        key: QueueKey,
        message: QueueMessage,
        reason: Reason,
        is_stored: bool,
        after: &mut Afterwards,
    ) {
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return after.drop_envelope(message.envelope) };
        let policy = queue.policy.as_deref();
        if let Some(exchange) = policy.and_then(|policy| policy.dead_letter_exchange.clone()) {
            let (name, routing_key) =
                (queue.name.clone(), policy.and_then(|policy| policy.dead_letter_routing_key.clone()));
            self.dead.push_back(Dead { message, queue: key, name, reason, exchange, routing_key, is_stored });
            self.has_chores = true;
            return;
        }
        if is_stored {
            // A message that the store cannot forget comes again, flagged; nobody asked for this one.
            _ = queue.forget(store, &message);
        }
        after.drop_envelope(message.envelope);
    }

    /// Publishes a dead message to its dead-letter exchange; one that is missing, or leads nowhere, makes it go. The message is
    /// forgotten in its old queue once it is stored in the new ones.
    pub(super) fn send_on(&mut self, dead: Dead, after: &mut Afterwards) {
        let Dead { message, queue, name, reason, exchange, routing_key, is_stored } = dead;
        let at = self.clock.system_time();
        let letter = Arc::new(death::letter(&message.envelope, &name, reason, at, &exchange, routing_key.as_ref()));
        let found = self.resolve(&exchange, &letter).unwrap_or_default();
        let mut failed = None;
        for target in crate::route::Route::new(found.queues).queues() {
            let goes_round = |target: &ShortStr| reason != Reason::Rejected && death::is_cycle(&letter.headers, target);
            if self.queues.get(*target).is_none_or(|target| goes_round(&target.name)) {
                continue;
            }
            match self.store_and_serve(*target, Arc::clone(&letter), Outcome::NotSent, after) {
                Ok(turn) => after.turn(turn),
                // A full queue that refuses messages refuses this one too.
                Err(error) if error.kind() == ErrorKind::Nacked => {}
                Err(error) => failed = Some(error),
            }
        }
        for exchange in found.delays {
            failed = self.hold_back(exchange, &letter).err().or(failed);
        }
        after.drop_envelope(letter);
        match failed {
            Some(error) if is_stored => {
                self.keep_aside(queue, message, error.to_string(), after);
            }
            _ => self.forget(queue, message, is_stored, after),
        }
    }

    fn forget(&mut self, queue: QueueKey, message: QueueMessage, is_stored: bool, after: &mut Afterwards) {
        if is_stored && let Some(queue) = self.queues.get_mut(queue) {
            // The copy is stored: a message that the store cannot forget comes again, flagged.
            _ = queue.forget(&mut self.store, &message);
        }
        after.drop_envelope(message.envelope);
    }

    /// Puts a message back where it was; one that the store does not take is set aside.
    pub(super) fn return_to(&mut self, key: QueueKey, message: QueueMessage) {
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return };
        if message.expiry().is_some() {
            (queue.is_plain, queue.may_expire) = (false, true);
        }
        let raw = message.envelope.body.clone();
        if let Err(error) = queue.put_back(store, message) {
            let at = self.clock.system_time();
            let malformed = Malformed { queue: queue.name.clone(), raw, reason: error.to_string(), at };
            queue.malformed.push_back((malformed, None));
        }
    }

    /// Keeps a message that nobody could handle where it is found, and returns what is told of it. The oldest that is kept gives
    /// way when there are too many.
    pub(super) fn keep_aside(
        &mut self,
        key: QueueKey,
        message: QueueMessage,
        reason: String,
        after: &mut Afterwards,
    ) -> Option<Malformed> {
        let at = self.clock.system_time();
        let State { store, queues, malformed_limit, .. } = self;
        let queue = queues.get_mut(key)?;
        let malformed = Malformed { queue: queue.name.clone(), raw: message.envelope.body.clone(), reason, at };
        queue.malformed.push_back((malformed.clone(), Some(message)));
        while queue.malformed.len() > *malformed_limit {
            if let Some((_, Some(oldest))) = queue.malformed.pop_front() {
                // What the store cannot forget comes again, flagged.
                _ = queue.forget(store, &oldest);
                after.drop_envelope(oldest.envelope);
            }
        }
        Some(malformed)
    }
}
