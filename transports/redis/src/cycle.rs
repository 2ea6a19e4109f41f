//! The queues that are consumed, in the order in which they are served.
//!
//! What has changed since the last tick is looked at, and nothing else: a message costs the same with one queue as with a
//! thousand. A consumer whose credit changes says so, to [`Credits`]; what else decides about a queue changes here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::ShortStr;

use crate::active_queue::ActiveQueue;
use crate::options::QueueOrder;
use crate::watch::Watch;

/// The queues whose consumers' credit has changed. Written from any thread.
#[derive(Default)]
pub(crate) struct Credits {
    changed: Mutex<Vec<ShortStr>>,
    /// Whether a channel has a window that its consumers share: then any may change with any other.
    is_shared: AtomicBool,
    /// Whether all may have changed.
    is_all: AtomicBool,
}

impl Credits {
    /// Notes that the credit of a consumer of `queue` has changed.
    pub(crate) fn note(&self, queue: &ShortStr) {
        self.lock().push(queue.clone());
    }

    /// Notes that a channel has a window, or another one than before.
    pub(crate) fn note_window(&self) {
        self.is_shared.store(true, Ordering::Release);
        self.is_all.store(true, Ordering::Release);
    }

    /// Says whether consumers may share a window.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ShortStr>> {
        // Nothing panics while the lock is held; a poisoned list is as good as any.
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a queue stands: lower ones are served first.
pub(crate) type Turn = (u64, ShortStr);

/// The queues with consumers.
pub(crate) struct Cycle {
    order: QueueOrder,
    queues: BTreeMap<Turn, ActiveQueue>,
    numbers: HashMap<ShortStr, u64>,
    last: u64,
    pub(crate) credits: Arc<Credits>,
    /// Those whose consumers have credit.
    open: BTreeSet<Turn>,
    /// Those of them that may have messages.
    busy: BTreeSet<Turn>,
    /// Those of them that have none, and that the server does not watch.
    unwatched: BTreeSet<Turn>,
    /// Those with a socket of their own that waits.
    waiting: BTreeSet<Turn>,
    /// Those with consumers without acknowledgement, whose credit changes without a word.
    silent: BTreeSet<Turn>,
    /// How often a queue was looked at: what the number of queues must not multiply.
    looks: u64,
}

impl Cycle {
    /// Makes one without queues.
    pub(crate) fn new(order: QueueOrder) -> Self {
        Cycle {
            order,
            queues: BTreeMap::new(),
            numbers: HashMap::new(),
            last: 0,
            credits: Arc::default(),
            open: BTreeSet::new(),
            busy: BTreeSet::new(),
            unwatched: BTreeSet::new(),
            waiting: BTreeSet::new(),
            silent: BTreeSet::new(),
            looks: 0,
        }
    }

    /// Adds a queue at the end.
    pub(crate) fn add(&mut self, queue: ActiveQueue) {
        let turn = self.next_turn(&queue.name);
        self.insert(turn, queue);
    }

    /// Takes a queue out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<ActiveQueue> {
        let turn = self.turn(name)?;
        let queue = self.queues.remove(&turn);
        self.numbers.remove(name);
        for set in [&mut self.open, &mut self.busy, &mut self.unwatched, &mut self.waiting, &mut self.silent] {
            set.remove(&turn);
        }
        queue
    }

    /// Takes every queue out.
    pub(crate) fn clear(&mut self) {
        let names: Vec<ShortStr> = self.numbers.keys().cloned().collect();
        names.iter().for_each(|name| drop(self.remove(name)));
    }

    /// The queue just served goes to the end.
    pub(crate) fn rotate(&mut self, name: &str) {
        if self.order == QueueOrder::RoundRobin
            && self.numbers.get(name).is_some_and(|number| *number != self.last)
            && let Some(queue) = self.remove(name)
        {
            self.add(queue);
        }
    }

    fn next_turn(&mut self, name: &ShortStr) -> Turn {
        // Where the name decides, the number does not.
        self.last += u64::from(self.order != QueueOrder::Sorted);
        (self.last, name.clone())
    }

    fn insert(&mut self, turn: Turn, queue: ActiveQueue) {
        self.numbers.insert(turn.1.clone(), turn.0);
        self.queues.insert(turn.clone(), queue);
        self.sort(&turn);
    }

