//! What is to be done at a later time.

use std::collections::BTreeMap;

use crate::exchange::ExchangeKey;
use crate::moment::Moment;
use crate::queue::QueueKey;

/// Something whose time will come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alarm {
    /// The first message of the queue expires.
    Expiry(QueueKey),
    /// The queue has been unused for as long as it may.
    Unused(QueueKey),
    /// A message held by a delayed exchange is due.
    Due(ExchangeKey),
}

/// Names an alarm that is set.
pub(crate) type AlarmKey = (Moment, u64);

/// The alarms that are set, by time.
#[derive(Default)]
pub(crate) struct Alarms {
    set: BTreeMap<AlarmKey, Alarm>,
    next: u64,
}

impl Alarms {
    /// Returns when the first alarm rings.
    pub(crate) fn first(&self) -> Option<Moment> {
        self.set.first_key_value().map(|((when, _), _)| *when)
    }

    /// Sets an alarm, or with no time none, in the place of the one in `slot`; says whether it is now the first of all.
    pub(crate) fn replace(&mut self, slot: &mut Option<AlarmKey>, when: Option<Moment>, alarm: Alarm) -> bool {
        if slot.map(|(when, _)| when) == when {
            return false;
        }
        if let Some(key) = slot.take() {
            self.set.remove(&key);
        }
        let Some(when) = when else { return false };
        self.next += 1;
        let key = (when, self.next);
        self.set.insert(key, alarm);
        *slot = Some(key);
        self.first() == Some(when)
    }

    /// Takes the first alarm out if its time has come.
    pub(crate) fn ring(&mut self, now: Moment) -> Option<Alarm> {
        let entry = self.set.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
