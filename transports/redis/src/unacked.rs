//! The deliveries of a channel that are not settled yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use kombu_core::{DeliveryTag, ShortStr};

use crate::consumer::Consumer;
use crate::listen::Broadcast;

/// An unsettled delivery: what is needed to forget it or to give it back.
pub(crate) struct Held {
    pub(crate) place: Place,
    /// The queue it came from.
    pub(crate) queue: ShortStr,
    /// The list it goes back to.
    pub(crate) list: Arc<str>,
    /// How often it had been given back when it was delivered.
    pub(crate) count: u32,
    /// Whether it expires.
    pub(crate) expires: bool,
    /// The consumer that got it; none for a message that was fetched.
    pub(crate) consumer: Option<Arc<Consumer>>,
}

/// Where an unsettled delivery is kept.
pub(crate) enum Place {
    /// On the server, in the field of this number.
    Recorded(u64),
    /// Here only: a broadcast message, of which the server has no copy.
    Local(Broadcast),
    /// Nowhere: it counted as acknowledged when it was taken.
    Nowhere,
}

/// Delivery tags of a channel and the deliveries they name: 1, 2, 3, …, across lost sockets.
#[derive(Default)]
pub(crate) struct Unacked {
    held: BTreeMap<u64, Held>,
    last: u64,
}

impl Unacked {
    /// Returns the next tag, for a delivery that needs no settling.
    pub(crate) fn next_tag(&mut self) -> DeliveryTag {
        self.last += 1;
        DeliveryTag(self.last)
    }

    /// Keeps a delivery and returns its tag.
    pub(crate) fn insert(&mut self, held: Held) -> DeliveryTag {
        let tag = self.next_tag();
        self.held.insert(tag.0, held);
        tag
    }

    /// Takes the delivery `tag` out, with `multiple` all up to it (tag 0: all); `None` when there is no such delivery.
    pub(crate) fn take(&mut self, tag: DeliveryTag, multiple: bool) -> Option<Vec<Held>> {
        if !multiple {
            return self.held.remove(&tag.0).map(|held| vec![held]);
        }
        if tag.0 == 0 {
            return Some(self.take_all());
        }
        if tag.0 > self.last {
            return None;
        }
        let later = self.held.split_off(&(tag.0 + 1));
        let taken = std::mem::replace(&mut self.held, later);
        (!taken.is_empty()).then(|| taken.into_values().collect())
    }

    /// Returns the number of the field of an unsettled delivery, if it has one; `None` when there is no such delivery.
    pub(crate) fn number_of(&self, tag: DeliveryTag) -> Option<Option<u64>> {
        self.held.get(&tag.0).map(|held| match held.place {
            Place::Recorded(number) => Some(number),
            Place::Local(_) | Place::Nowhere => None,
        })
    }

    /// Says whether a delivery was [withdrawn](Unacked::withdraw).
    pub(crate) fn is_withdrawn(&self, tag: DeliveryTag) -> bool {
        self.held.get(&tag.0).is_some_and(|held| matches!(held.place, Place::Nowhere))
    }

    /// Takes a delivery from the application, and those its consumer got after it: nothing of them is to be settled any more. Returns
    /// their numbers and lists.
    pub(crate) fn withdraw(&mut self, tag: DeliveryTag) -> Vec<(u64, Arc<str>)> {
        let consumer = self.held.get(&tag.0).and_then(|held| held.consumer.clone());
        let mut withdrawn = Vec::new();
        for held in self.held.range_mut(tag.0..).map(|(_, held)| held) {
            let is_of = match (&held.consumer, &consumer) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            };
            if let Place::Recorded(number) = held.place
                && is_of
            {
                held.place = Place::Nowhere;
                withdrawn.push((number, Arc::clone(&held.list)));
            }
        }
        withdrawn
    }

    /// Takes every delivery out.
    pub(crate) fn take_all(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: u64) -> Held {
        Held {
            place: Place::Recorded(number),
            queue: "q".into(),
            list: "q".into(),
            count: 0,
            expires: false,
            consumer: None,
        }
    }

    fn numbers(taken: Option<Vec<Held>>) -> Vec<u64> {
        let number = |held: Held| match held.place {
            Place::Recorded(number) => number,
            Place::Local(_) | Place::Nowhere => 0,
        };
        taken.into_iter().flatten().map(number).collect()
    }

    #[test]
    fn tags_count_from_one_and_settle_once() {
        let mut unacked = Unacked::default();
        let tags: Vec<_> = (10..15).map(|number| unacked.insert(held(number)).0).collect();
        assert_eq!(tags, [1, 2, 3, 4, 5]);
        assert_eq!(numbers(unacked.take(DeliveryTag(2), false)), [11]);
        assert!(unacked.take(DeliveryTag(2), false).is_none());
        assert_eq!(numbers(unacked.take(DeliveryTag(3), true)), [10, 12]);
        assert!(unacked.take(DeliveryTag(3), true).is_none());
        assert!(unacked.take(DeliveryTag(9), true).is_none());
        assert_eq!(numbers(unacked.take(DeliveryTag(0), true)), [13, 14]);
    }
}