    fn turn(&self, name: &str) -> Option<Turn> {
        self.numbers.get_key_value(name).map(|(name, number)| (*number, name.clone()))
    }

    // ---- what is there

    /// Returns a queue.
    pub(crate) fn get(&self, name: &str) -> Option<&ActiveQueue> {
        self.queues.get(&self.turn(name)?)
    }

    /// Returns the queue of a turn.
    pub(crate) fn at(&self, turn: &Turn) -> Option<&ActiveQueue> {
        self.queues.get(turn)
    }

    /// Changes a queue.
    pub(crate) fn change<T>(&mut self, name: &str, change: impl FnOnce(&mut ActiveQueue) -> T) -> Option<T> {
        let turn = self.turn(name)?;
        let changed = self.queues.get_mut(&turn).map(change);
        self.sort(&turn);
        changed
    }

    /// Changes every queue.
    pub(crate) fn change_all(&mut self, mut change: impl FnMut(&mut ActiveQueue)) {
        let turns: Vec<Turn> = self.queues.keys().cloned().collect();
        for turn in turns {
            if let Some(queue) = self.queues.get_mut(&turn) {
                change(queue);
            }
            self.sort(&turn);
        }
    }

    /// Returns every queue.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ActiveQueue> {
        self.queues.values()
    }

    /// Returns whose consumers have credit, and may have messages.
    pub(crate) fn busy(&self) -> &BTreeSet<Turn> {
        &self.busy
    }

    /// Returns whose consumers have credit.
    pub(crate) fn open(&self) -> &BTreeSet<Turn> {
        &self.open
    }

    /// Returns whose consumers have credit, that have no messages, and that the server does not watch.
    pub(crate) fn unwatched(&self) -> &BTreeSet<Turn> {
        &self.unwatched
    }

    /// Returns the queues with a socket of their own that waits.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &ActiveQueue> {
        self.waiting.iter().filter_map(|turn| self.queues.get(turn))
    }

    /// Returns how many have a socket of their own that waits.
    pub(crate) fn count_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns those with consumers without acknowledgement.
    pub(crate) fn silent(&self) -> impl Iterator<Item = &ActiveQueue> {
        self.silent.iter().filter_map(|turn| self.queues.get(turn))
    }

    /// Returns how often a queue was looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    // ---- what changes

    /// Notes how much the consumers may have whose credit has changed.
    pub(crate) fn look(&mut self) {
        let mut changed = std::mem::take(&mut *self.credits.lock());
        // Each consumer of a queue says so; one look at the queue looks at them all.
        changed.sort_unstable();
        changed.dedup();
        let is_all = self.credits.is_all.swap(false, Ordering::AcqRel);
        if is_all || self.credits.is_shared() && !changed.is_empty() {
            let turns: Vec<Turn> = self.queues.keys().cloned().collect();
            return turns.iter().for_each(|turn| self.look_at(turn));
        }
        for name in changed {
            if let Some(turn) = self.turn(&name) {
                self.look_at(&turn);
            }
        }
        if !self.silent.is_empty() {
            let silent: Vec<Turn> = self.silent.iter().cloned().collect();
            silent.iter().for_each(|turn| self.look_at(turn));
        }
    }

    fn look_at(&mut self, turn: &Turn) {
        self.looks += 1;
        if let Some(queue) = self.queues.get_mut(turn) {
            queue.look_at_credit();
        }
        self.sort(turn);
    }

    /// Puts a queue where it belongs.
    fn sort(&mut self, turn: &Turn) {
        let Some(queue) = self.queues.get(turn) else { return };
        let is_open = queue.credit() > 0;
        let set = |set: &mut BTreeSet<Turn>, belongs: bool| {
            if belongs == set.contains(turn) {
                return;
            }
            if belongs {
                set.insert(turn.clone());
            } else {
                set.remove(turn);
            }
        };
        set(&mut self.open, is_open);
        set(&mut self.busy, is_open && queue.may_have);
        set(&mut self.unwatched, is_open && !queue.may_have && queue.watch == Watch::No);
        set(&mut self.waiting, queue.has_waiter);
        set(&mut self.silent, queue.has_silent());
    }
}
