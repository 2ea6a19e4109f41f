//! Which exchanges a producer has declared.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::entity::Exchange;
use crate::short_str::ShortStr;

/// Remembers on which living channel each exchange was declared last.
///
/// Asked at every publish, and so without a lock for the first few exchanges: they have a place each, for good.
#[derive(Default)]
pub(super) struct Declared {
    places: [OnceLock<Place>; PLACES],
    others: Mutex<HashMap<ShortStr, u64>>,
}

struct Place {
    exchange: ShortStr,
    /// The number of the living channel; 0 is none.
    generation: AtomicU64,
}

const PLACES: usize = 4;

/// How many exchanges are remembered beside those with a place. Beyond it they are declared again.
const MOST_OTHERS: usize = 1000;

impl Declared {
    /// Says whether `exchange` has to be declared before it is used on the living channel `generation`.
    #[inline]
    pub(super) fn lacks(&self, exchange: &Exchange, generation: u64) -> bool {
        exchange.is_declarable() && !self.has(exchange.name(), generation)
    }

    /// Says whether `exchange` was declared on the living channel `generation`.
    #[inline]
    fn has(&self, exchange: &ShortStr, generation: u64) -> bool {
        for place in &self.places {
            match place.get() {
                Some(place) if place.exchange == *exchange => {
                    return place.generation.load(Ordering::Acquire) == generation;
                }
                Some(_) => {}
                None => return false,
            }
        }
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.get(exchange) == Some(&generation)
    }

    /// Notes that `exchange` was declared on the living channel `generation`.
    pub(super) fn note(&self, exchange: &ShortStr, generation: u64) {
        for place in &self.places {
            let place = place.get_or_init(|| Place { exchange: exchange.clone(), generation: AtomicU64::new(0) });
            if place.exchange == *exchange {
                place.generation.store(generation, Ordering::Release);
                return;
            }
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() >= MOST_OTHERS {
            others.clear();
        }
        others.insert(exchange.clone(), generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchange_is_declared_once_per_channel() {
        let declared = Declared::default();
        let names: Vec<ShortStr> = (0..3 * PLACES).map(|number| format!("exchange {number}").into()).collect();
        for generation in 1..3 {
            for name in &names {
                assert!(!declared.has(name, generation));
                declared.note(name, generation);
            }
            assert!(names.iter().all(|name| declared.has(name, generation)));
        }
    }
}
