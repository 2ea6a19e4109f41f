//! What a channel delivered and nobody has settled.

use std::collections::BTreeMap;

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
/// Tags are consecutive, so a delivery is found in a ring by its tag alone; settled ones leave holes until they reach the front. A
/// delivery that stays while many others are settled would keep the ring growing: when a full ring is mostly holes, its older half
/// is moved into a tree instead.
#[derive(Debug)]
pub(crate) struct Unacked<T = Unsettled> {
    /// A power of two of places; that of a tag is the tag modulo their number.
    ring: Vec<Option<T>>,
    /// The lowest tag that may be in the ring.
    first: u64,
    /// The next tag.
    next: u64,
    /// Deliveries older than `first`.
    stragglers: BTreeMap<u64, T>,
    held: usize,
}

/// How many places a ring has at first, and how many it has before it is worth looking for holes.
const FEW: usize = 8;
const MANY: usize = 256;

impl<T> Unacked<T> {
    pub(crate) fn new() -> Self {
        Unacked { ring: Vec::new(), first: 1, next: 1, stragglers: BTreeMap::new(), held: 0 }
    }

    /// Gives the next tag to a delivery that must be settled.
    #[inline]
    pub(crate) fn push(&mut self, delivery: T) -> DeliveryTag {
        if self.next - self.first == self.ring.len() as u64 {
            self.make_room();
        }
        let tag = self.next;
        self.next += 1;
        self.held += 1;
        let place = self.place(tag);
        // The place is free: make_room saw to it. Saying so spares looking for something to drop.
        if let Some(place @ None) = self.ring.get_mut(place) {
            *place = Some(delivery);
        }
        DeliveryTag(tag)
    }

    /// Gives the next tag to a delivery that counts as settled.
    #[inline]
    pub(crate) fn pass(&mut self) -> DeliveryTag {
        if self.first == self.next {
            self.first += 1;
        } else if self.next - self.first == self.ring.len() as u64 {
            self.make_room();
        }
        let tag = self.next;
        self.next += 1;
        DeliveryTag(tag)
    }

    /// Takes one delivery out.
    // Always, for callers use but a part of what they get.
    #[inline(always)]
    pub(crate) fn take(&mut self, tag: DeliveryTag) -> Option<T> {
        if tag.0 < self.first {
            let delivery = self.stragglers.remove(&tag.0)?;
            self.held -= 1;
            return Some(delivery);
        }
        if tag.0 >= self.next {
            return None;
        }
        let place = self.place(tag.0);
        let delivery = self.ring.get_mut(place)?.take()?;
        self.held -= 1;
        if tag.0 == self.first {
            self.first += 1;
            self.skip_holes();
        }
        Some(delivery)
    }

    /// Takes every delivery up to `tag` out, in order of tags, or all when there is no tag. `None`, and nothing is taken, when
    /// `tag` itself is not held.
    pub(crate) fn take_up_to(&mut self, tag: Option<DeliveryTag>, taken: &mut Vec<T>) -> Option<()> {
        if tag.is_some_and(|tag| !self.holds(tag)) {
            return None;
        }
        let before = taken.len();
        let last = tag.map_or(self.next - 1, |tag| tag.0);
        let later = self.stragglers.split_off(&(last + 1));
        taken.extend(std::mem::replace(&mut self.stragglers, later).into_values());
        while self.first <= last {
            let place = self.place(self.first);
            taken.extend(self.ring.get_mut(place).and_then(Option::take));
            self.first += 1;
        }
        self.skip_holes();
        self.held -= taken.len() - before;
        Some(())
    }

    fn holds(&self, tag: DeliveryTag) -> bool {
        if tag.0 < self.first {
            return self.stragglers.contains_key(&tag.0);
        }
        tag.0 < self.next && matches!(self.ring.get(self.place(tag.0)), Some(Some(_)))
    }

    /// Where in the ring a tag is. The mask keeps the index inside, so nothing is lost by cutting the tag to the machine's size.
    #[inline]
    fn place(&self, tag: u64) -> usize {
        tag as usize & self.ring.len().wrapping_sub(1)
    }

    #[inline]
    fn skip_holes(&mut self) {
        while self.first < self.next
            && let Some(None) = self.ring.get(self.place(self.first))
        {
            self.first += 1;
        }
    }

    /// Makes a full ring take more: when it is mostly holes, its older half moves into the tree, else it doubles. Costs a look at
    /// each place, for at least as many pushes as half the places.
    #[cold]
    fn make_room(&mut self) {
        if self.ring.len() >= MANY && self.held - self.stragglers.len() <= self.ring.len() / 4 {
            let middle = self.first + self.ring.len() as u64 / 2;
            while self.first < middle {
                let place = self.place(self.first);
                if let Some(delivery) = self.ring.get_mut(place).and_then(Option::take) {
                    self.stragglers.insert(self.first, delivery);
                }
                self.first += 1;
            }
            self.skip_holes();
            return;
        }
        let size = (self.ring.len() * 2).max(FEW);
        let mut ring: Vec<Option<T>> = Vec::new();
        ring.resize_with(size, || None);
        for tag in self.first..self.next {
            let place = self.place(tag);
            ring[tag as usize & (size - 1)] = self.ring.get_mut(place).and_then(Option::take);
        }
        self.ring = ring;
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
        assert_eq!((unacked.held, unacked.first), (0, 4));
        assert_eq!(unacked.pass(), DeliveryTag(4));
    }

    #[test]
    fn up_to_a_tag_takes_in_order_and_leaves_the_rest() {
        let mut unacked = Unacked::new();
        (1..=5).for_each(|number| assert_eq!(unacked.push(number).0, number));
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
        assert_eq!(unacked.ring.len(), MANY);
        let late = unacked.push(100_000);
        assert_eq!(all(&mut unacked, Some(late.0)), Some(vec![0, 100_000]));
        assert_eq!(unacked.take(stays), None);
    }
}
