//! Declares, binds, purges and deletes.

use kombu_core::method::{ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDeclared, QueueDelete};
use kombu_core::{Error, FieldTable, Result, ShortStr};

use super::State;
use crate::afterwards::Afterwards;
use crate::arguments;
use crate::channel_record::ChannelKey;
use crate::definition::{BindingDefinition, ExchangeDefinition, QueueDefinition};
use crate::exchange::{Exchange, ExchangeKey};
use crate::queue::{Queue, QueueKey};
use crate::refusal;
use crate::store::QueueStore;

impl<S: QueueStore> State<S> {
    pub(crate) fn exchange_declare(&mut self, method: ExchangeDeclare) -> Result<()> {
        let name = method.exchange.clone().checked("exchange")?;
        check_not_default(&name)?;
        let known = self.exchange_names.get(&name).and_then(|key| self.exchanges.get(*key));
        if method.passive {
            return known.map(|_| ()).ok_or_else(|| refusal::not_found("exchange", &name));
        }
        arguments::check_exchange(&method.kind, &method.arguments)?;
        let definition = ExchangeDefinition::from(method);
        if let Some(known) = known {
            return match known.definition.difference(&definition) {
                Some(property) => Err(refusal::differs("exchange", &name, property)),
                None => Ok(()),
            };
        }
        check_not_reserved("exchange", &name)?;
        let kind = definition.kind.clone();
        let Some(exchange) = Exchange::new(name.clone(), definition) else {
            return Err(refusal::unsupported("exchange kinds", kind.as_str()));
        };
        let stored = self.store.bindings(&name)?;
        let key = self.exchanges.insert(exchange);
        self.exchange_names.insert(name, key);
        self.routes.clear();
        for binding in stored {
            if let Some(queue) = self.find_queue(&binding.queue)? {
                self.add_binding(key, queue, binding.routing_key, binding.arguments);
            }
        }
        Ok(())
    }

    pub(crate) fn exchange_delete(&mut self, method: &ExchangeDelete, after: &mut Afterwards) -> Result<()> {
        check_not_default(&method.exchange)?;
        if method.exchange.starts_with("amq.") {
            return Err(refusal::refused("exchange", &method.exchange, "exchanges of the broker cannot be deleted"));
        }
        let Some(key) = self.exchange_names.get(&method.exchange).copied() else { return Ok(()) };
        let in_use = self.exchanges.get(key).is_some_and(|exchange| !exchange.is_unused());
        if method.if_unused && in_use {
            return Err(refusal::precondition("exchange", &method.exchange, "the exchange has bindings"));
        }
        self.remove_exchange(key, after);
        Ok(())
    }

