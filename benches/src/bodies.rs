//! The messages that are measured with, and how their arrival is checked.

use bytes::Bytes;
use kombu::ShortStr;
use kombu::serialization::Body;

/// A set of JSON bodies of equal length, each with its number inside.
///
/// They are made before the clock starts: what is measured is messaging, on every side of a comparison.
#[derive(Clone)]
pub struct Bodies(Vec<Body>);

/// How many different bodies there are; message number `n` has body `n % BODIES`.
pub const BODIES: usize = 256;

const JSON: ShortStr = ShortStr::from_static("application/json");
const UTF_8: ShortStr = ShortStr::from_static("utf-8");

/// The number in the first body; all numbers have as many digits.
const FIRST: usize = 1_000_000;

impl Bodies {
    /// Makes bodies of `length` bytes.
    ///
    /// # Panics
    ///
    /// When `length` is too short for a number, which takes 32 bytes.
    pub fn new(length: usize) -> Self {
        assert!(length >= 32, "a body has at least 32 bytes");
        Bodies((0..BODIES).map(|number| Self::body(number, length)).collect())
    }

    fn body(number: usize, length: usize) -> Body {
        let start = format!("{{\"id\": {}, \"text\": \"", FIRST + number);
        let text = format!("{start}{}\"}}", "kombu ".repeat(length).split_at(length - start.len() - 2).0);
        assert_eq!(text.len(), length);
        Body::new(JSON, UTF_8, text)
    }

    /// Returns the body of message number `index`.
    pub fn at(&self, index: u64) -> Body {
        self.0[index as usize % BODIES].clone()
    }

    /// Returns the body of message number `index` in memory of its own, as a publisher has it that has just written it.
    pub fn copy_at(&self, index: u64) -> Body {
        Body::new(JSON, UTF_8, Bytes::copy_from_slice(self.bytes_at(index)))
    }

    /// Returns the bytes of message number `index`.
    pub fn bytes_at(&self, index: u64) -> &[u8] {
        &self.0[index as usize % BODIES].bytes
    }

    /// Returns the bodies as texts, for a peer in another process.
    pub fn texts(&self) -> Vec<&str> {
        self.0.iter().map(|body| std::str::from_utf8(&body.bytes).unwrap()).collect()
    }

    /// Returns what a receiver of the messages `0..count` must have counted.
    pub fn tally(&self, count: u64) -> Tally {
        let mut tally = Tally::default();
        (0..count).for_each(|index| tally.add(&self.0[index as usize % BODIES].bytes));
        tally
    }
}

/// Count and checksum of received bodies, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many came.
    pub count: u64,
    sum: u64,
}

impl Tally {
    /// Counts `body` by its length, its first 16 bytes, which hold its number, and its last 8.
    #[inline]
    pub fn add(&mut self, body: &[u8]) {
        let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        let length = body.len();
        self.count += 1;
        self.sum =
            self.sum.wrapping_add(word(0) ^ word(8).rotate_left(21) ^ word(length - 8).rotate_left(42) ^ length as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_with_its_number() {
        let bodies = Bodies::new(400);
        for (number, text) in bodies.texts().into_iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!((value["id"].as_u64(), text.len()), (Some(1_000_000 + number as u64), 400));
        }
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_body_change_the_tally() {
        let bodies = Bodies::new(400);
        let tally = |indexes: &[u64]| {
            let mut tally = Tally::default();
            indexes.iter().for_each(|index| tally.add(&bodies.at(*index).bytes));
            tally
        };
        assert_eq!(tally(&[2, 0, 1]), bodies.tally(3));
        assert_ne!(tally(&[0, 1]), bodies.tally(3));
        assert_ne!(tally(&[0, 1, 1]), bodies.tally(3));
        assert_ne!(tally(&[0, 1, 3]), bodies.tally(3));
    }
}
