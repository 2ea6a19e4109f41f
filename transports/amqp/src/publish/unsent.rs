//! How much is handed to the client at once: little, so that it is still in the processor's caches when it is written.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::State;

/// What the client has taken and not written yet, in steps.
#[derive(Default)]
pub(super) struct Unsent {
    /// How many flights of the channel were launched.
    launched: u64,
    /// Bytes launched since the last step was full.
    step: usize,
    /// The last flight of each full step that is not known to have left.
    full: VecDeque<u64>,
}

impl Unsent {
    /// Notes that a flight of `size` bytes was launched.
    pub(super) fn launched(&mut self, size: usize) {
        self.launched += 1;
        self.step += size;
        if self.step >= STEP {
            self.full.push_back(self.launched);
            self.step = 0;
        }
    }

    /// Notes that the flights up to this one have left.
    fn departed(&mut self, number: u64) {
        while self.full.front().is_some_and(|first| *first <= number) {
            self.full.pop_front();
        }
    }

    /// Returns the flight that has to leave before another is launched.
    fn gate(&self) -> Option<u64> {
        if self.full.len() < STEPS { None } else { self.full.front().copied() }
    }
}

impl State {
    /// Says whether the client may have more. If not, the pump is woken when it may.
    pub(super) fn has_room(&mut self) -> bool {
        while let Some(gate) = self.unsent.gate() {
            if let Some(channel) = &self.channel {
                self.unsent.departed(channel.departed());
            }
            if self.unsent.gate() == Some(gate) && self.waits_for(gate) {
                return false;
            }
        }
        true
    }

    /// Looks whether the flight with this number has left; if not, it wakes the pump.
    fn waits_for(&mut self, gate: u64) -> bool {
        // The last entry is the last that was launched; those at the front that are done with are forgotten.
        let behind = usize::try_from(self.unsent.launched - gate).unwrap_or(usize::MAX);
        let at = self.in_flight.len().checked_sub(1).and_then(|last| last.checked_sub(behind));
        if let Some(entry) = at.and_then(|at| self.in_flight.get_mut(at)).filter(|entry| entry.flight.is_some()) {
            let mut cx = Context::from_waker(self.pump.as_ref().unwrap_or(Waker::noop()));
            match entry.poll(&mut cx) {
                Poll::Pending if self.channel.as_ref().is_some_and(|channel| channel.departed() < gate) => return true,
                Poll::Pending => {}
                // It is read with the others.
                Poll::Ready(landed) => {
                    entry.flight = Some(Box::pin(std::future::ready(landed)));
                    cx.waker().wake_by_ref();
                }
            }
        }
        self.unsent.departed(gate);
        false
    }
}

/// Bytes in a step: what an ordinary socket takes at once.
const STEP: usize = 64 << 10;
/// How many steps the client may have: one to write, while the next is filled.
const STEPS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_may_be_under_way() {
        let mut unsent = Unsent::default();
        let mut launch = |count: u64, size: usize| {
            (0..count).for_each(|_| unsent.launched(size));
            unsent.gate()
        };
        assert_eq!(launch(63, 1 << 10), None);
        assert_eq!(launch(64, 1 << 10), None);
        assert_eq!(launch(1, 1 << 10), Some(64));
        assert_eq!(launch(1, 1 << 20), Some(64));
        unsent.departed(63);
        assert_eq!(unsent.gate(), Some(64));
        unsent.departed(127);
        assert_eq!(unsent.gate(), Some(128));
        unsent.departed(128);
        assert_eq!(unsent.gate(), None, "one step alone is no reason to wait");
        unsent.launched(1 << 20);
        assert_eq!(unsent.gate(), Some(129));
        unsent.departed(u64::MAX);
        assert_eq!(unsent.gate(), None);
    }
}
