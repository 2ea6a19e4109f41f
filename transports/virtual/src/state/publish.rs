//! Routes and stores messages.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, Envelope, Outcome, Result, Returned, ShortStr};

use super::State;
use super::dispatch::serve;
use crate::afterwards::{Afterwards, Notice};
use crate::channel_record::ChannelKey;
use crate::message::QueueMessage;
use crate::queue::QueueKey;
use crate::refusal;
use crate::route::Route;
use crate::store::QueueStore;

/// AMQP's reply code and text for a message that matches no queue.
const NO_ROUTE: (u16, ShortStr) = (312, ShortStr::from_static("NO_ROUTE"));

impl<S: QueueStore> State<S> {
    /// Stores a message in every queue its address leads to, and serves their consumers.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        channel: ChannelKey,
        method: BasicPublish,
        envelope: Arc<Envelope>,
        after: &mut Afterwards,
    ) -> Result<Confirmation> {
        let place = match self.route(&envelope) {
            Ok(place) => place,
            Err(error) => {
                after.discard(envelope);
                return Err(error.with_outcome(Outcome::NotSent));
            }
        };
        let route = place.map_or(&[][..], |place| self.routes.at(place));
        match *route {
            [] => self.unroutable(channel, method, envelope, after),
            [queue] => {
                self.store_and_serve(queue, envelope, Outcome::NotSent, after)?;
                Ok(Confirmation::Confirmed { queues: Some(1) })
            }
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
    ) -> Result<()> {
        let State { store, queues, consumers, channels, .. } = self;
        // A route is void as soon as one of its queues is removed.
        let Some(queue) = queues.get_mut(key) else { return Ok(()) };
        if let Err(error) = store.push(&mut queue.stored, QueueMessage::new(envelope)) {
            return Err(error.with("queue", &queue.name).with_outcome(if_failed));
        }
        if let Err((channel, error)) = serve(store, key, queue, consumers, channels, after) {
            self.cannot_serve(channel, error, after);
        }
        Ok(())
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
            self.store_and_serve(queue, Arc::clone(&envelope), if_failed, after)?;
            queues += 1;
        }
        after.drop_message(QueueMessage::new(envelope));
        Ok(Confirmation::Confirmed { queues: Some(queues) })
    }

    fn unroutable(
        &mut self,
        channel: ChannelKey,
        method: BasicPublish,
        envelope: Arc<Envelope>,
        after: &mut Afterwards,
    ) -> Result<Confirmation> {
        if !method.mandatory {
            after.drop_message(QueueMessage::new(envelope));
            return Ok(Confirmation::Confirmed { queues: Some(0) });
        }
        let (code, text) = NO_ROUTE;
        let returned = Returned { code, text, envelope };
        if let Some(events) = self.events(channel) {
            after.notice(Notice::Returned(events, returned.clone()));
        }
        Ok(Confirmation::Returned(Box::new(returned)))
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
