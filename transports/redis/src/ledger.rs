//! Which fields of `unacked` may be ours: from the moment a claim is sent until the server has answered what settled them.
//!
//! The life sign tells the server (see [`lease`](crate::lease)), so that the messages of a consumer that died are found without
//! a search. Claims take numbers one after the other, so what is held is written as a few ranges.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

/// The numbers that may be in use.
#[derive(Default)]
pub(crate) struct Ledger {
    next: u64,
    /// By the first number.
    blocks: BTreeMap<u64, Block>,
}

/// The numbers of one claim.
struct Block {
    open: u32,
    taken: Instant,
    bits: [u64; WORDS],
}

impl Ledger {
    /// Takes `count` numbers, at most [`MAX_COUNT`]; returns the first.
    pub(crate) fn take(&mut self, count: usize, now: Instant) -> u64 {
        let count = count.min(MAX_COUNT);
        let first = self.next + 1;
        self.next += count as u64;
        if count > 0 {
            let mut bits = [0; WORDS];
            (0..count).for_each(|at| bits[at / 64] |= 1 << (at % 64));
            self.blocks.insert(first, Block { open: u32::try_from(count).unwrap_or(u32::MAX), taken: now, bits });
        }
        first
    }

    /// Returns the number that is taken next.
    pub(crate) fn next(&self) -> u64 {
        self.next + 1
    }

    /// Notes that nothing is recorded under these numbers, or not any more.
    pub(crate) fn close(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let Some((first, block)) = self.blocks.range_mut(..=number).next_back() else { continue };
            let first = *first;
            // The line above looked no further than `number`.
            let at = usize::try_from(number - first).unwrap_or(usize::MAX);
            let Some(word) = block.bits.get_mut(at / 64) else { continue };
            let bit = 1 << (at % 64);
            if *word & bit == 0 {
                continue;
            }
            *word &= !bit;
            block.open -= 1;
            if block.open == 0 {
                self.blocks.remove(&first);
            }
        }
    }

    /// Notes that nothing is held any more.
    pub(crate) fn close_all(&mut self) {
        self.blocks.clear();
    }

    /// Says whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns the numbers held.
    pub(crate) fn held(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().flat_map(|(first, block)| block.numbers(*first))
    }

    /// Returns the numbers held that were taken at `time` or before.
    pub(crate) fn taken_before(&self, time: Instant) -> Vec<u64> {
        let old = self.blocks.iter().filter(|(_, block)| block.taken <= time);
        old.flat_map(|(first, block)| block.numbers(*first)).collect()
    }

    /// Returns the numbers held from `first` on as text: `7,9-12`.
    pub(crate) fn to_text(&self, first: u64) -> String {
        let mut text = String::new();
        let mut push = |from: u64, to: u64| {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = if from == to { write!(text, "{comma}{from}") } else { write!(text, "{comma}{from}-{to}") };
        };
        let mut range: Option<(u64, u64)> = None;
        for number in self.held().filter(|number| *number >= first) {
            range = match range {
                Some((from, to)) if to + 1 == number => Some((from, number)),
                Some((from, to)) => {
                    push(from, to);
                    Some((number, number))
                }
                None => Some((number, number)),
            };
        }
        if let Some((from, to)) = range {
            push(from, to);
        }
        text
    }
}

impl Block {
    /// Returns the numbers that are open, the first of the block being `first`.
    fn numbers(&self, first: u64) -> impl Iterator<Item = u64> {
        let is_set = |at: &usize| self.bits[at / 64] & (1 << (at % 64)) != 0;
        (0..MAX_COUNT).filter(is_set).map(move |at| first + at as u64)
    }
}

/// Reads what [`Ledger::to_text`] wrote; what cannot be read is left out.
pub(crate) fn read_ranges(text: &str) -> impl Iterator<Item = u64> {
    text.split(',').filter_map(range).flatten()
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u64>> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

const WORDS: usize = 4;
/// How many numbers are taken at once, at most.
pub(crate) const MAX_COUNT: usize = WORDS * 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_written_as_ranges_and_read_back() {
        let mut ledger = Ledger::default();
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        assert_eq!((ledger.take(5, now), ledger.take(1, now), ledger.take(256, later)), (1, 6, 7));
        ledger.close([2, 3, 6, 7, 7, 1000]);
        assert_eq!(ledger.to_text(0), "1,4-5,8-262");
        assert_eq!(ledger.to_text(5), "5,8-262");
        assert_eq!(ledger.taken_before(now), [1, 4, 5]);
        let held: Vec<u64> = ledger.held().collect();
        assert_eq!(ledger.taken_before(later), held);
        assert_eq!(read_ranges("1,4-5,8-262").collect::<Vec<_>>(), held);
        ledger.close(1..=262);
        assert!(ledger.is_empty());
        assert_eq!((ledger.to_text(0), ledger.next()), (String::new(), 263));
        assert_eq!(read_ranges(",x,3-,5").collect::<Vec<_>>(), [5]);
    }
}
