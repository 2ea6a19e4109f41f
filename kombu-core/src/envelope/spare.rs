//! The memory of envelopes that are gone, kept for those to come.
//!
//! Each thread has a batch at hand to take from and put back to, and another beside it, so that a thread that does both seldom
//! needs more. Full batches that are too many go to a depot and from there to threads that have none: one lock for a batch, where
//! messages are published on one thread and settled on another.

use std::cell::RefCell;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Envelope;

/// Takes one, if there is one.
#[inline]
pub(super) fn take() -> Option<Arc<Envelope>> {
    // A thread that is ending has none.
    AT_HAND.try_with(|at_hand| at_hand.borrow_mut().take()).ok().flatten()
}

/// Keeps one, unless there are many. It is nobody else's, and holds nothing foreign.
#[inline]
pub(super) fn keep(envelope: Arc<Envelope>) {
    // A thread that is ending keeps none.
    _ = AT_HAND.try_with(|at_hand| at_hand.borrow_mut().keep(envelope));
}

type Batch = Vec<Arc<Envelope>>;

/// How many are in a full batch.
const FULL: usize = 64;

/// How many full batches the depot keeps.
const MOST_BATCHES: usize = 32;

/// What one thread has.
struct AtHand {
    current: Batch,
    /// Full or empty.
    other: Batch,
}

/// Full batches for any thread.
static DEPOT: Mutex<Vec<Batch>> = Mutex::new(Vec::new());

/// How many batches the depot has, to be looked at before it is locked.
static IN_DEPOT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static AT_HAND: RefCell<AtHand> = const { RefCell::new(AtHand { current: Vec::new(), other: Vec::new() }) };
}

impl AtHand {
    #[inline]
    fn take(&mut self) -> Option<Arc<Envelope>> {
        let spare = self.current.pop();
        let has_more = || !self.other.is_empty() || IN_DEPOT.load(Ordering::Relaxed) > 0;
        if spare.is_none() && has_more() { self.take_from_next() } else { spare }
    }

    #[inline]
    fn keep(&mut self, envelope: Arc<Envelope>) {
        if self.current.len() == FULL {
            self.put_away();
        }
        self.current.push(envelope);
    }

    #[cold]
    fn take_from_next(&mut self) -> Option<Arc<Envelope>> {
        mem::swap(&mut self.current, &mut self.other);
        if self.current.is_empty() && IN_DEPOT.load(Ordering::Relaxed) > 0 {
            let mut depot = DEPOT.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(full) = depot.pop() {
                IN_DEPOT.store(depot.len(), Ordering::Relaxed);
                self.current = full;
            }
        }
        self.current.pop()
    }

    /// Makes room for one more.
    #[cold]
    fn put_away(&mut self) {
        mem::swap(&mut self.current, &mut self.other);
        if self.current.len() < FULL {
            self.current.reserve_exact(FULL);
            return;
        }
        let mut depot = DEPOT.lock().unwrap_or_else(PoisonError::into_inner);
        if depot.len() < MOST_BATCHES {
            depot.push(mem::replace(&mut self.current, Vec::with_capacity(FULL)));
            IN_DEPOT.store(depot.len(), Ordering::Relaxed);
        } else {
            drop(depot);
            self.current.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_one_thread_leaves_another_takes_and_no_more_are_kept_than_fit() {
        let many = 2 * MOST_BATCHES * FULL;
        (0..many).for_each(|_| keep(Arc::new(Envelope::default())));
        assert!(AT_HAND.with_borrow(|at_hand| at_hand.current.len() <= FULL && at_hand.other.len() == FULL));
        assert_eq!(DEPOT.lock().unwrap().len(), MOST_BATCHES);
        let taken = thread::spawn(move || (0..many).map_while(|_| take()).count()).join().unwrap();
        assert_eq!(taken, MOST_BATCHES * FULL);
        assert!(AT_HAND.with_borrow(|at_hand| at_hand.other.len() == FULL), "those at hand stay with their thread");
    }
}
