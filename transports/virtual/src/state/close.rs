//! Ends channels and connections.

use kombu_core::reply::Reply;
use kombu_core::{Error, Result};

use super::State;
use super::settle::{Verdict, touch};
use crate::afterwards::{Afterwards, Notice};
use crate::channel_record::{ChannelKey, ChannelRecord};
use crate::connection::ConnectionKey;
use crate::queue::QueueKey;
use crate::store::QueueStore;

impl<S: QueueStore> State<S> {
    /// Closes a channel because of an error: its consumers and its observer are told.
    pub(crate) fn fail_channel(&mut self, channel: ChannelKey, error: &Error, after: &mut Afterwards) {
        // Whoever could want to know when the sinks are done is told by their notice.
        drop(self.close_channels(&[channel], Some(error), after));
    }

    /// Ends the connection of a channel because of an error; all its channels are told.
    pub(crate) fn fail_connection(&mut self, channel: ChannelKey, error: &Error, after: &mut Afterwards) {
        if let Some(record) = self.channels.get(channel) {
            // Nobody is left to be told that the store could not forget an exclusive queue.
            drop(self.close_connection(record.connection, Some(error), after));
        }
    }

    /// Closes channels: consumers end, unsettled deliveries go back in order. Each reply comes when a sink got its last delivery.
    pub(crate) fn close_channels(
        &mut self,
        keys: &[ChannelKey],
        reason: Option<&Error>,
        after: &mut Afterwards,
    ) -> Vec<Reply<()>> {
        let mut records: Vec<_> =
            keys.iter().filter_map(|key| self.channels.remove(*key).map(|record| (*key, record))).collect();
        let mut touched = Vec::new();
        let mut draining = Vec::new();
        // All consumers first: nothing that goes back may be given to one of them.
        for (_, record) in &mut records {
            self.end_consumers(record, reason, &mut touched, &mut draining, after);
        }
        let deserted = touched.clone();
        for (key, record) in records.iter_mut().rev() {
            for tag in record.put_off.close() {
                record.unacked.take(tag).into_iter().for_each(|done| after.drop_envelope(done.message.envelope));
            }
            let mut unsettled = Vec::new();
            record.unacked.take_up_to(None, &mut unsettled);
            for unsettled in unsettled.into_iter().rev() {
                touch(&mut touched, unsettled.queue);
                // What the store does not take back is set aside.
                _ = self.carry_out(*key, unsettled, Verdict::GiveBack, after);
            }
        }
        for (_, mut record) in records {
            if let Some(reason) = reason {
                // A channel is removed once, so its fate is set once.
                _ = record.fate.set(reason.duplicate());
                if let Some(events) = record.events.take() {
                    after.notice(Notice::Closed(events, reason.duplicate()));
                }
            }
            after.discard(record);
        }
        for queue in deserted {
            self.remove_queue_if_deserted(queue, after);
        }
        for queue in touched {
            self.dispatch(queue, after);
        }
        draining
    }

    fn end_consumers(
        &mut self,
        record: &mut ChannelRecord,
        reason: Option<&Error>,
        touched: &mut Vec<QueueKey>,
        draining: &mut Vec<Reply<()>>,
        after: &mut Afterwards,
    ) {
        for (_, key) in record.consumers.drain() {
            let Some(consumer) = self.consumers.remove(key) else { continue };
            self.leave_queue(consumer.queue, key);
            touch(touched, consumer.queue);
            match reason {
                Some(reason) => {
                    let (turn, undelivered) = consumer.tray.outlet.end(reason.duplicate(), true);
                    after.turn(turn);
                    after.discard(undelivered);
                }
                None => {
                    after.discard(consumer.tray.outlet.discard());
                    draining.extend(consumer.tray.outlet.drained());
                }
            }
            after.discard(consumer);
        }
    }

    /// Removes an auto-delete queue whose last consumer has just gone.
    fn remove_queue_if_deserted(&mut self, key: QueueKey, after: &mut Afterwards) {
        if self.queues.get(key).is_some_and(|queue| queue.is_auto_delete() && queue.consumers.is_empty()) {
            // Nobody is there to be told that the store could not forget it.
            _ = self.remove_queue(key, after);
        }
    }

    /// Closes every channel of a connection and removes its exclusive queues.
    pub(crate) fn close_connection(
        &mut self,
        connection: ConnectionKey,
        reason: Option<&Error>,
        after: &mut Afterwards,
    ) -> (Vec<Reply<()>>, Result<()>) {
        let channels: Vec<_> =
            self.channels.iter().filter(|(_, record)| record.connection == connection).map(|(key, _)| key).collect();
        let draining = self.close_channels(&channels, reason, after);
        if let (Some(fate), Some(reason)) = (self.fates.remove(&connection), reason) {
            // A connection ends once.
            _ = fate.set(reason.duplicate());
        }
        let exclusive: Vec<_> =
            self.queues.iter().filter(|(_, queue)| queue.owner == Some(connection)).map(|(key, _)| key).collect();
        let mut result = Ok(());
        for queue in exclusive {
            result = result.and(self.remove_queue(queue, after));
        }
        (draining, result)
    }
}
