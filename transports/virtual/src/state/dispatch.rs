//! Hands the messages of a queue to its consumers.

use kombu_core::{Delivery, Error, Scope};

use super::State;
use crate::afterwards::Afterwards;
use crate::channel_record::{ChannelKey, ChannelRecord, ChannelSlot};
use crate::consumer::{Consumer, ConsumerKey, ConsumerSlot, Readiness};
use crate::queue::{Queue, QueueKey};
use crate::slots::Slots;
use crate::store::QueueStore;
use crate::unacked::Unsettled;

/// How many messages are handed out in one holding of the broker's mutex.
const BUDGET: usize = 256;

impl<S: QueueStore> State<S> {
    /// Serves the consumers of a queue in turn, as long as there are messages and windows with room.
    #[inline]
    pub(crate) fn dispatch(&mut self, key: QueueKey, after: &mut Afterwards) {
        let State { store, queues, consumers, channels, .. } = self;
        let Some(queue) = queues.get_mut(key) else { return };
        if let Err((channel, error)) = serve(store, key, queue, consumers, channels, after) {
            self.cannot_serve(channel, error, after);
        }
    }

    /// The store cannot read a queue. Its consumer must not wait without a word: its channel ends.
    #[cold]
    pub(super) fn cannot_serve(&mut self, channel: ChannelKey, error: Error, after: &mut Afterwards) {
        self.fail_channel(channel, &error.in_scope(Scope::Channel), after);
    }

    /// Serves the consumers of the queue of that name, if it is known.
    pub(crate) fn refresh(&mut self, queue: &str, after: &mut Afterwards) {
        if let Some(key) = self.queue_names.get(queue).copied() {
            self.dispatch(key, after);
        }
    }

    /// Notes that a delivery of a consumer is settled. Returns the queue to serve when its window has room again.
    #[inline]
    pub(super) fn make_room(&mut self, key: ConsumerKey) -> Option<QueueKey> {
        let consumer = self.consumers.get_mut(key)?;
        consumer.unsettled -= 1;
        if consumer.state == Readiness::WindowFull { self.rejoin(key) } else { None }
    }

    fn rejoin(&mut self, key: ConsumerKey) -> Option<QueueKey> {
        let consumer = self.consumers.get_mut(key).filter(|consumer| consumer.has_room())?;
        consumer.state = Readiness::Ready;
        let queue = consumer.queue;
        self.queues.get_mut(queue)?.round.join(key);
        Some(queue)
    }

    /// Serves the consumers that wait for room in their channel's window.
    pub(super) fn serve_line(&mut self, channel: ChannelKey, after: &mut Afterwards) {
        while let Some(record) = self.channels.get_mut(channel)
            && record.has_room()
            && let Some(key) = record.line.pop_front()
        {
            let Some(consumer) = self.consumers.get_mut(key) else { continue };
            consumer.state = Readiness::Ready;
            let queue = consumer.queue;
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.round.join(key);
            }
            self.dispatch(queue, after);
        }
    }
}

/// Serves the consumers of a queue in turn; a store that fails is an error of the channel of whose turn it was.
#[inline]
pub(super) fn serve<S: QueueStore>(
    store: &mut S,
    key: QueueKey,
    queue: &mut Queue<S::Queue>,
    consumers: &mut Slots<ConsumerSlot, Consumer>,
    channels: &mut Slots<ChannelSlot, ChannelRecord>,
    after: &mut Afterwards,
) -> Result<(), (ChannelKey, Error)> {
    for _ in 0..BUDGET {
        let Some(consumer_key) = queue.round.current() else { return Ok(()) };
        // A consumer leaves the round before it, or its channel, is removed.
        let Some(consumer) = consumers.get_mut(consumer_key) else { return Ok(()) };
        let Some(channel) = channels.get_mut(consumer.channel) else { return Ok(()) };
        if !consumer.no_ack && !channel.has_room() {
            consumer.state = Readiness::ChannelFull;
            channel.line.push_back(consumer_key);
            queue.round.leave(consumer_key);
            continue;
        }
        let message = match store.pop(&mut queue.stored) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(error) => return Err((consumer.channel, error.with("queue", &queue.name))),
        };
        let (redelivered, delivery_count) = (message.redelivered, Some(message.delivery_count));
        let (tag, envelope) = if consumer.no_ack {
            (channel.unacked.pass(), message.envelope)
        } else {
            let envelope = message.envelope.clone();
            consumer.unsettled += 1;
            channel.unsettled += 1;
            (channel.unacked.push(Unsettled { message, queue: key, consumer: Some(consumer_key) }), envelope)
        };
        queue.round.advance();
        if !consumer.has_room() {
            consumer.state = Readiness::WindowFull;
            queue.round.leave(consumer_key);
        }
        if let Some(turn) = consumer.outlet.offer(Delivery { tag, redelivered, delivery_count, envelope }) {
            after.turn(turn);
        }
        match store.is_empty(&mut queue.stored) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err((consumer.channel, error.with("queue", &queue.name))),
        }
    }
    after.more().unfinished.push(key);
    Ok(())
}
