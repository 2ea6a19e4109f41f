//! Routes and stores messages.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, Envelope, ErrorKind, Outcome, Result, Returned, ShortStr};

use super::State;
use super::dispatch::{hand_out, next_consumer};
use crate::afterwards::Afterwards;
use crate::message::QueueMessage;
use crate::queue::QueueKey;
use crate::refusal;
use crate::route::Route;
use crate::store::QueueStore;
use crate::turn::Turn;

/// AMQP's reply code and text for a message that matches no queue.
const NO_ROUTE: (u16, ShortStr) = (312, ShortStr::from_static("NO_ROUTE"));

impl<S: QueueStore> State<S> {
    /// Stores a message in every queue its address leads to, and serves their consumers. `turn`, which is empty, gets the
    /// delivery of a message that goes to one queue, to be run when the mutex is released.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        method: BasicPublish,
        envelope: Arc<Envelope>,
        turn: &mut Option<Turn>,
        after: &mut Afterwards,
    ) -> Result<Confirmation> {
        let place = match self.route(&envelope) {
            Ok(place) => place,
            Err(error) => {
                after.drop_envelope(envelope);
                return Err(error.with_outcome(Outcome::NotSent));
            }
        };
        if !self.delays.is_empty() {
            return self.publish_delayed(place, envelope, after);
        }
        match *self.routes.at(place) {
            [queue] => {
                *turn = self.store_and_serve(queue, envelope, Outcome::NotSent, after)?;
                Ok(Confirmation::Confirmed { queues: Some(1) })
            }
            [] => Ok(Self::unroutable(method, envelope, after)),
            [..] => self.store_in_all(place, envelope, after),
        }
    }

    /// Puts a message into a queue and serves its consumers.
    #[inline]
    pub(super) fn store_and_serve(
        &mut self,
        key: QueueKey,
        envelope: Arc<Envelope>,
        if_failed: Outcome,
        after: &mut Afterwards,
    ) -> Result<Option<Turn>> {
        let State { store, queues, consumers, channels, .. } = self;
        // A route is void as soon as one of its queues is removed.
        let Some(queue) = queues.get_mut(key) else { return Ok(None) };
        if !queue.is_plain || envelope.properties.expiration().is_some() {
            return self.enqueue(key, envelope, if_failed, after);
        }
        let next = next_consumer(&mut queue.round, consumers, channels);
        let is_waited_for = next.is_some();
        if let Some(next) = next
            && let Some(position) = store.pass(&mut queue.stored)
        {
            let mut message = QueueMessage::new(envelope);
            message.position = position;
            return Ok(hand_out(message, key, next, &mut queue.round, false));
        }
        if let Err(error) = store.push(&mut queue.stored, QueueMessage::new(envelope)) {
            return Err(error.with("queue", &queue.name).with_outcome(if_failed));
        }
        if is_waited_for {
            self.dispatch(key, after);
        }
        Ok(None)
    }

    /// Stores a message in every queue of a route. One that refuses it does not keep it from the others, but from being confirmed.
    fn store_in_all(&mut self, place: usize, envelope: Arc<Envelope>, after: &mut Afterwards) -> Result<Confirmation> {
        let mut queues: u32 = 0;
        let mut refused = None;
        // By number, for serving may end channels, and with them queues; the place keeps its route all the same.
        while let Some(queue) = self.routes.at(place).get(queues as usize).copied() {
            let if_failed = if queues == 0 { Outcome::NotSent } else { Outcome::Unknown };
            match self.store_and_serve(queue, Arc::clone(&envelope), if_failed, after) {
                Ok(turn) => after.turn(turn),
                Err(error) if error.kind() == ErrorKind::Nacked => drop(refused.get_or_insert(error)),
                Err(error) => {
                    after.drop_envelope(envelope);
                    return Err(error);
                }
            }
            queues += 1;
        }
        after.drop_envelope(envelope);
        refused.map_or(Ok(Confirmation::Confirmed { queues: Some(queues) }), Err)
    }

    fn unroutable(method: BasicPublish, envelope: Arc<Envelope>, after: &mut Afterwards) -> Confirmation {
        if !method.mandatory {
            after.drop_envelope(envelope);
            return Confirmation::Confirmed { queues: Some(0) };
        }
        let (code, text) = NO_ROUTE;
        Confirmation::Returned(Box::new(Returned { code, text, envelope }))
    }

    /// Finds where a message goes: a place in the route cache.
    #[inline]
    fn route(&mut self, envelope: &Envelope) -> Result<usize> {
        let (place, found) = self.routes.find(&envelope.exchange, &envelope.routing_key);
        if found { Ok(place) } else { self.find_route(place, envelope) }
    }

    #[cold]
    fn find_route(&mut self, place: usize, envelope: &Envelope) -> Result<usize> {
        let key = self.exchange_names.get(&envelope.exchange);
        if key.and_then(|key| self.exchanges.get(*key)).is_some_and(|exchange| exchange.definition.internal) {
            return Err(refusal::refused("exchange", &envelope.exchange, "the exchange is internal"));
        }
        let found = self.resolve(&envelope.exchange, envelope)?;
        self.delays = found.delays;
        let route = Route::new(found.queues);
        if found.is_for_once {
            return Ok(self.routes.put_once(route));
        }
        self.routes.put(place, envelope.exchange.clone(), envelope.routing_key.clone(), route);
        Ok(place)
    }

    /// Leaves a message with the delayed exchanges that hold it back, and stores it where else it goes.
    #[cold]
    fn publish_delayed(
        &mut self,
        place: usize,
        envelope: Arc<Envelope>,
        after: &mut Afterwards,
    ) -> Result<Confirmation> {
        for exchange in std::mem::take(&mut self.delays) {
            if let Err(error) = self.hold_back(exchange, &envelope) {
                after.drop_envelope(envelope);
                return Err(error.with_outcome(Outcome::Unknown));
            }
        }
        self.store_in_all(place, envelope, after)?;
        // Where it will go is found when its time has come.
        Ok(Confirmation::Confirmed { queues: None })
    }
}
