//! A slab whose keys are not used again.

use slab::Slab;

/// Values under keys that say which slot and which use of that slot: a key outlives its value without meaning another one.
///
/// A key is never 0 and fits a mio `Token`. Where `usize` has 64 bits, 2^28 values fit at once and a stale key is mistaken only
/// after 2^36 insertions.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slab: Slab<(usize, T)>,
    last_use: usize,
}

const SLOT_BITS: u32 = usize::BITS * 7 / 16;
const SLOT_MASK: usize = (1 << SLOT_BITS) - 1;

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Slots { slab: Slab::new(), last_use: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        self.last_use = match self.last_use.wrapping_add(1) << SLOT_BITS >> SLOT_BITS {
            0 => 1,
            next => next,
        };
        self.slab.insert((self.last_use, value)) | self.last_use << SLOT_BITS
    }

    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        self.slab.get(key & SLOT_MASK).filter(|entry| entry.0 == key >> SLOT_BITS).map(|entry| &entry.1)
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.slab.get_mut(key & SLOT_MASK).filter(|entry| entry.0 == key >> SLOT_BITS).map(|entry| &mut entry.1)
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key & SLOT_MASK).1)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(slot, entry)| slot | entry.0 << SLOT_BITS).collect()
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.slab.drain().map(|entry| entry.1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_key_does_not_mean_the_next_value_of_its_slot() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_ne!(first, second);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.keys(), [second]);
    }
}
