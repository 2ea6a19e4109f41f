//! How long to wait before the next attempt.

use std::time::Duration;

/// Growing waits between attempts, with jitter, so that a thousand clients do not come back at the same instant.
///
/// 0.1 s, doubled up to 10 s; each wait is between half of that and all of it.
pub(crate) struct Backoff {
    next: Duration,
    seed: u64,
}

impl Backoff {
    /// Makes one at its shortest wait; different seeds give different jitter.
    pub(crate) fn new(seed: u64) -> Self {
        Backoff { next: SHORTEST, seed: seed | 1 }
    }

    /// Returns how long to wait now, and waits longer the next time.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        // xorshift64: jitter needs no better randomness.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let part = u32::try_from(self.seed % 1000).unwrap_or(0);
        full / 2 + full / 2 * part / 1000
    }

    /// Starts again at the shortest wait, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_again() {
        let mut backoff = Backoff::new(42);
        let waits: Vec<_> = (0..12).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] >= SHORTEST / 2 && waits[0] <= SHORTEST);
        assert!(waits[11] >= LONGEST / 2 && waits[11] <= LONGEST);
        backoff.reset();
        assert!(backoff.next_wait() <= SHORTEST);
    }
}
