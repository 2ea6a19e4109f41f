//! The timers of a hub, as every thread sees them: when they are due, and whom to wake earlier than planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use kombu_core::hub::{Class, instant_after};

use crate::per_class::{CLASSES, PerClass};
use crate::slots::Slots;

/// What is due.
pub(crate) enum Due {
    /// The callback kept on the hub's thread under this number.
    Callback(u64),
    /// The same, and it [asks](Timers::repeat) for its next turn afterwards.
    Repeated(u64),
    /// A waker from any thread.
    Wake(Waker),
}

/// What a timer does when it is due.
pub(crate) enum Action {
    /// Runs a callback that is kept on the hub's thread.
    Once,
    /// The same, every so often.
    Every(Duration),
    /// Wakes a waker.
    Wake(Waker),
}

/// Until when the hub's thread sleeps, as far as one class is concerned.
#[derive(Clone, Copy, Debug, Default)]
enum Sleep {
    /// It is awake, or a timer of this class is none of its business now: a new one needs to wake nobody.
    #[default]
    Awake,
    /// Until then, or for as long as it takes.
    Until(Option<Instant>),
}

/// All timers. Nothing foreign is called or dropped while the mutex is held.
pub(crate) struct Timers(Mutex<Table>);

struct Table {
    entries: Slots<Entry>,
    heaps: PerClass<BinaryHeap<Reverse<Place>>>,
    sleeps: PerClass<Sleep>,
    inserted: u64,
    /// Callbacks cancelled by another thread, to be dropped on the hub's.
    orphans: Vec<u64>,
    closed: bool,
}

struct Entry {
    class: Class,
    due: Instant,
    order: u64,
    action: Action,
}