    fn remove_exchange(&mut self, key: ExchangeKey, after: &mut Afterwards) {
        let Some(exchange) = self.exchanges.remove(key) else { return };
        self.exchange_names.remove(&exchange.name);
        self.routes.clear();
        for (queue, routing_key) in exchange.bindings() {
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.bound.remove(&(key, routing_key.clone()));
            }
        }
        after.discard(exchange);
    }

    pub(crate) fn queue_declare(&mut self, channel: ChannelKey, method: QueueDeclare) -> Result<QueueDeclared> {
        let name = method.queue.clone().checked("queue")?;
        if name.is_empty() {
            if method.passive {
                return Err(refusal::not_found("queue", &name));
            }
            let name = ShortStr::from(format!("amq.gen-{}", uuid::Uuid::new_v4().simple()));
            return self.make_queue(channel, name, method);
        }
        let known = self.find_queue(&name)?;
        if let Some(key) = known {
            self.check_owner(channel, key)?;
            if !method.passive {
                arguments::check_queue(&method.arguments)?;
                self.redeclare(channel, key, QueueDefinition::from(method))?;
            }
            return self.declared(key);
        }
        if method.passive {
            return Err(refusal::not_found("queue", &name));
        }
        check_not_reserved("queue", &name)?;
        self.make_queue(channel, name, method)
    }

    fn make_queue(&mut self, channel: ChannelKey, name: ShortStr, method: QueueDeclare) -> Result<QueueDeclared> {
        arguments::check_queue(&method.arguments)?;
        let owner = self.channel(channel)?.connection;
        let definition = QueueDefinition::from(method);
        let stored = self.store.create(&name, &definition)?;
        let owner = definition.exclusive.then_some(owner);
        let key = self.add_queue(Queue::new(name, Some(definition), owner, stored));
        self.declared(key)
    }

    fn redeclare(&mut self, channel: ChannelKey, key: QueueKey, definition: QueueDefinition) -> Result<()> {
        let connection = self.channel(channel)?.connection;
        let Some(queue) = self.queues.get_mut(key) else { return Ok(()) };
        match &queue.definition {
            Some(known) => match known.difference(&definition) {
                Some(property) => return Err(refusal::differs("queue", &queue.name, property)),
                None => return Ok(()),
            },
            // Found in the store, and declared for the first time.
            None => {
                queue.owner = definition.exclusive.then_some(connection);
                queue.definition = Some(definition);
            }
        }
        Ok(())
    }

    fn declared(&mut self, key: QueueKey) -> Result<QueueDeclared> {
        let Some(queue) = self.queues.get_mut(key) else { return Ok(QueueDeclared::default()) };
        Ok(QueueDeclared {
            queue: queue.name.clone(),
            message_count: count(self.store.len(&mut queue.stored)?),
            consumer_count: count(queue.consumers.len()),
        })
    }

    pub(crate) fn queue_bind(&mut self, channel: ChannelKey, method: QueueBind) -> Result<()> {
        check_not_default(&method.exchange)?;
        let queue = self.usable_queue(channel, &method.queue)?;
        let exchange = self.find_exchange(&method.exchange)?;
        method.routing_key.clone().checked("routing key")?;
        if self.exchanges.get(exchange).is_some_and(|known| known.has(queue, &method.routing_key, &method.arguments)) {
            return Ok(());
        }
        let binding = BindingDefinition::from(method);
        self.store.bind(&binding)?;
        self.add_binding(exchange, queue, binding.routing_key, binding.arguments);
        Ok(())
    }

    fn add_binding(&mut self, exchange: ExchangeKey, queue: QueueKey, routing_key: ShortStr, arguments: FieldTable) {
        if let (Some(exchange_record), Some(queue_record)) =
            (self.exchanges.get_mut(exchange), self.queues.get_mut(queue))
        {
            exchange_record.bind(queue, routing_key.clone(), arguments);
            queue_record.bound.insert((exchange, routing_key));
            self.routes.clear();
        }
    }

    pub(crate) fn queue_unbind(
        &mut self,
        channel: ChannelKey,
        method: QueueBind,
        after: &mut Afterwards,
    ) -> Result<()> {
        check_not_default(&method.exchange)?;
        let Some(queue) = self.find_queue(&method.queue)? else { return Ok(()) };
        self.check_owner(channel, queue)?;
        let Some(key) = self.exchange_names.get(&method.exchange).copied() else { return Ok(()) };
        let Some(exchange) = self.exchanges.get_mut(key) else { return Ok(()) };
        if !exchange.has(queue, &method.routing_key, &method.arguments) {
            return Ok(());
        }
        let other_remains = exchange.unbind(queue, &method.routing_key, &method.arguments);
        if !other_remains && let Some(queue) = self.queues.get_mut(queue) {
            queue.bound.remove(&(key, method.routing_key.clone()));
        }
        self.routes.clear();
        let told = self.store.unbind(&BindingDefinition::from(method));
        self.remove_exchange_if_done(key, after);
        told
    }

    /// Removes an auto-delete exchange whose last binding is gone.
    fn remove_exchange_if_done(&mut self, key: ExchangeKey, after: &mut Afterwards) {
        if self.exchanges.get(key).is_some_and(|exchange| exchange.definition.auto_delete && exchange.is_unused()) {
            self.remove_exchange(key, after);
        }
    }

    pub(crate) fn queue_purge(&mut self, channel: ChannelKey, name: &ShortStr, after: &mut Afterwards) -> Result<u32> {
        let key = self.usable_queue(channel, name)?;
        let Some(queue) = self.queues.get_mut(key) else { return Ok(0) };
        Ok(count(self.store.purge(&mut queue.stored, &mut after.lists().messages)?))
    }

    pub(crate) fn queue_delete(
        &mut self,
        channel: ChannelKey,
        method: &QueueDelete,
        after: &mut Afterwards,
    ) -> Result<u32> {
        let Some(key) = self.find_queue(&method.queue)? else { return Ok(0) };
        self.check_owner(channel, key)?;
        let Some(queue) = self.queues.get_mut(key) else { return Ok(0) };
        let messages = self.store.len(&mut queue.stored)?;
        if method.if_unused && !queue.consumers.is_empty() {
            return Err(refusal::precondition("queue", &method.queue, "the queue has consumers"));
        }
        if method.if_empty && messages > 0 {
            return Err(refusal::precondition("queue", &method.queue, "the queue has messages"));
        }
        self.remove_queue(key, after)?;
        Ok(count(messages))
    }

    /// Removes a queue with its messages and bindings, and ends its consumers.
    pub(super) fn remove_queue(&mut self, key: QueueKey, after: &mut Afterwards) -> Result<()> {
        let Some(mut queue) = self.queues.remove(key) else { return Ok(()) };
        self.queue_names.remove(&queue.name);
        self.routes.clear();
        let mut told = Ok(());
        for (exchange_key, routing_key) in queue.bound.drain() {
            let Some(exchange) = self.exchanges.get_mut(exchange_key) else { continue };
            for arguments in exchange.forget(key, &routing_key) {
                let binding = BindingDefinition {
                    arguments,
                    ..BindingDefinition::new(exchange.name.clone(), queue.name.clone(), routing_key.clone())
                };
                told = told.and(self.store.unbind(&binding));
            }
            self.remove_exchange_if_done(exchange_key, after);
        }
        for consumer in queue.consumers.drain(..) {
            self.end_consumer_of_deleted(consumer, &queue.name, after);
        }
        told = told.and(self.store.remove(&queue.name, &mut queue.stored));
        after.discard(queue);
        told
    }

    fn find_exchange(&self, name: &ShortStr) -> Result<ExchangeKey> {
        self.exchange_names.get(name).copied().ok_or_else(|| refusal::not_found("exchange", name))
    }
}

fn check_not_default(exchange: &str) -> Result<(), Error> {
    if exchange.is_empty() {
        return Err(refusal::refused(
            "exchange",
            exchange,
            "the default exchange cannot be declared, bound or deleted",
        ));
    }
    Ok(())
}

fn check_not_reserved(what: &'static str, name: &str) -> Result<(), Error> {
    if name.starts_with("amq.") {
        return Err(refusal::refused(what, name, "names that start with `amq.` are the broker's"));
    }
    Ok(())
}

/// AMQP counts in 32 bits.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
