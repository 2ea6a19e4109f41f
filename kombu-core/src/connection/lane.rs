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
        // A step that panics, or a hub that closes, ends this in the middle: whoever waits is told, and the next step starts
        // another worker.
        let mut guard = Abandon { lane: self, is_armed: true };
        while let Some(step) = self.next() {
            step.await;
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
        guard.is_armed = false;
    }

    fn next(&self) -> Option<Step> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.steps.pop_front();
        state.is_worked = step.is_some();
        step
    }
}

/// Clears the lane when its worker ends before its time.
struct Abandon<'a> {
    lane: &'a Lane,
    is_armed: bool,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        let steps = {
            let mut state = self.lane.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_worked = false;
            std::mem::take(&mut state.steps)
        };
        // The one under way counts too.
        self.lane.busy.fetch_sub(steps.len() + 1, Ordering::AcqRel);
        drop(steps);
    }
}
