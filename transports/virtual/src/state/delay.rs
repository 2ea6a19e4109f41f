//! Holds messages back until they are due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::{Envelope, Outcome, Result, ShortStr};

use super::State;
use crate::afterwards::Afterwards;
use crate::alarm::{Alarm, AlarmKey};
use crate::definition::QueueDefinition;
use crate::delay::{asked, mark_over};
use crate::exchange::ExchangeKey;
use crate::message::QueueMessage;
use crate::moment::Moment;
use crate::refusal;
use crate::route::Route;
use crate::store::QueueStore;

/// What a delayed exchange holds back: in a queue of the store, from which everything is popped at all times.
pub(crate) struct Delayed<Q> {
    stored: Q,
    /// By time, then in order of publishing.
    waiting: BTreeMap<(Moment, u64), QueueMessage>,
    alarm: Option<AlarmKey>,
    next: u64,
}

/// When a message that could not be stored is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl<S: QueueStore> State<S> {
    /// Opens what an earlier run may have left with a delayed exchange.
    pub(super) fn open_delayed(&mut self, key: ExchangeKey, exchange: &ShortStr) -> Result<()> {
        let mut stored = self.store.create(&stored_name(exchange), &QueueDefinition::of_stored())?;
        let mut delayed = BTreeMap::new();
        while let Some(message) = self.store.pop(&mut stored)? {
            let when = message.expiry().unwrap_or(Moment(0));
            delayed.insert((when, delayed.len() as u64), message);
        }
        let next = delayed.len() as u64;
        self.delayed.insert(key, Delayed { stored, waiting: delayed, alarm: None, next });
        self.set_due(key);
        Ok(())
    }

    /// Removes what a delayed exchange holds.
    pub(super) fn remove_delayed(&mut self, key: ExchangeKey, exchange: &ShortStr, after: &mut Afterwards) {
        let Some(mut delayed) = self.delayed.remove(&key) else { return };
        self.alarms.replace(&mut delayed.alarm, None, Alarm::Due(key));
        // The exchange is gone for everybody, whatever the store says.
        _ = self.store.remove(&stored_name(exchange), &mut delayed.stored);
        after.discard((delayed.waiting, delayed.stored));
    }

    /// Keeps a message until it is due; then it is routed from there.
    pub(super) fn hold_back(&mut self, key: ExchangeKey, envelope: &Arc<Envelope>) -> Result<()> {
        let now = self.now();
        let Some(delay) = asked(&envelope.headers) else { return Ok(()) };
        let State { store, delayed, .. } = self;
        let Some(delayed) = delayed.get_mut(&key) else {
            return Err(refusal::not_found("exchange", &envelope.exchange));
        };
        let mut held = Envelope::clone(envelope);
        mark_over(&mut held.headers, delay);
        let mut message = QueueMessage::new(Arc::new(held));
        message.expire_at(Some(now.after(delay)));
        store.push(&mut delayed.stored, message)?;
        if let Some(message) = store.pop(&mut delayed.stored)? {
            let when = message.expiry().unwrap_or(now);
            delayed.waiting.insert((when, delayed.next), message);
            delayed.next += 1;
        }
        self.set_due(key);
        Ok(())
    }

    fn set_due(&mut self, key: ExchangeKey) {
        let Some(delayed) = self.delayed.get_mut(&key) else { return };
        let first = delayed.waiting.first_key_value().map(|((when, _), _)| *when);
        self.has_chores |= self.alarms.replace(&mut delayed.alarm, first, Alarm::Due(key));
    }

    /// Routes the messages of a delayed exchange that are due.
    pub(super) fn release(&mut self, key: ExchangeKey, after: &mut Afterwards) {
        let now = self.now();
        if let Some(delayed) = self.delayed.get_mut(&key) {
            delayed.alarm = None;
        }
        while let Some(delayed) = self.delayed.get_mut(&key)
            && let Some(first) = delayed.waiting.first_entry()
            && first.key().0 <= now
        {
            let ((_, number), message) = first.remove_entry();
            if self.route_held(key, &message, after).is_err() {
                if let Some(delayed) = self.delayed.get_mut(&key) {
                    delayed.waiting.insert((now.after(AGAIN), number), message);
                }
                continue;
            }
            if let Some(delayed) = self.delayed.get_mut(&key) {
                // It is stored where it goes: what the store cannot forget comes again.
                _ = self.store.forget(&mut delayed.stored, &message);
            }
            after.drop_envelope(message.envelope);
        }
        self.set_due(key);
    }

    fn route_held(&mut self, key: ExchangeKey, message: &QueueMessage, after: &mut Afterwards) -> Result<()> {
        let Some(name) = self.exchanges.get(key).map(|exchange| exchange.name.clone()) else { return Ok(()) };
        let found = self.resolve(&name, &message.envelope)?;
        for queue in Route::new(found.queues).queues() {
            let stored = self.store_and_serve(*queue, Arc::clone(&message.envelope), Outcome::NotSent, after);
            match stored {
                Ok(turn) => after.turn(turn),
                // The publisher was told long ago; a full queue refuses it.
                Err(error) if error.kind() == kombu_core::ErrorKind::Nacked => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn stored_name(exchange: &str) -> String {
    format!("amq.delayed.{exchange}")
}
