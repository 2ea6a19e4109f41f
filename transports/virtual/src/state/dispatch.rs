//! Hands the messages of a queue to its consumers.

use std::sync::Arc;

use kombu_core::{Delivery, Envelope, Error, Scope};

use super::State;
use super::expiry::is_over;
use crate::afterwards::Afterwards;
use crate::channel_record::{ChannelKey, ChannelRecord, ChannelSlot};
use crate::consumer::{Consumer, ConsumerKey, ConsumerSlot, Readiness};
use crate::death::Reason;
use crate::message::QueueMessage;
use crate::moment::Moment;
use crate::queue::QueueKey;
use crate::round::Round;
use crate::slots::Slots;
use crate::store::QueueStore;
use crate::turn::Turn;
use crate::unacked::Unsettled;

/// How many messages are handed out in one holding of the broker's mutex.
const BUDGET: usize = 256;

impl<S: QueueStore> State<S> {
    /// Serves the consumers of a queue in turn, as long as there are messages and windows with room.
    pub(crate) fn dispatch(&mut self, key: QueueKey, after: &mut Afterwards) {
        for _ in 0..BUDGET {
            let State { store, queues, consumers, channels, clock, .. } = self;
            let Some(queue) = queues.get_mut(key) else { return };
            // Where there is nothing to hand out, nobody loses his place because his window is full.
            if is_next_full(&queue.round, consumers, channels) && matches!(queue.len(store), Ok(0)) {
                return self.look_at_head(key, after);
            }
            let Some(next) = next_consumer(&mut queue.round, consumers, channels) else {
                return self.look_at_head(key, after);
            };
            match queue.pop(store) {
                Ok(Some(message)) => {
                    if message.expiry().is_some() && is_over(&message, Moment::of(clock.system_time())) {
                        self.bury(key, message, Reason::Expired, after);
                        continue;
                    }
                    if next.consumer.no_ack {
                        // It counts as settled; what the store cannot forget comes again when it is opened anew.
                        _ = queue.forget(store, &message);
                    }
                    let shows_count = queue.policy.as_ref().is_some_and(|policy| policy.shows_count);
                    after.turn(hand_out(message, key, next, &mut queue.round, shows_count));
                }
                Ok(None) => return self.look_at_head(key, after),
                Err(error) => {
                    let (channel, error) = (next.consumer.channel, error.with("queue", &queue.name));
                    return self.cannot_serve(channel, error, after);
                }
            }
        }
        after.lists().unfinished.push(key);
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

    pub(super) fn rejoin(&mut self, key: ConsumerKey) -> Option<QueueKey> {
        let consumer = self.consumers.get_mut(key).filter(|consumer| consumer.has_room())?;
        consumer.state = Readiness::Ready;
        let (queue, priority) = (consumer.queue, consumer.priority);
        self.queues.get_mut(queue)?.join(key, priority);
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
            let (queue, priority) = (consumer.queue, consumer.priority);
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.join(key, priority);
            }
            self.dispatch(queue, after);
        }
    }
}

/// A consumer with room for a delivery, whose turn it is.
pub(super) struct Next<'a> {
    key: ConsumerKey,
    pub(super) consumer: &'a mut Consumer,
    channel: &'a mut ChannelRecord,
}

/// Finds the consumer for the next message. Those before whose window is full, or their channel's, leave the round, to come back
/// as its last ones: whoever settles before its turn comes keeps its place.
#[inline(always)]
pub(super) fn next_consumer<'a>(
    round: &mut Round<ConsumerKey>,
    consumers: &'a mut Slots<ConsumerSlot, Consumer>,
    channels: &'a mut Slots<ChannelSlot, ChannelRecord>,
) -> Option<Next<'a>> {
    let key = loop {
        let key = round.current()?;
        // A consumer leaves the round before it, or its channel, is removed.
        let consumer = consumers.get_mut(key)?;
        if !consumer.has_room() {
            consumer.state = Readiness::WindowFull;
            round.leave(key);
            continue;
        }
        let channel = channels.get_mut(consumer.channel)?;
        if consumer.no_ack || channel.has_room() {
            break key;
        }
        consumer.state = Readiness::ChannelFull;
        channel.line.push_back(key);
        round.leave(key);
    };
    let consumer = consumers.get_mut(key)?;
    let channel = channels.get_mut(consumer.channel)?;
    Some(Next { key, consumer, channel })
}

/// Says whether the consumer whose turn it is can take nothing now.
#[inline(always)]
fn is_next_full(
    round: &Round<ConsumerKey>,
    consumers: &Slots<ConsumerSlot, Consumer>,
    channels: &Slots<ChannelSlot, ChannelRecord>,
) -> bool {
    let consumer = round.current().and_then(|key| consumers.get(key));
    consumer.is_some_and(|consumer| {
        let channel = || channels.get(consumer.channel);
        !consumer.has_room() || !consumer.no_ack && channel().is_some_and(|channel| !channel.has_room())
    })
}

/// Gives a message to a consumer; the turn is to be run when the broker's mutex is released.
#[inline(always)]
pub(super) fn hand_out(
    message: QueueMessage,
    queue: QueueKey,
    next: Next<'_>,
    round: &mut Round<ConsumerKey>,
    shows_count: bool,
) -> Option<Turn> {
    let Next { key, consumer, channel } = next;
    let (redelivered, delivery_count) = (message.redelivered, Some(message.delivery_count));
    round.advance();
    let counted = if shows_count { Some(with_count(&message)) } else { None };
    let (tag, envelope) = if consumer.no_ack {
        (channel.unacked.pass(), message.envelope)
    } else {
        consumer.unsettled += 1;
        channel.unsettled += 1;
        let envelope = message.envelope.clone();
        (channel.unacked.push(Unsettled { message, queue, consumer: Some(key) }), envelope)
    };
    let envelope = counted.unwrap_or(envelope);
    consumer.tray.offer(Delivery { tag, redelivered, delivery_count, envelope })
}

/// Returns the message with its count in the header `x-delivery-count`, as RabbitMQ's quorum queues deliver it.
#[cold]
pub(super) fn with_count(message: &QueueMessage) -> Arc<Envelope> {
    let mut shown = Envelope::clone(&message.envelope);
    shown.headers.table_mut().insert("x-delivery-count", i64::from(message.delivery_count));
    Arc::new(shown)
}
