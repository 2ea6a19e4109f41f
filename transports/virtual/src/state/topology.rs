//! Declares, binds, purges and deletes queues.

use kombu_core::method::{QueueBind, QueueDeclare, QueueDeclared, QueueDelete};
use kombu_core::{Result, ShortStr};

use super::State;
use super::exchanges::{check_not_default, check_not_reserved};
use crate::afterwards::Afterwards;
use crate::alarm::Alarm;
use crate::channel_record::ChannelKey;
use crate::definition::{BindingDefinition, QueueDefinition};
use crate::exchange::Destination;
use crate::policy::Policy;
use crate::queue::{Queue, QueueKey};
use crate::refusal;
use crate::store::QueueStore;

impl<S: QueueStore> State<S> {
    pub(crate) fn queue_declare(
        &mut self,
        channel: ChannelKey,
        method: QueueDeclare,
        after: &mut Afterwards,
    ) -> Result<QueueDeclared> {
        let name = method.queue.clone().checked("queue")?;
        if name.is_empty() {
            if method.passive {
                return Err(refusal::not_found("queue", &name));
            }
            let name = ShortStr::from(format!("amq.gen-{}", uuid::Uuid::new_v4().simple()));
            return self.make_queue(channel, name, method, after);
        }
        let known = self.find_queue(&name)?;
        if let Some(key) = known {
            self.check_owner(channel, key)?;
            if !method.passive {
                self.redeclare(channel, key, QueueDefinition::from(method))?;
            }
            self.use_queue(key);
            self.look_at_head(key, after);
            return self.declared(key);
        }
        if method.passive {
            return Err(refusal::not_found("queue", &name));
        }
        check_not_reserved("queue", &name)?;
        self.make_queue(channel, name, method, after)
    }

    fn make_queue(
        &mut self,
        channel: ChannelKey,
        name: ShortStr,
        method: QueueDeclare,
        after: &mut Afterwards,
    ) -> Result<QueueDeclared> {
        let owner = self.channel(channel)?.connection;
        let definition = QueueDefinition::from(method);
        let policy = Policy::of(&name, &definition)?;
        let stored = self.store.create(&name, &definition)?;
        let owner = definition.exclusive.then_some(owner);
        let mut queue = Queue::new(name, None, owner, stored);
        queue.adopt(&mut self.store, policy, &definition)?;
        queue.definition = Some(definition);
        let key = self.add_queue(queue);
        self.use_queue(key);
        // The store may have had messages under that name.
        self.look_at_head(key, after);
        self.declared(key)
    }

    fn redeclare(&mut self, channel: ChannelKey, key: QueueKey, definition: QueueDefinition) -> Result<()> {
        let connection = self.channel(channel)?.connection;
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return Ok(()) };
        match &queue.definition {
            Some(known) => match known.difference(&definition) {
                Some(property) => return Err(refusal::differs("queue", &queue.name, property)),
                None => return Ok(()),
            },
            // Found in the store, and declared for the first time.
            None => {
                let policy = Policy::of(&queue.name, &definition)?;
                queue.adopt(store, policy, &definition)?;
                queue.owner = definition.exclusive.then_some(connection);
                queue.definition = Some(definition);
            }
        }
        Ok(())
    }

    fn declared(&mut self, key: QueueKey) -> Result<QueueDeclared> {
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return Ok(QueueDeclared::default()) };
        Ok(QueueDeclared {
            queue: queue.name.clone(),
            message_count: count(queue.len(store)?),
            consumer_count: count(queue.consumers.len()),
        })
    }

    pub(crate) fn queue_bind(&mut self, channel: ChannelKey, method: QueueBind) -> Result<()> {
        check_not_default(&method.exchange)?;
        let queue = self.usable_queue(channel, &method.queue)?;
        let exchange = self.find_exchange(&method.exchange)?;
        self.bind(exchange, Destination::Queue(queue), BindingDefinition::from(method))
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
        self.unbind(Destination::Queue(queue), BindingDefinition::from(method), after)
    }

    pub(crate) fn queue_purge(&mut self, channel: ChannelKey, name: &ShortStr, after: &mut Afterwards) -> Result<u32> {
        let key = self.usable_queue(channel, name)?;
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return Ok(0) };
        Ok(count(queue.purge(store, &mut after.lists().messages)?))
    }

    pub(crate) fn queue_delete(
        &mut self,
        channel: ChannelKey,
        method: &QueueDelete,
        after: &mut Afterwards,
    ) -> Result<u32> {
        let Some(key) = self.find_queue(&method.queue)? else { return Ok(0) };
        self.check_owner(channel, key)?;
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return Ok(0) };
        let messages = queue.len(store)?;
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
        self.alarms.replace(&mut queue.expiry_alarm, None, Alarm::Expiry(key));
        self.alarms.replace(&mut queue.unused_alarm, None, Alarm::Unused(key));
        let mut told = Ok(());
        for (exchange, routing_key) in queue.bound.drain() {
            let binding = (Destination::Queue(key), &queue.name, &routing_key);
            told = told.and(self.forget_bindings(exchange, binding, after));
        }
        for consumer in queue.consumers.drain(..) {
            self.end_consumer_of_deleted(consumer, &queue.name, after);
        }
        told = told.and(queue.remove(&mut self.store));
        after.discard(queue);
        told
    }
}

/// AMQP counts in 32 bits.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
