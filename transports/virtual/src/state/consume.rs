//! Starts and ends consumers, and fetches single messages.

use std::sync::Arc;

use kombu_core::method::{BasicConsume, BasicGet};
use kombu_core::reply::Reply;
use kombu_core::{ConsumerTag, Delivery, DeliverySink, ErrorKind, Qos, Result, ShortStr};

use super::State;
use super::dispatch::with_count;
use super::expiry::is_over;
use crate::afterwards::Afterwards;
use crate::arguments;
use crate::channel_record::ChannelKey;
use crate::consumer::{Consumer, ConsumerKey, Readiness};
use crate::death::Reason;
use crate::message::QueueMessage;
use crate::moment::Moment;
use crate::queue::QueueKey;
use crate::refusal;
use crate::store::QueueStore;
use crate::tray::Tray;
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
        let priority = arguments::consumer_priority(&method)?;
        let queue_key = self.usable_queue(channel_key, &method.queue)?;
        let tag = self.free_tag(channel_key, method.consumer_tag)?;
        let Some(queue) = self.queues.get_mut(queue_key) else {
            return Err(refusal::not_found("queue", &method.queue));
        };
        let exclusive = |key: &ConsumerKey| self.consumers.get(*key).is_some_and(|consumer| consumer.exclusive);
        if queue.consumers.iter().any(exclusive) {
            return Err(refusal::refused("queue", &queue.name, "the queue has an exclusive consumer"));
        }
        if method.exclusive && queue.has_single_active_consumer() {
            return Err(refusal::refused(
                "queue",
                &queue.name,
                "the queue has a single active consumer of its own choice",
            ));
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
            tray: Tray::new(Arc::clone(outlet)),
            no_ack: method.no_ack,
            exclusive: method.exclusive,
            priority,
            limit: channel.consumer_limit,
            unsettled: 0,
            state: Readiness::Ready,
        });
        channel.consumers.insert(tag.clone(), key);
        queue.consumers.push(key);
        queue.join(key, priority);
        self.use_queue(queue_key);
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
            return Err(refusal::tag_in_use(&asked));
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
        let Some(mut consumer) = self.consumers.remove(key) else { return Ok(None) };
        after.discard(consumer.tray.hand_over());
        let drained = consumer.tray.outlet.drained();
        let queue_key = consumer.queue;
        after.discard(consumer);
        self.leave_queue(queue_key, key);
        if self.queues.get(queue_key).is_some_and(|queue| queue.consumers.is_empty() && queue.is_auto_delete()) {
            self.remove_queue(queue_key, after)?;
        }
        self.dispatch(queue_key, after);
        Ok(drained)
    }

    /// Takes a consumer out of its queue; another may become the single active one.
    pub(super) fn leave_queue(&mut self, queue_key: QueueKey, key: ConsumerKey) {
        let Some(queue) = self.queues.get_mut(queue_key) else { return };
        if let Some(heir) = queue.drop_consumer(key)
            && let Some(consumer) = self.consumers.get(heir).filter(|heir| heir.state == Readiness::Ready)
        {
            queue.join(heir, consumer.priority);
        }
        self.use_queue(queue_key);
    }

    /// Ends a consumer whose queue is gone, with a notice.
    pub(super) fn end_consumer_of_deleted(&mut self, key: ConsumerKey, queue: &ShortStr, after: &mut Afterwards) {
        let Some(mut consumer) = self.consumers.remove(key) else { return };
        if let Some(channel) = self.channels.get_mut(consumer.channel) {
            channel.consumers.remove(&consumer.tag);
        }
        after.discard(consumer.tray.hand_over());
        let (turn, _) = consumer.tray.outlet.end(refusal::queue_deleted(queue), false);
        after.turn(turn);
        after.discard(consumer);
    }

    pub(crate) fn get(
        &mut self,
        channel_key: ChannelKey,
        method: &BasicGet,
        after: &mut Afterwards,
    ) -> Result<Option<Delivery>> {
        let queue_key = self.usable_queue(channel_key, &method.queue)?;
        self.use_queue(queue_key);
        let Some(message) = self.pop_living(queue_key, after)? else { return Ok(None) };
        let State { store, queues, channels, .. } = self;
        let (Some(queue), Some(channel)) = (queues.get_mut(queue_key), channels.get_mut(channel_key)) else {
            return Ok(None);
        };
        let (redelivered, delivery_count) = (message.redelivered, Some(message.delivery_count));
        let shows_count = queue.policy.as_ref().is_some_and(|policy| policy.shows_count);
        let envelope = if shows_count { with_count(&message) } else { message.envelope.clone() };
        let tag = if method.no_ack {
            queue.forget(store, &message)?;
            channel.unacked.pass()
        } else {
            channel.unacked.push(Unsettled { message, queue: queue_key, consumer: None })
        };
        self.look_at_head(queue_key, after);
        Ok(Some(Delivery { tag, redelivered, delivery_count, envelope }))
    }

    /// Takes the first message that has not expired out of a queue.
    fn pop_living(&mut self, key: QueueKey, after: &mut Afterwards) -> Result<Option<QueueMessage>> {
        loop {
            let State { store, queues, clock, .. } = self;
            let Some(queue) = queues.get_mut(key) else { return Ok(None) };
            match queue.pop(store)? {
                Some(message) if message.expiry().is_some() && is_over(&message, Moment::of(clock.system_time())) => {
                    self.bury(key, message, Reason::Expired, after);
                }
                message => return Ok(message),
            }
        }
    }
}
