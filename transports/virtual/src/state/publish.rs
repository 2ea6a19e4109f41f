//! Routes and stores messages.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, Envelope, Outcome, Result, Returned, ShortStr};

use super::State;
use crate::afterwards::{Afterwards, Notice};
use crate::channel_record::ChannelKey;
use crate::message::QueueMessage;
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
        let count = place.map_or(0, |place| self.routes.at(place).len());
        match place {
            Some(place) if count > 0 => {
                self.store_in_all(place, count, envelope)?;
                for index in 0..count {
                    // Serving may end channels and with them queues; the place keeps its route all the same.
                    let Some(queue) = self.routes.at(place).get(index).copied() else { break };
                    self.dispatch(queue, after);
                }
                // More queues than 32 bits count do not fit into memory.
                Ok(Confirmation::Confirmed { queues: Some(count as u32) })
            }
            _ if method.mandatory => {
                let (code, text) = NO_ROUTE;
                let returned = Returned { code, text, envelope };
                if let Some(events) = self.events(channel) {
                    after.notice(Notice::Returned(events, returned.clone()));
                }
                Ok(Confirmation::Returned(Box::new(returned)))
            }
            _ => {
                after.discard(envelope);
                Ok(Confirmation::Confirmed { queues: Some(0) })
            }
        }
    }

    #[inline]
    fn store_in_all(&mut self, place: usize, count: usize, envelope: Arc<Envelope>) -> Result<()> {
        let State { routes, queues, store, .. } = self;
        let route = routes.at(place);
        let last = route[count - 1];
        for (index, key) in route[..count - 1].iter().enumerate() {
            if let Some(queue) = queues.get_mut(*key) {
                let stored = store.push(&mut queue.stored, QueueMessage::new(Arc::clone(&envelope)));
                stored.map_err(|error| error.with("queue", &queue.name).with_outcome(outcome(index)))?;
            }
        }
        if let Some(queue) = queues.get_mut(last) {
            let stored = store.push(&mut queue.stored, QueueMessage::new(envelope));
            stored.map_err(|error| error.with("queue", &queue.name).with_outcome(outcome(count - 1)))?;
        }
        Ok(())
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

/// What is known of a message that `stored` queues got before one failed.
fn outcome(stored: usize) -> Outcome {
    if stored == 0 { Outcome::NotSent } else { Outcome::Unknown }
}
