//! Which of several brokers is tried next.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// The order in which the brokers of a connection with several URLs are tried; see
/// [`ConnectionBuilder::failover_strategy`](super::ConnectionBuilder::failover_strategy). Every broker is tried once in each round,
/// and after a round that reached none there is a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverStrategy {
    /// In the order of the URLs; the default. A lost broker is tried again first.
    #[default]
    RoundRobin,
    /// In another random order each round, so that the clients of a lost broker do not all run to the same next one.
    Shuffle,
}

impl FailoverStrategy {
    /// Returns which of `count` brokers is tried at attempt number `attempt`; `seed` differs from connection to connection.
    pub(super) fn pick(self, attempt: usize, count: usize, seed: u64) -> usize {
        match self {
            FailoverStrategy::RoundRobin => attempt % count,
            FailoverStrategy::Shuffle => {
                let mut order: Vec<usize> = (0..count).collect();
                let mut random = seed ^ (attempt / count) as u64;
                for end in (1..count).rev() {
                    random = mixed(random);
                    order.swap(end, (random % (end as u64 + 1)) as usize);
                }
                order[attempt % count]
            }
        }
    }
}

/// Returns a number no other connection of any process is likely to have.
pub(super) fn seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(NEXT.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}

/// SplitMix64's finalizer.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_tries_every_broker_once() {
        for strategy in [FailoverStrategy::RoundRobin, FailoverStrategy::Shuffle] {
            for round in 0..50 {
                let mut tried: Vec<usize> = (0..5).map(|at| strategy.pick(round * 5 + at, 5, 7)).collect();
                tried.sort_unstable();
                assert_eq!(tried, [0, 1, 2, 3, 4]);
            }
        }
        let round =
            |number: usize| (0..5).map(|at| FailoverStrategy::Shuffle.pick(number * 5 + at, 5, 7)).collect::<Vec<_>>();
        assert!((1..20).any(|number| round(number) != round(0)), "every round has the same order");
        let first: std::collections::HashSet<usize> =
            (0..50).map(|_| FailoverStrategy::Shuffle.pick(0, 5, seed())).collect();
        assert!(first.len() > 1, "every connection begins at the same broker");
    }
}
