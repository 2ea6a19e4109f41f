//! The lane: operations of one connection, one after the other, in the order of the calls.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// One operation on its way, as a future that answers whoever waits and never fails.
pub(super) type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A queue of operations with at most one task working it off.
#[derive(Default)]
pub(super) struct Lane {
    state: Mutex<LaneState>,
    /// Operations queued or under way; while it is 0, publishes may pass the lane by.
    busy: AtomicUsize,
}

#[derive(Default)]
struct LaneState {
    steps: VecDeque<Step>,
    is_worked: bool,
}

impl Lane {
    /// Says whether nothing is queued or under way.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Acquire) == 0
    }

    /// Queues a step; says whether the caller must start a task that calls [`work`](Lane::work).
    pub(super) fn push(&self, step: Step) -> bool {
        self.busy.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.steps.push_back(step);
        !std::mem::replace(&mut state.is_worked, true)
    }

    /// Works off steps until there is none.
    pub(super) async fn work(&self) {
        while let Some(step) = self.next() {
            step.await;
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn next(&self) -> Option<Step> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.steps.pop_front();
        state.is_worked = step.is_some();
        step
    }
}
