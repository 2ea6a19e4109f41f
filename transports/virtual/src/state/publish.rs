//! Routes and stores messages.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, Envelope, Outcome, Result, Returned, ShortStr};

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
        let route = place.map_or(&[][..], |place| self.routes.at(place));
        match *route {
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
    fn store_and_serve(
        &mut self,
        key: QueueKey,
        envelope: Arc<Envelope>,
        if_failed: Outcome,
        after: &mut Afterwards,
    ) -> Result<Option<Turn>> {
        let State { store, queues, consumers, channels, .. } = self;
        // A route is void as soon as one of its queues is removed.
        let Some(queue) = queues.get_mut(key) else { return Ok(None) };
        let next = next_consumer(&mut queue.round, consumers, channels);
        let is_waited_for = next.is_some();
        if let Some(next) = next
            && let Some(position) = store.pass(&mut queue.stored)
        {
            return Ok(hand_out(QueueMessage { position, ..QueueMessage::new(envelope) }, key, next, &mut queue.round));
        }
        if let Err(error) = store.push(&mut queue.stored, QueueMessage::new(envelope)) {
            return Err(error.with("queue", &queue.name).with_outcome(if_failed));
        }
        if is_waited_for {
            self.dispatch(key, after);
        }
        Ok(None)
    }

    fn store_in_all(
        &mut self,
        place: Option<usize>,
        envelope: Arc<Envelope>,
        after: &mut Afterwards,
    ) -> Result<Confirmation> {
        let mut queues: u32 = 0;
        // By number, for serving may end channels, and with them queues; the place keeps its route all the same.
        while let Some(queue) = place.and_then(|place| self.routes.at(place).get(queues as usize).copied()) {
            let if_failed = if queues == 0 { Outcome::NotSent } else { Outcome::Unknown };
            let turn = self.store_and_serve(queue, Arc::clone(&envelope), if_failed, after)?;
            after.turn(turn);
            queues += 1;
        }
        after.drop_envelope(envelope);
        Ok(Confirmation::Confirmed { queues: Some(queues) })
    }

    fn unroutable(method: BasicPublish, envelope: Arc<Envelope>, after: &mut Afterwards) -> Confirmation {
        if !method.mandatory {
            after.drop_envelope(envelope);
            return Confirmation::Confirmed { queues: Some(0) };
        }
        let (code, text) = NO_ROUTE;
        Confirmation::Returned(Box::new(Returned { code, text, envelope }))
    }

    /// Finds where a message goes: a place in the route cache, or `None` for the name of a queue that does not exist.
    #[inline]
    fn route(&mut self, envelope: &Envelope) -> Result<Option<usize>> {
        if envelope.properties.expiration().is_some() {
            return Err(refusal::unsupported("message_ttl", "expiration"));
        }
        let (place, found) = self.routes.find(&envelope.exchange, &envelope.routing_key);
        if found { Ok(Some(place)) } else { self.find_route(place, envelope) }
    }

    #[cold]
    fn find_route(&mut self, place: usize, envelope: &Envelope) -> Result<Option<usize>> {
        let mut queues = Vec::new();
        if envelope.exchange.is_empty() {
            // Not remembered when it leads nowhere: the store may come to have the queue without being told.
            let Some(queue) = self.find_queue(&envelope.routing_key)? else { return Ok(None) };
            queues.push(queue);
        } else {
            let key = self.exchange_names.get(&envelope.exchange).copied();
            let Some(exchange) = key.and_then(|key| self.exchanges.get_mut(key)) else {
                return Err(refusal::not_found("exchange", &envelope.exchange));
            };
            if exchange.definition.internal {
                return Err(refusal::refused("exchange", &envelope.exchange, "the exchange is internal"));
            }
            exchange.route(&envelope.routing_key, &mut queues);
        }
        self.routes.put(place, envelope.exchange.clone(), envelope.routing_key.clone(), Route::new(queues));
        Ok(Some(place))
    }
}
