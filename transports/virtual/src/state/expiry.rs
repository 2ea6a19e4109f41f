//! What the time does to queues.

use std::time::Duration;

use super::State;
use crate::afterwards::Afterwards;
use crate::alarm::Alarm;
use crate::death::Reason;
use crate::message::QueueMessage;
use crate::queue::QueueKey;
use crate::store::QueueStore;

/// When a store that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

impl<S: QueueStore> State<S> {
    /// Does everything whose time has come.
    pub(crate) fn ring(&mut self, after: &mut Afterwards) {
        if self.alarms.first().is_none() {
            return;
        }
        let now = self.now();
        while let Some(alarm) = self.alarms.ring(now) {
            match alarm {
                Alarm::Expiry(key) => {
                    if let Some(queue) = self.queues.get_mut(key) {
                        queue.expiry_alarm = None;
                    }
                    self.look_at_head(key, after);
                }
                Alarm::Unused(key) => self.remove_if_unused(key, after),
                Alarm::Due(key) => self.release(key, after),
            }
            self.has_chores = true;
        }
    }

    /// Takes what has expired from the head of a queue, and sets the alarm for what is there then.
    pub(super) fn look_at_head(&mut self, key: QueueKey, after: &mut Afterwards) {
        let now = self.now();
        loop {
            let State { store, queues, alarms, .. } = self;
            let Some(queue) = queues.get_mut(key).filter(|queue| queue.may_expire) else { return };
            let ring = match queue.pop(store) {
                Ok(Some(message)) if is_over(&message, now) => {
                    self.bury(key, message, Reason::Expired, after);
                    continue;
                }
                Ok(Some(message)) => {
                    let ring = message.expiry();
                    self.return_to(key, message);
                    ring
                }
                Ok(None) => {
                    queue.may_expire = queue.policy.as_ref().is_some_and(|policy| policy.message_ttl.is_some());
                    queue.is_plain = queue.policy.is_none();
                    alarms.replace(&mut queue.expiry_alarm, None, Alarm::Expiry(key));
                    return;
                }
                Err(_) => Some(now.after(AGAIN)),
            };
            let Some(queue) = self.queues.get_mut(key) else { return };
            self.has_chores |= self.alarms.replace(&mut queue.expiry_alarm, ring, Alarm::Expiry(key));
            return;
        }
    }

    /// Notes that a queue is used, which puts off its expiry.
    pub(super) fn use_queue(&mut self, key: QueueKey) {
        let Some(queue) = self.queues.get(key) else { return };
        if queue.policy.as_ref().is_none_or(|policy| policy.expires.is_none()) {
            return;
        }
        let now = self.now();
        let Some(queue) = self.queues.get_mut(key) else { return };
        let expires = queue.policy.as_ref().and_then(|policy| policy.expires);
        queue.used = now;
        let ring = expires.filter(|_| queue.consumers.is_empty()).map(|expires| now.after(expires));
        self.has_chores |= self.alarms.replace(&mut queue.unused_alarm, ring, Alarm::Unused(key));
    }

    fn remove_if_unused(&mut self, key: QueueKey, after: &mut Afterwards) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.unused_alarm = None;
            if queue.consumers.is_empty() {
                // Nobody is there to be told that the store could not forget it.
                _ = self.remove_queue(key, after);
            }
        }
    }
}

/// Says whether a message has expired.
pub(super) fn is_over(message: &QueueMessage, now: crate::moment::Moment) -> bool {
    message.expiry().is_some_and(|expiry| expiry <= now)
}
