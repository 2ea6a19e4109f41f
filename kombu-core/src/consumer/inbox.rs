//! The queue between a transport and a consumer's callback or stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::delivery::Delivery;
use crate::error::Error;
use crate::message::{Message, Origin};

/// Deliveries waiting for the application. The transport's prefetch bounds them.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// Nothing more will be handed over. Raised with the state locked.
    is_finished: AtomicBool,
    /// Whether what a finished consumer had taken out goes back at once.
    gives_back: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    /// The deliveries, each with the number of its origin.
    pub(super) waiting: VecDeque<(u32, Delivery)>,
    pub(super) origins: Origins<Arc<Origin>>,
    pub(super) waker: Option<Waker>,
    /// Whether a run of the callback is queued on its hub or under way.
    pub(super) is_scheduled: bool,
    /// Whether a thread is giving back what waits.
    is_giving_back: bool,
    /// Why it ended, if it was not asked to; told once.
    pub(super) failure: Option<Error>,
}

/// What to tell, with the state unlocked, once something was added.
pub(super) struct News {
    pub(super) waker: Option<Waker>,
    /// A run of the callback is to be queued.
    pub(super) starts_run: bool,
}

impl Inbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }

    pub(super) fn gives_back(&self) -> bool {
        self.gives_back.load(Ordering::Acquire)
    }

    /// Adds an origin and returns its number.
    pub(super) fn add_origin(&self, origin: Origin) -> u32 {
        self.lock().origins.add(Arc::new(origin))
    }

    /// Returns the numbers that origins added from now on will have at least: what came before belongs to a channel that is gone.
    pub(super) fn next_origin(&self) -> u32 {
        self.lock().origins.next()
    }

    /// Forgets origins numbered below `first` and what waits from them: their channel is gone and the broker gives those messages
    /// to somebody again.
    pub(super) fn forget_before(&self, first: u32) {
        let forgotten = {
            let mut state = self.lock();
            let (gone, kept) = std::mem::take(&mut state.waiting).into_iter().partition(|(origin, _)| *origin < first);
            state.waiting = kept;
            let gone: VecDeque<(u32, Delivery)> = gone;
            (gone, state.origins.forget_before(first))
        };
        drop(forgotten);
    }

    /// Ends it: nothing more is handed over. What waits goes back now if `gives_back`; else it goes back when its channel closes.
    pub(super) fn finish(&self, gives_back: bool) {
        let (dropped, waker) = {
            let mut state = self.lock();
            self.gives_back.store(gives_back, Ordering::Release);
            self.is_finished.store(true, Ordering::Release);
            let dropped = if gives_back { VecDeque::new() } else { std::mem::take(&mut state.waiting) };
            (dropped, state.waker.take())
        };
        drop(dropped);
        if gives_back {
            self.give_back(VecDeque::new());
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives back what a finished consumer still has: `taken`, and what came after it and waits.
    ///
    /// The last one goes first, and one thread at a time does it: each then gets its place at the head of the queue, also where
    /// a transport sends what is given back in more than one command.
    pub(super) fn give_back(&self, mut taken: VecDeque<(u32, Delivery)>) {
        {
            let mut state = self.lock();
            taken.append(&mut state.waiting);
            state.waiting = taken;
            if std::mem::replace(&mut state.is_giving_back, true) {
                return;
            }
        }
        loop {
            let (deliveries, origins) = {
                let mut state = self.lock();
                if state.waiting.is_empty() {
                    state.is_giving_back = false;
                    return;
                }
                (std::mem::take(&mut state.waiting), state.origins.clone())
            };
            for (origin, delivery) in deliveries.into_iter().rev() {
                if let Some(origin) = origins.get(origin) {
                    origin.give_back(&delivery);
                }
            }
        }
    }
}

impl State {
    /// Takes whom to tell of what was just added. A callback that has a run before it is not told again: the run looks here,
    /// under the same lock, before it ends.
    #[inline]
    pub(super) fn news(&mut self) -> News {
        News { waker: self.waker.take(), starts_run: !std::mem::replace(&mut self.is_scheduled, true) }
    }

    /// Says whether somebody is to be told of what was just put in, with [`put_news`](State::put_news).
    #[inline]
    pub(super) fn wants_wake(&mut self) -> bool {
        let starts_run = !std::mem::replace(&mut self.is_scheduled, true);
        starts_run || self.waker.is_some()
    }

    /// Takes whom to tell of what was put in, when nothing is locked: the run was noted as queued when it was put in.
    pub(super) fn put_news(&mut self) -> News {
        News { waker: self.waker.take(), starts_run: true }
    }

    /// Takes the next message.
    pub(super) fn pop(&mut self) -> Option<Message> {
        loop {
            let (origin, delivery) = self.waiting.pop_front()?;
            // Nothing waits from an origin that is forgotten. What came from a channel that is gone is delivered again; handled
            // now it would be handled twice.
            if let Some(origin) = self.origins.get(origin).filter(|origin| !origin.channel.is_gone()) {
                return Some(Message::new(delivery, Arc::clone(origin)));
            }
        }
    }
}

/// The origins of what waits, by number. Each start of the consumer adds one per queue and forgets those before.
#[derive(Clone, Debug)]
pub(super) struct Origins<T> {
    /// The number of the first one kept.
    first: u32,
    kept: Vec<T>,
}

impl<T> Origins<T> {
    /// Returns an origin that is not forgotten.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.kept.get(number.wrapping_sub(self.first) as usize)
    }

    /// Returns the number the next one gets.
    pub(super) fn next(&self) -> u32 {
        self.first.wrapping_add(self.kept.len() as u32)
    }

    /// Says whether an origin was forgotten: its channel is gone.
    #[inline]
    pub(super) fn has_forgotten(&self, number: u32) -> bool {
        self.get(number).is_none()
    }

    /// Says whether `other` holds the same origins.
    #[inline]
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.first, self.kept.len()) == (other.first, other.kept.len())
    }

    fn add(&mut self, origin: T) -> u32 {
        self.kept.push(origin);
        self.next().wrapping_sub(1)
    }

    fn forget_before(&mut self, first: u32) -> Vec<T> {
        let count = (first.wrapping_sub(self.first) as usize).min(self.kept.len());
        self.first = first;
        self.kept.drain(..count).collect()
    }
}

impl<T> Default for Origins<T> {
    fn default() -> Self {
        Origins { first: 0, kept: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_again_and_again_keeps_the_last_origins_only() {
        let mut origins = Origins::default();
        for start in 0..1000 {
            let first = origins.next();
            assert_eq!(origins.forget_before(first).len(), if start == 0 { 0 } else { 2 });
            assert_eq!((origins.add('a'), origins.add('b')), (2 * start, 2 * start + 1));
            assert_eq!(
                (origins.get(first), origins.get(first + 1), origins.get(first + 2)),
                (Some(&'a'), Some(&'b'), None)
            );
            assert!(start == 0 || origins.has_forgotten(first - 1));
        }
        assert_eq!(origins.kept.len(), 2);
    }
}
