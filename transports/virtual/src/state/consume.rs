//! Starts and ends consumers, and fetches single messages.

use std::sync::Arc;

use kombu_core::method::{BasicConsume, BasicGet};
use kombu_core::reply::Reply;
use kombu_core::{ConsumerTag, Delivery, DeliverySink, Error, ErrorKind, Qos, Result, ShortStr};

use super::State;
use crate::afterwards::Afterwards;
use crate::arguments;
use crate::channel_record::ChannelKey;
use crate::consumer::{Consumer, ConsumerKey, Readiness};
use crate::refusal;
use crate::store::QueueStore;
use crate::turn::Outlet;
use crate::unacked::Unsettled;

impl<S: QueueStore> State<S> {
    pub(crate) fn qos(&mut self, channel: ChannelKey, qos: Qos, after: &mut Afterwards) -> Result<()> {
        let record = self.channel(channel)?;
        let limit = u32::from(qos.prefetch_count);
        if qos.global {
            record.limit = limit;
            self.serve_line(channel, after);
        } else {
            record.consumer_limit = limit;
        }
        Ok(())
    }

    pub(crate) fn consume(
        &mut self,
        channel: ChannelKey,
        method: BasicConsume,
        sink: Arc<dyn DeliverySink>,
        after: &mut Afterwards,
    ) -> Result<ConsumerTag> {
        let outlet = Outlet::new(sink);
        let added = self.add_consumer(channel, method, &outlet);
        match added {
            Ok((tag, key)) => {
                let queue = self.consumers.get(key).map(|consumer| consumer.queue);
                if let Some(queue) = queue {
                    self.dispatch(queue, after);
                }
                Ok(tag)
            }
            Err(error) => {
                after.discard(outlet);
                Err(error)
            }
        }
    }

    fn add_consumer(
        &mut self,
        channel_key: ChannelKey,
        method: BasicConsume,
        outlet: &Arc<Outlet>,
    ) -> Result<(ConsumerTag, ConsumerKey)> {
        arguments::check_consumer(&method.arguments)?;
        let queue_key = self.usable_queue(channel_key, &method.queue)?;
        let tag = self.free_tag(channel_key, method.consumer_tag)?;
        let Some(queue) = self.queues.get_mut(queue_key) else {
            return Err(refusal::not_found("queue", &method.queue));
        };
        let exclusive = |key: &ConsumerKey| self.consumers.get(*key).is_some_and(|consumer| consumer.exclusive);
        if queue.consumers.iter().any(exclusive) {
            return Err(refusal::refused("queue", &queue.name, "the queue has an exclusive consumer"));
        }
        if method.exclusive && !queue.consumers.is_empty() {
            return Err(refusal::refused("queue", &queue.name, "the queue has consumers, so none can be exclusive"));
        }
        let Some(channel) = self.channels.get_mut(channel_key) else {
            return Err(refusal::gone(ErrorKind::Closed, None));
        };
        let key = self.consumers.insert(Consumer {
            tag: tag.clone(),
            channel: channel_key,
            queue: queue_key,
            outlet: Arc::clone(outlet),
            no_ack: method.no_ack,
            exclusive: method.exclusive,
            limit: channel.consumer_limit,
            unsettled: 0,
            state: Readiness::Ready,
        });
        channel.consumers.insert(tag.clone(), key);
        queue.consumers.push(key);
        queue.round.join(key);
        Ok((tag, key))
    }

    /// Returns the tag asked for if it is free, or a new one.
    fn free_tag(&mut self, channel: ChannelKey, asked: ConsumerTag) -> Result<ConsumerTag> {
        let channel = self.channel(channel)?;
        if asked.is_empty() {
            loop {
                channel.named += 1;
                let tag = ConsumerTag::from(format!("amq.ctag-{}", channel.named));
                if !channel.consumers.contains_key(&tag) {
                    return Ok(tag);
                }
            }
        }
        if channel.consumers.contains_key(&asked) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the channel has a consumer of that tag already")
                .with("consumer_tag", asked));
        }
        asked.checked("consumer tag")
    }

    /// Ends a consumer; the reply comes when its sink got the last delivery.
    pub(crate) fn cancel(
        &mut self,
        channel: ChannelKey,
        tag: &ConsumerTag,
        after: &mut Afterwards,
    ) -> Result<Option<Reply<()>>> {
        let Some(key) = self.channel(channel)?.consumers.remove(tag) else { return Ok(None) };
        let Some(consumer) = self.consumers.remove(key) else { return Ok(None) };
        let drained = consumer.outlet.drained();
        let queue_key = consumer.queue;
        after.discard(consumer);
        if let Some(queue) = self.queues.get_mut(queue_key) {
            queue.round.leave(key);
            queue.consumers.retain(|other| *other != key);
            if queue.consumers.is_empty() && queue.is_auto_delete() {
                self.remove_queue(queue_key, after)?;
            }
        }
        Ok(drained)
    }

    /// Ends a consumer whose queue is gone, with a notice.
    pub(super) fn end_consumer_of_deleted(&mut self, key: ConsumerKey, queue: &ShortStr, after: &mut Afterwards) {
        let Some(consumer) = self.consumers.remove(key) else { return };
        if let Some(channel) = self.channels.get_mut(consumer.channel) {
            channel.consumers.remove(&consumer.tag);
        }
        let (turn, _) = consumer.outlet.end(refusal::queue_deleted(queue), false);
        after.turn(turn);
        after.discard(consumer);
    }

    pub(crate) fn get(&mut self, channel_key: ChannelKey, method: &BasicGet) -> Result<Option<Delivery>> {
        let queue_key = self.usable_queue(channel_key, &method.queue)?;
        let Some(queue) = self.queues.get_mut(queue_key) else { return Ok(None) };
        let Some(message) = self.store.pop(&mut queue.stored)? else { return Ok(None) };
        let channel = self.channel(channel_key)?;
        let (redelivered, delivery_count) = (message.redelivered, Some(message.delivery_count));
        let envelope = message.envelope.clone();
        let tag = if method.no_ack {
            channel.unacked.pass()
        } else {
            channel.unacked.push(Unsettled { message, queue: queue_key, consumer: None })
        };
        Ok(Some(Delivery { tag, redelivered, delivery_count, envelope }))
    }
}
