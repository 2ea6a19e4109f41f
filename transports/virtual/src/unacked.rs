//! What a channel delivered and nobody has settled.

use std::collections::{BTreeMap, VecDeque};

use kombu_core::DeliveryTag;

use crate::consumer::ConsumerKey;
use crate::message::QueueMessage;
use crate::queue::QueueKey;

/// One delivery that waits to be settled.
#[derive(Debug)]
pub(crate) struct Unsettled {
    pub(crate) message: QueueMessage,
    pub(crate) queue: QueueKey,
    /// Whose window it fills; `None` when it was fetched by `basic.get`, which no window limits.
    pub(crate) consumer: Option<ConsumerKey>,
}

/// The unsettled deliveries of a channel, by tag.
///
/// Tags are consecutive, so a delivery is found by counting from the first one held: a ring, in which settled ones leave holes until
/// they reach the front. A delivery that stays while many others are settled would keep the ring growing; when the ring is mostly
/// holes, its front is moved into a tree instead.
#[derive(Debug)]
pub(crate) struct Unacked<T = Unsettled> {
    /// The tag of the first place of the ring.
    first: u64,
    ring: VecDeque<Option<T>>,
    /// Deliveries older than `first`.
    stragglers: BTreeMap<u64, T>,
    held: usize,
}

/// A ring shorter than this is never looked through for holes.
const SHORT: usize = 256;

impl<T> Unacked<T> {
    pub(crate) fn new() -> Self {
        Unacked { first: 1, ring: VecDeque::new(), stragglers: BTreeMap::new(), held: 0 }
    }

    /// Gives the next tag to a delivery that must be settled.
    #[inline]
    pub(crate) fn push(&mut self, delivery: T) -> DeliveryTag {
        let tag = self.next_tag();
        if self.ring.len() == self.ring.capacity() && self.ring.len() >= SHORT {
            self.make_room();
        }
        self.ring.push_back(Some(delivery));
        self.held += 1;
        tag
    }

    /// Gives the next tag to a delivery that counts as settled.
    #[inline]
    pub(crate) fn pass(&mut self) -> DeliveryTag {
        let tag = self.next_tag();
        if self.ring.is_empty() {
            self.first += 1;
        } else {
            if self.ring.len() == self.ring.capacity() && self.ring.len() >= SHORT {
                self.make_room();
            }
            self.ring.push_back(None);
            self.trim();
        }
        tag
    }

    /// Takes one delivery out.
    #[inline]
    pub(crate) fn take(&mut self, tag: DeliveryTag) -> Option<T> {
        let delivery = match tag.0.checked_sub(self.first) {
            Some(index) => {
                let taken = self.ring.get_mut(usize::try_from(index).ok()?)?.take();
                if index == 0 {
                    self.trim();
                }
                taken
            }
            None => self.stragglers.remove(&tag.0),
        };
        self.held -= usize::from(delivery.is_some());
        delivery
    }

    /// Takes every delivery up to `tag` out, in order of tags, or all when there is no tag. `None`, and nothing is taken, when
    /// `tag` itself is not held.
    pub(crate) fn take_up_to(&mut self, tag: Option<DeliveryTag>, taken: &mut Vec<T>) -> Option<()> {
        if tag.is_some_and(|tag| !self.holds(tag)) {
            return None;
        }
        let before = taken.len();
        let last = tag.map_or(self.next_tag().0 - 1, |tag| tag.0);
        let later = self.stragglers.split_off(&(last + 1));
        taken.extend(std::mem::replace(&mut self.stragglers, later).into_values());
        while self.first <= last
            && let Some(place) = self.ring.pop_front()
        {
            self.first += 1;
            taken.extend(place);
        }
        self.trim();
        self.held -= taken.len() - before;
        Some(())
    }

    fn holds(&self, tag: DeliveryTag) -> bool {
        match tag.0.checked_sub(self.first) {
            Some(index) => usize::try_from(index).is_ok_and(|index| matches!(self.ring.get(index), Some(Some(_)))),
            None => self.stragglers.contains_key(&tag.0),
        }
    }

    fn next_tag(&self) -> DeliveryTag {
        DeliveryTag(self.first + self.ring.len() as u64)
    }

    /// Drops the holes at the front.
    #[inline]
    fn trim(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first += 1;
        }
    }

    /// Moves the older half of a full ring into the tree when most of the ring is holes; costs one look at each place for at least
    /// as many pushes.
    #[cold]
    fn make_room(&mut self) {
        if self.held - self.stragglers.len() > self.ring.len() / 4 {
            return;
        }
        for place in self.ring.drain(..self.ring.len() / 2) {
            if let Some(delivery) = place {
                self.stragglers.insert(self.first, delivery);
            }
            self.first += 1;
        }
        self.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(unacked: &mut Unacked<u64>, tag: Option<u64>) -> Option<Vec<u64>> {
        let mut taken = Vec::new();
        unacked.take_up_to(tag.map(DeliveryTag), &mut taken)?;
        Some(taken)
    }

    #[test]
    fn tags_count_from_one_and_are_taken_once() {
        let mut unacked = Unacked::new();
        assert_eq!(unacked.push(10), DeliveryTag(1));
        assert_eq!(unacked.pass(), DeliveryTag(2));
        assert_eq!(unacked.push(30), DeliveryTag(3));
        assert_eq!(unacked.take(DeliveryTag(2)), None);
        assert_eq!(unacked.take(DeliveryTag(1)), Some(10));
        assert_eq!(unacked.take(DeliveryTag(1)), None);
        assert_eq!(unacked.take(DeliveryTag(4)), None);
        assert_eq!(unacked.take(DeliveryTag(0)), None);
        assert_eq!(unacked.take(DeliveryTag(3)), Some(30));
        assert_eq!((unacked.held, unacked.ring.len()), (0, 0));
        assert_eq!(unacked.pass(), DeliveryTag(4));
    }

    #[test]
    fn up_to_a_tag_takes_in_order_and_leaves_the_rest() {
        let mut unacked = Unacked::new();
        (1..=5).for_each(|number| drop(unacked.push(number)));
        unacked.take(DeliveryTag(2));
        assert_eq!(all(&mut unacked, Some(6)), None);
        assert_eq!(all(&mut unacked, Some(2)), None);
        assert_eq!(all(&mut unacked, Some(3)), Some(vec![1, 3]));
        assert_eq!(all(&mut unacked, Some(3)), None);
        assert_eq!(all(&mut unacked, None), Some(vec![4, 5]));
        assert_eq!(all(&mut unacked, None), Some(vec![]));
        assert_eq!(unacked.push(6), DeliveryTag(6));
    }

    #[test]
    fn one_that_stays_does_not_keep_the_others_places() {
        let mut unacked = Unacked::new();
        let stays = unacked.push(0);
        for number in 1..100_000 {
            let tag = unacked.push(number);
            assert_eq!(unacked.take(tag), Some(number));
        }
        assert!(unacked.ring.capacity() < 4 * SHORT, "{}", unacked.ring.capacity());
        let late = unacked.push(100_000);
        assert_eq!(all(&mut unacked, Some(late.0)), Some(vec![0, 100_000]));
        assert_eq!(unacked.take(stays), None);
    }
}
