//! Ends deliveries: acknowledged, dropped, given back or set aside.

use std::sync::Arc;

use kombu_core::{DeliveryTag, Envelope, Malformed, Result, ShortStr};

use super::State;
use crate::afterwards::{Afterwards, Notice};
use crate::channel_record::ChannelKey;
use crate::consumer::Readiness;
use crate::death::Reason;
use crate::queue::QueueKey;
use crate::refusal;
use crate::store::QueueStore;
use crate::unacked::Unsettled;

/// What becomes of a delivery.
#[derive(Clone, Copy)]
pub(crate) enum Verdict<'a> {
    /// It is done with.
    Forget,
    /// Nobody will handle it: it is dead-lettered where its queue says so.
    Reject,
    /// It goes back to its place in the queue.
    GiveBack,
    /// It goes to the queue's malformed list.
    SetAside {
        /// Why.
        reason: &'a str,
    },
}

impl<S: QueueStore> State<S> {
    /// Settles one delivery. What is returned is to be dropped when the mutex is released.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        channel: ChannelKey,
        tag: DeliveryTag,
        verdict: Verdict<'_>,
        after: &mut Afterwards,
    ) -> Result<Option<Arc<Envelope>>> {
        let record = self.channel(channel)?;
        let unsettled = record.unacked.take(tag).ok_or_else(|| refusal::unknown_tag(tag))?;
        let mut line_waits = false;
        let mut with_room = None;
        if let Some(consumer) = unsettled.consumer {
            record.unsettled -= 1;
            line_waits = !record.line.is_empty();
            with_room = self.make_room(consumer);
        }
        let settled = match verdict {
            Verdict::Forget => {
                let State { store, queues, .. } = self;
                let forgotten = match queues.get_mut(unsettled.queue) {
                    Some(queue) => queue.forget(store, &unsettled.message),
                    None => Ok(()),
                };
                forgotten.map(|()| Some(unsettled.message.envelope))
            }
            _ => {
                let queue = unsettled.queue;
                let carried_out = self.carry_out(channel, unsettled, verdict, after);
                self.dispatch(queue, after);
                carried_out.map(|()| None)
            }
        };
        if let Some(queue) = with_room {
            self.dispatch(queue, after);
        }
        if line_waits {
            self.serve_line(channel, after);
        }
        settled
    }

    /// Carries out the acknowledgements that were put off on a channel, and hands over the deliveries kept for its consumers.
    pub(crate) fn catch_up(&mut self, key: ChannelKey, after: &mut Afterwards) {
        self.carry_out_acks(key, after);
        let State { channels, consumers, .. } = self;
        let Some(channel) = channels.get(key) else { return };
        for consumer in channel.consumers.values() {
            let unwanted = consumers.get_mut(*consumer).map_or_else(Vec::new, |consumer| consumer.tray.hand_over());
            if !unwanted.is_empty() {
                after.discard(unwanted);
            }
        }
    }

    /// Carries out the acknowledgements that were put off on a channel.
    pub(crate) fn carry_out_acks(&mut self, key: ChannelKey, after: &mut Afterwards) {
        let mut tags = std::mem::take(&mut self.acknowledged);
        let mut full = std::mem::take(&mut self.full);
        let State { channels, consumers, .. } = self;
        let mut line_waits = false;
        let mut unknown = None;
        if let Some(channel) = channels.get_mut(key) {
            channel.put_off.take(&mut tags);
            let lists = after.lists();
            for tag in tags.drain(..) {
                let Some(Unsettled { message, consumer, .. }) = channel.unacked.take(tag) else {
                    unknown = Some(tag);
                    continue;
                };
                lists.envelopes.push(message.envelope);
                let Some(consumer_key) = consumer else { continue };
                channel.unsettled -= 1;
                if let Some(consumer) = consumers.get_mut(consumer_key) {
                    consumer.unsettled -= 1;
                    if consumer.state == Readiness::WindowFull && !full.contains(&consumer_key) {
                        full.push(consumer_key);
                    }
                }
            }
            line_waits = !channel.line.is_empty();
        }
        self.acknowledged = tags;
        for consumer in full.drain(..) {
            if let Some(queue) = self.rejoin(consumer) {
                self.dispatch(queue, after);
            }
        }
        self.full = full;
        if line_waits {
            self.serve_line(key, after);
        }
        if let Some(tag) = unknown {
            let error = refusal::unknown_tag(tag).during("basic.ack");
            if let Some(events) = self.events(key) {
                after.notice(Notice::SettleFailed(events, error.duplicate()));
            }
            self.fail_channel(key, &error, after);
        }
    }

    /// Settles every delivery up to `tag`, or all when there is none.
    pub(crate) fn settle_up_to(
        &mut self,
        channel: ChannelKey,
        tag: Option<DeliveryTag>,
        verdict: Verdict<'_>,
        after: &mut Afterwards,
    ) -> Result<()> {
        let mut taken = std::mem::take(&mut self.taken);
        let record = self.channels.get_mut(channel);
        let found = record.and_then(|record| record.unacked.take_up_to(tag, &mut taken));
        if found.is_none() {
            self.taken = taken;
            return Err(refusal::unknown_tag(tag.map_or(0, |tag| tag.0)));
        }
        let mut touched = std::mem::take(&mut self.touched);
        let mut settled = Ok(());
        // The last first, so that each goes back right before the one that followed it.
        let in_order = !matches!(verdict, Verdict::GiveBack);
        if in_order {
            taken.reverse();
        }
        for unsettled in taken.drain(..).rev() {
            if let Some(consumer) = unsettled.consumer {
                if let Some(channel) = self.channels.get_mut(channel) {
                    channel.unsettled -= 1;
                }
                self.make_room(consumer).into_iter().for_each(|queue| touch(&mut touched, queue));
            }
            if let Verdict::GiveBack = verdict {
                touch(&mut touched, unsettled.queue);
            }
            settled = settled.and(self.carry_out(channel, unsettled, verdict, after));
        }
        self.taken = taken;
        touched.drain(..).for_each(|queue| self.dispatch(queue, after));
        self.touched = touched;
        self.serve_line(channel, after);
        settled
    }

    /// Does with the message what was decided. One whose queue is gone is dropped.
    pub(super) fn carry_out(
        &mut self,
        channel: ChannelKey,
        unsettled: Unsettled,
        verdict: Verdict<'_>,
        after: &mut Afterwards,
    ) -> Result<()> {
        let Unsettled { message, queue: key, .. } = unsettled;
        let State { store, queues, .. } = self;
        let Some(queue) = queues.get_mut(key) else {
            after.drop_envelope(message.envelope);
            return Ok(());
        };
        match verdict {
            Verdict::Forget => {
                let forgotten = queue.forget(store, &message);
                after.drop_envelope(message.envelope);
                return forgotten;
            }
            Verdict::Reject => self.bury(key, message, Reason::Rejected, after),
            Verdict::GiveBack => {
                let message = message.given_back();
                let limit = queue.policy.as_ref().and_then(|policy| policy.delivery_limit);
                if limit.is_some_and(|limit| message.delivery_count > limit) {
                    self.bury(key, message, Reason::DeliveryLimit, after);
                } else {
                    self.return_to(key, message);
                    _ = self.shrink(key, after);
                }
            }
            Verdict::SetAside { reason } => {
                let malformed = self.keep_aside(key, message, reason.to_owned(), after);
                let events = self.channels.get(channel).and_then(|channel| channel.events.clone());
                if let (Some(malformed), Some(events)) = (malformed, events) {
                    after.notice(Notice::Malformed(events, malformed));
                }
            }
        }
        Ok(())
    }

    /// Gives back everything a channel holds unsettled.
    pub(crate) fn recover(&mut self, channel: ChannelKey, after: &mut Afterwards) -> Result<()> {
        self.carry_out_acks(channel, after);
        let keys: Vec<_> = self.channel(channel)?.consumers.values().copied().collect();
        for key in keys {
            // What the sink has not seen yet goes back with the rest, under its tag.
            let undelivered = self.consumers.get_mut(key).map(|consumer| consumer.tray.discard());
            after.discard(undelivered);
        }
        self.settle_up_to(channel, None, Verdict::GiveBack, after)
    }

    /// Returns what was set aside from a queue, oldest first.
    pub(crate) fn malformed(&mut self, channel: ChannelKey, queue: &ShortStr, limit: usize) -> Result<Vec<Malformed>> {
        let key = self.usable_queue(channel, queue)?;
        Ok(self
            .queues
            .get(key)
            .map(|queue| queue.malformed.iter().take(limit).map(|(malformed, _)| malformed.clone()).collect())
            .unwrap_or_default())
    }
}

/// Notes a queue to be served, once.
pub(super) fn touch(touched: &mut Vec<QueueKey>, queue: QueueKey) {
    if !touched.contains(&queue) {
        touched.push(queue);
    }
}
