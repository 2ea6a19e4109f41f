//! What is told once the state of a publisher is unlocked.

use kombu_core::reply::ReplySender;
use kombu_core::{Confirmation, Result, Returned};

use super::Publisher;
use super::entry::Entry;

/// What is told once the state is unlocked.
#[derive(Default)]
pub(super) struct Told {
    pub(super) answers: Vec<(ReplySender<Result<Confirmation>>, Result<Confirmation>)>,
    pub(super) strays: Vec<Returned>,
    pub(super) passed: Vec<ReplySender<()>>,
    /// What counts no longer in the backlog.
    pub(super) freed: usize,
}

impl Told {
    /// Answers `entry` and counts it no longer.
    pub(super) fn finish(&mut self, entry: Entry, result: Result<Confirmation>) {
        self.freed += entry.size;
        if let Some(answer) = entry.answer {
            self.answers.push((answer, result));
        }
    }
}

impl Publisher {
    pub(super) fn tell(&self, told: Told) {
        if told.freed > 0 {
            self.session.backlog.remove(told.freed);
            self.session.backlog.wake();
        }
        for (answer, result) in told.answers {
            answer.send(result);
        }
        drop(told.passed);
        if !told.strays.is_empty()
            && let Some(events) = self.events.get()
        {
            told.strays.into_iter().for_each(|returned| events.returned(returned));
        }
    }
}
