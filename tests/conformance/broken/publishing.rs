//! How a broken channel publishes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kombu_core::hub::HubHandle;
use kombu_core::method::{BasicPublish, QueueDeclare};
use kombu_core::{Confirm, Confirmation, Envelope, Error, ErrorKind, Outcome, Returned, Scope, ShortStr, reply};

use crate::channel::BrokenChannel;
use crate::envelope;
use crate::fault::Fault;
use crate::inside::now;
use crate::world::{BODY_LIMIT, lock};

impl BrokenChannel {
    pub(crate) fn publish(&self, mut method: BasicPublish, original: Arc<Envelope>) -> Confirm {
        let number = {
            let mut world = lock(&self.link.world);
            world.publishes += 1;
            if original.exchange.is_empty() {
                world.published_to.insert(original.routing_key.clone());
            }
            world.publishes
        };
        if let Some(answer) = self.link.machine.as_ref().and_then(|machine| machine.answer(self, &original)) {
            return answer;
        }
        let mut sent = envelope::published(self.link.fault, (*original).clone());
        if sent.exchange.is_empty() {
            sent.routing_key = self.name(sent.routing_key);
        } else {
            sent.exchange = self.name(sent.exchange);
        }
        let pair_is_double = || {
            let world = lock(&self.link.world);
            world.bindings.iter().any(|((_, exchange), keys)| *exchange == sent.exchange && keys.len() > 1)
        };
        match self.link.fault {
            Fault::MandatoryIgnored => method.mandatory = false,
            Fault::BodyLimitOffByOne if sent.body.len() as u64 >= BODY_LIMIT => {
                return Confirm::ready(Err(Error::new(ErrorKind::PreconditionFailed, "the body is too long")));
            }
            Fault::PublishCreatesQueue if sent.exchange.is_empty() => {
                let make = QueueDeclare { queue: sent.routing_key.clone(), ..QueueDeclare::default() };
                drop(self.aside().map(|aside| now(aside.queue_declare(make))));
            }
            Fault::MissingExchangeIsSilent if !sent.exchange.is_empty() && !self.exchange_exists(&sent.exchange) => {
                return Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(0) }));
            }
            Fault::MissingExchangeIsInternal if !sent.exchange.is_empty() && !self.exchange_exists(&sent.exchange) => {
                let error = Error::new(ErrorKind::Internal, "something went wrong").in_scope(Scope::Channel);
                return Confirm::ready(Err(error.with_outcome(Outcome::NotSent)));
            }
            Fault::DoubleBindingNoCopy if !sent.exchange.is_empty() && pair_is_double() => {
                return Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(0) }));
            }
            Fault::ConfirmsTooSoon if number.is_multiple_of(10) => {
                let (memory, late) = (Arc::clone(self.memory()), Arc::new(sent));
                if let Some(hub) = lock(&self.link.hub).clone() {
                    after_turns(20, hub, move || drop(memory.basic_publish(BasicPublish::default(), late)));
                }
                return Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(1) }));
            }
            Fault::FanoutNotStored => {
                let world = lock(&self.link.world);
                if world.fanouts.contains(&sent.exchange) && world.consumed.is_empty() {
                    return Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(0) }));
                }
            }
            Fault::OneCopyPerBinding if !sent.exchange.is_empty() && pair_is_double() => {
                drop(self.publish_now(method, Arc::new(sent.clone())));
            }
            Fault::DoublesFiftieth if number.is_multiple_of(50) => {
                drop(self.publish_now(method, Arc::new(sent.clone())));
            }
            Fault::ConfirmsAndDrops if number.is_multiple_of(10) => {
                return Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(1) }));
            }
            Fault::NeverConfirmsFiftieth if number.is_multiple_of(50) => {
                drop(self.publish_now(method, Arc::new(sent)));
                let (sender, reply) = reply::channel();
                std::mem::forget(sender);
                return Confirm::reply(reply);
            }
            Fault::RefusedArrivesLate if !self.inside.is_closed.load(Ordering::Relaxed) => {
                if !sent.exchange.is_empty() && !self.exchange_exists(&sent.exchange) {
                    lock(&self.link.world).refused.push(Arc::new(sent.clone()));
                }
                let late = std::mem::take(&mut lock(&self.link.world).refused);
                let (now, later) = late.into_iter().partition(|late| self.exchange_exists(&late.exchange));
                lock(&self.link.world).refused = later;
                let now: Vec<Arc<Envelope>> = now;
                now.into_iter().for_each(|late| drop(self.publish_now(BasicPublish::default(), late)));
            }
            Fault::ErrorDropsEarlierPublishes => {
                let mut world = lock(&self.link.world);
                if sent.exchange.is_empty() {
                    world.refused = vec![Arc::new(sent.clone())];
                } else if let Some(last) = world.refused.pop() {
                    drop(world);
                    if !self.exchange_exists(&sent.exchange) {
                        drop(self.aside().map(|aside| now(aside.queue_purge(last.routing_key.clone()))));
                    }
                }
            }
            Fault::CloseDropsUnflushed => {
                let (sender, reply) = reply::channel();
                lock(&self.unflushed).push((method, Arc::new(sent), sender));
                let hub = lock(&self.link.hub).clone();
                return match hub {
                    Some(hub) => {
                        let memory = Arc::clone(self.memory());
                        let waiting = std::mem::take(&mut *lock(&self.unflushed));
                        let is_closed = Arc::clone(&self.inside);
                        hub.call_soon(move |_| {
                            for (method, envelope, sender) in waiting {
                                if is_closed.is_closed.load(Ordering::Relaxed) {
                                    continue;
                                }
                                if let Some(result) = memory.basic_publish(method, envelope).take_now() {
                                    sender.send(result);
                                }
                            }
                        });
                        Confirm::reply(reply)
                    }
                    None => {
                        self.flush();
                        Confirm::reply(reply)
                    }
                };
            }
            _ => {}
        }
        let is_mandatory = method.mandatory;
        let mut confirm = self.publish_now(method, Arc::new(sent));
        let Some(result) = confirm.take_now() else { return confirm };
        Confirm::ready(match result {
            Ok(Confirmation::Confirmed { queues: Some(0) }) if self.is(Fault::UnroutableFails) && !is_mandatory => {
                Err(Error::new(ErrorKind::Nacked, "no queue took it"))
            }
            Ok(Confirmation::Confirmed { queues: Some(0) })
                if self.is(Fault::UnroutableIsReturned) && !original.exchange.is_empty() =>
            {
                let (code, text) = (312, ShortStr::from("NO_ROUTE"));
                Ok(Confirmation::Returned(Box::new(Returned { code, text, envelope: Arc::clone(&original) })))
            }
            Ok(answer) if self.is(Fault::ReturnsMixedUp) && is_mandatory => {
                Ok(lock(&self.mixed_up).replace(answer.clone()).unwrap_or(answer))
            }
            other => other,
        })
    }

    fn publish_now(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        let mut confirm = self.memory().basic_publish(method, envelope);
        match confirm.take_now() {
            Some(result) => Confirm::ready(self.failed(result)),
            None => confirm,
        }
    }

    fn flush(&self) {
        for (method, envelope, sender) in std::mem::take(&mut *lock(&self.unflushed)) {
            if let Some(result) = self.publish_now(method, envelope).take_now() {
                sender.send(result);
            }
        }
    }
}

/// Acts so many turns of the hub later.
fn after_turns(turns: u32, hub: HubHandle, act: impl FnOnce() + Send + 'static) {
    let next = hub.clone();
    hub.call_soon(move |_| {
        if turns == 0 {
            act();
        } else {
            after_turns(turns - 1, next, act);
        }
    });
}
