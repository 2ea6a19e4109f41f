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
    pub(super) origins: Vec<Arc<Origin>>,
    pub(super) waker: Option<Waker>,
    /// Whether a run of the callback is queued on its hub or under way.
    pub(super) is_scheduled: bool,
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
        let mut state = self.lock();
        state.origins.push(Arc::new(origin));
        u32::try_from(state.origins.len() - 1).unwrap_or(u32::MAX)
    }

    /// Returns the numbers that origins added from now on will have at least: what came before belongs to a channel that is gone.
    pub(super) fn next_origin(&self) -> u32 {
        u32::try_from(self.lock().origins.len()).unwrap_or(u32::MAX)
    }

    /// Forgets what waits from origins numbered below `first`: their channel is gone and the broker gives those messages to
    /// somebody again.
    pub(super) fn forget_before(&self, first: u32) {
        let forgotten: Vec<_> = {
            let mut state = self.lock();
            let (gone, kept) = std::mem::take(&mut state.waiting).into_iter().partition(|(origin, _)| *origin < first);
            state.waiting = kept;
            let gone: VecDeque<(u32, Delivery)> = gone;
            gone.into()
        };
        drop(forgotten);
    }

    /// Ends it: nothing more is handed over. What waits goes back now if `gives_back`; else it goes back when its channel closes.
    pub(super) fn finish(&self, gives_back: bool) {
        let (waiting, origins, waker) = {
            let mut state = self.lock();
            self.gives_back.store(gives_back, Ordering::Release);
            self.is_finished.store(true, Ordering::Release);
            (std::mem::take(&mut state.waiting), state.origins.clone(), state.waker.take())
        };
        if gives_back {
            for (origin, delivery) in &waiting {
                origins[*origin as usize].give_back(delivery);
            }
        }
        if let Some(waker) = waker {
            waker.wake();
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
        let (origin, delivery) = self.waiting.pop_front()?;
        Some(Message::new(delivery, Arc::clone(&self.origins[origin as usize])))
    }
}