/// A timer's place in its heap: by due time, then by insertion. It outlives a cancelled timer and is skipped then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    due: Instant,
    order: u64,
    key: usize,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Timers(Mutex::new(Table {
            entries: Slots::new(),
            heaps: PerClass::default(),
            sleeps: PerClass::default(),
            inserted: 0,
            orphans: Vec::new(),
            closed: false,
        }))
    }

    /// Adds a timer. Returns its number and whether the sleeping hub must be told, or the action when the hub is closed.
    pub(crate) fn insert(&self, class: Class, due: Instant, action: Action) -> Result<(u64, bool), Action> {
        let mut table = self.lock();
        if table.closed {
            return Err(action);
        }
        table.inserted += 1;
        let order = table.inserted;
        let key = table.entries.insert(Entry { class, due, order, action });
        table.heaps.of_mut(class).push(Reverse(Place { due, order, key }));
        let earlier = match table.sleeps.of(class) {
            Sleep::Awake => false,
            Sleep::Until(end) => end.is_none_or(|end| due < end),
        };
        Ok((key as u64, earlier))
    }

    /// Removes a timer. A callback of it is left to be dropped on the hub's thread, unless the caller says it does so (`here`).
    pub(crate) fn cancel(&self, number: u64, here: bool) {
        let Ok(key) = usize::try_from(number) else { return };
        let mut table = self.lock();
        let Some(entry) = table.entries.remove(key) else { return };
        if !here && !matches!(entry.action, Action::Wake(_)) {
            table.orphans.push(number);
        }
        table.compact(entry.class);
        // The entry may hold a waker, which is foreign.
        drop(table);
        drop(entry);
    }

    /// Removes every callback timer of `class`; returns how many.
    pub(crate) fn clear(&self, class: Class) -> usize {
        let mut table = self.lock();
        let mut cleared = 0;
        for key in table.entries.keys() {
            if table
                .entries
                .get(key)
                .is_some_and(|entry| entry.class == class && !matches!(entry.action, Action::Wake(_)))
                && table.entries.remove(key).is_some()
            {
                table.orphans.push(key as u64);
                cleared += 1;
            }
        }
        cleared
    }

    /// Takes the next timer of `classes` that is due at `now` and was inserted up to `last`: by due time, then by insertion.
    pub(crate) fn pop_due(&self, classes: &[Class], now: Instant, last: u64) -> Option<(Class, Due)> {
        let mut table = self.lock();
        let mut later = Vec::new();
        let found = loop {
            let Some(place) = table.peek(classes) else { break None };
            if place.0.due > now {
                break None;
            }
            let (place, class) = place;
            table.heaps.of_mut(class).pop();
            if place.order > last {
                later.push((class, place));
                continue;
            }
            break Some((class, place.key));
        };
        for (class, place) in later {
            table.heaps.of_mut(class).push(Reverse(place));
        }
        let (class, key) = found?;
        let number = key as u64;
        if table.entries.get(key).is_some_and(|entry| matches!(entry.action, Action::Every(_))) {
            return Some((class, Due::Repeated(number)));
        }
        match table.entries.remove(key)?.action {
            Action::Wake(waker) => Some((class, Due::Wake(waker))),
            Action::Once | Action::Every(_) => Some((class, Due::Callback(number))),
        }
    }

    /// Puts a repeated timer that just ran back in line; says whether it is still wanted. Turns missed by `now` are skipped.
    pub(crate) fn repeat(&self, number: u64, now: Instant) -> bool {
        let Ok(key) = usize::try_from(number) else { return false };
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(key) else { return false };
        let Action::Every(interval) = entry.action else { return false };
        entry.due = next_turn(entry.due, interval, now);
        let (class, place) = (entry.class, Place { due: entry.due, order: entry.order, key });
        table.heaps.of_mut(class).push(Reverse(place));
        true
    }

    /// Returns the insertion count: timers added later have a higher one.
    pub(crate) fn inserted(&self) -> u64 {
        self.lock().inserted
    }

    /// Returns when the next timer of `classes` is due.
    pub(crate) fn next_due(&self, classes: &[Class]) -> Option<Instant> {
        self.lock().peek(classes).map(|(place, _)| place.due)
    }

    /// Publishes that the hub sleeps until the next timer of `classes`, but not longer than `limit`, and returns that time.
    pub(crate) fn sleep(&self, classes: &[Class], limit: Option<Instant>) -> Option<Instant> {
        let mut table = self.lock();
        let due = table.peek(classes).map(|(place, _)| place.due);
        let end = match (due, limit) {
            (Some(due), Some(limit)) => Some(due.min(limit)),
            (due, limit) => due.or(limit),
        };
        for class in classes {
            *table.sleeps.of_mut(*class) = Sleep::Until(end);
        }
        end
    }

    /// Publishes that the hub is awake.
    pub(crate) fn awake(&self) {
        self.lock().sleeps = PerClass::default();
    }

    /// Counts the callback timers of `class`.
    pub(crate) fn count(&self, class: Class) -> usize {
        let table = self.lock();
        let keys = table.entries.keys();
        let of_class = |entry: &Entry| entry.class == class && !matches!(entry.action, Action::Wake(_));
        keys.into_iter().filter(|key| table.entries.get(*key).is_some_and(of_class)).count()
    }

    /// Takes the numbers of cancelled callbacks that are still kept.
    pub(crate) fn take_orphans(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().orphans)
    }

    /// Refuses new timers and returns the wakers of the old ones.
    pub(crate) fn close(&self) -> Vec<Waker> {
        let mut table = self.lock();
        table.closed = true;
        table.heaps = PerClass::default();
        let entries = table.entries.drain();
        drop(table);
        entries
            .into_iter()
            .filter_map(|entry| match entry.action {
                Action::Wake(waker) => Some(waker),
                Action::Once | Action::Every(_) => None,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held; a poisoned table is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Looks at the first living timer of `classes`, dropping the places of cancelled ones before it.
    fn peek(&mut self, classes: &[Class]) -> Option<(Place, Class)> {
        let mut first: Option<(Place, Class)> = None;
        for class in CLASSES {
            if !classes.contains(&class) {
                continue;
            }
            let heap = self.heaps.of_mut(class);
            while let Some(Reverse(place)) = heap.peek() {
                if self.entries.get(place.key).is_some() {
                    if first.is_none_or(|(earliest, _)| *place < earliest) {
                        first = Some((*place, class));
                    }
                    break;
                }
                heap.pop();
            }
        }
        first
    }

    /// Sweeps a heap that is mostly places of cancelled timers.
    fn compact(&mut self, class: Class) {
        let heap = self.heaps.of_mut(class);
        if heap.len() > 64 && heap.len() / 4 > self.entries.len() {
            heap.retain(|Reverse(place)| self.entries.get(place.key).is_some());
        }
    }
}

/// Returns the first multiple of `interval` after `due` that lies after `now`.
fn next_turn(due: Instant, interval: Duration, now: Instant) -> Instant {
    let interval = interval.max(Duration::from_nanos(1));
    let late = now.saturating_duration_since(due).as_nanos();
    let ahead = interval.as_nanos().saturating_mul(late / interval.as_nanos() + 1);
    let seconds = u64::try_from(ahead / 1_000_000_000).unwrap_or(u64::MAX);
    // The remainder of a division by 10^9 fits.
    let nanoseconds = u32::try_from(ahead % 1_000_000_000).unwrap_or(0);
    instant_after(due, Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::next_turn;

    #[test]
    fn missed_turns_are_skipped_without_drift() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(next_turn(start, second, start), start + second);
        assert_eq!(next_turn(start, second, start + Duration::from_millis(900)), start + second);
        assert_eq!(next_turn(start, second, start + Duration::from_millis(3500)), start + 4 * second);
        assert_eq!(next_turn(start, second, start + 3 * second), start + 4 * second);
    }

    #[test]
    fn an_interval_of_zero_moves_on() {
        let start = Instant::now();
        assert!(next_turn(start, Duration::ZERO, start) > start);
    }
}
