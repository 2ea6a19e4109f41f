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
    AT_HAND.try_with(|at_hand| at_hand.borrow_mut().take(&DEPOT)).ok().flatten()
}

/// Keeps one, unless there are many. It is nobody else's, and holds nothing foreign.
#[inline]
pub(super) fn keep(envelope: Arc<Envelope>) {
    // A thread that is ending keeps none.
    _ = AT_HAND.try_with(|at_hand| at_hand.borrow_mut().keep(envelope, &DEPOT));
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
struct Depot {
    batches: Mutex<Vec<Batch>>,
    /// How many there are, to be looked at before they are locked.
    count: AtomicUsize,
}

static DEPOT: Depot = Depot::new();

thread_local! {
    static AT_HAND: RefCell<AtHand> = const { RefCell::new(AtHand::new()) };
}

impl AtHand {
    const fn new() -> Self {
        AtHand { current: Vec::new(), other: Vec::new() }
    }

    #[inline]
    fn take(&mut self, depot: &Depot) -> Option<Arc<Envelope>> {
        let spare = self.current.pop();
        let has_more = || !self.other.is_empty() || depot.has_some();
        if spare.is_none() && has_more() { self.take_from_next(depot) } else { spare }
    }

    #[inline]
    fn keep(&mut self, envelope: Arc<Envelope>, depot: &Depot) {
        if self.current.len() == FULL {
            self.put_away(depot);
        }
        self.current.push(envelope);
    }

    #[cold]
    fn take_from_next(&mut self, depot: &Depot) -> Option<Arc<Envelope>> {
        mem::swap(&mut self.current, &mut self.other);
        if self.current.is_empty()
            && let Some(full) = depot.take()
        {
            self.current = full;
        }
        self.current.pop()
    }

    /// Makes room for one more.
    #[cold]
    fn put_away(&mut self, depot: &Depot) {
        mem::swap(&mut self.current, &mut self.other);
        if self.current.len() < FULL {
            self.current.reserve_exact(FULL);
        } else {
            depot.keep(&mut self.current);
        }
    }
}

impl Depot {
    const fn new() -> Self {
        Depot { batches: Mutex::new(Vec::new()), count: AtomicUsize::new(0) }
    }

    fn has_some(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> Option<Batch> {
        if !self.has_some() {
            return None;
        }
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let full = batches.pop();
        self.count.store(batches.len(), Ordering::Relaxed);
        full
    }

    /// Leaves `full` empty.
    fn keep(&self, full: &mut Batch) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() < MOST_BATCHES {
            batches.push(mem::replace(full, Vec::with_capacity(FULL)));
            self.count.store(batches.len(), Ordering::Relaxed);
        } else {
            drop(batches);
            full.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_leaves_another_takes_and_no_more_are_kept_than_fit() {
        let (depot, mut one, mut other) = (Depot::new(), AtHand::new(), AtHand::new());
        let many = 2 * MOST_BATCHES * FULL;
        (0..many).for_each(|_| one.keep(Arc::default(), &depot));
        assert!(one.current.len() <= FULL && one.other.len() == FULL);
        assert_eq!(depot.batches.lock().unwrap().len(), MOST_BATCHES);
        let taken = (0..many).map_while(|_| other.take(&depot)).count();
        assert_eq!(taken, MOST_BATCHES * FULL);
        assert_eq!(one.other.len(), FULL, "those at hand stay with their thread");
    }

    #[test]
    fn each_thread_has_its_own_at_hand() {
        keep(Arc::default());
        let at_hand = || AT_HAND.with_borrow(|at_hand| at_hand.current.len());
        let mine = at_hand();
        assert_eq!(std::thread::spawn(at_hand).join().unwrap(), 0);
        assert_eq!(at_hand(), mine);
    }
}
