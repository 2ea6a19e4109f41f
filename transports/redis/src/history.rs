//! Whether the server still has what this process has declared.
//!
//! A server that comes back, or another that takes its place, may have lost everything, what came last, or nothing. What it has lost is
//! declared again. What it has not lost is not: what is missing then was deleted by somebody else, and stays so.
//!
//! What is declared is counted on the server, after it is there. A server that has the count has what came before it, whether it reads
//! its log, an older snapshot, or a master's stream. So a connection that comes back asks whether its last count is among what was lost.

use std::collections::BTreeSet;

use kombu_core::ShortStr;
use redis::Value;

use crate::request::Request;
use crate::scripts::{Count, Mark};
use crate::session::Session;

/// What a connection knows of what the server has counted.
#[derive(Default)]
pub(crate) struct History {
    /// The last count.
    known: Option<Mark>,
    /// How many of the process's declarations came before it.
    counted: u64,
    /// Tells the question under way from those that are void.
    round: u64,
    is_asked: bool,
    /// Queues that were declared here, and that a publisher has found missing.
    missed: BTreeSet<ShortStr>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// Whether one more is counted.
    counts: bool,
    /// Whether all is lost if the server does not know.
    is_doubtful: bool,
    /// How many declarations of the process there were.
    told: u64,
    round: u64,
}

impl Session {
    /// Notes that something was declared that the server keeps.
    pub(crate) fn note_told(&self) {
        self.topology.note_told();
        self.touch();
    }

    /// Counts what was declared since the last time. Once per tick.
    pub(crate) fn submit_history(&self) {
        let told = self.topology.told();
        let asking = {
            let mut history = self.lock(&self.history);
            if history.is_asked || history.counted >= told {
                return;
            }
            history.ask(true, false, told)
        };
        self.ask_history(asking);
    }

    /// A connection stands again; perhaps to a server that was started meanwhile (`is_new_run`).
    pub(crate) fn handle_up_for_history(&self, is_new_run: bool) {
        let asking = {
            let mut history = self.lock(&self.history);
            history.is_asked = false;
            history.known.is_some().then(|| history.ask(false, is_new_run, self.topology.told()))
        };
        match asking {
            Some(asking) => self.ask_history(asking),
            // Nothing was counted, so there is nothing to ask for.
            None if is_new_run => self.assert_all_bindings(),
            None => {}
        }
    }

    /// The server has lost everything: what this process declared is declared again, before whatever is sent from now on.
    pub(crate) fn handle_lost_history(&self) {
        {
            let mut history = self.lock(&self.history);
            let round = history.round + 1;
            *history = History { round, ..History::default() };
        }
        self.assert_all_bindings();
        self.touch();
    }

    /// A queue is missing: if it was declared here, the server is asked whether it has lost that.
    pub(crate) fn handle_missing_queue(&self, queue: &ShortStr) {
        if self.topology.queue(queue).is_none_or(|known| known.definition.is_none()) {
            return;
        }
        let asking = {
            let mut history = self.lock(&self.history);
            if history.known.is_none() || !history.missed.insert(queue.clone()) {
                return;
            }
            history.ask(false, false, self.topology.told())
        };
        self.ask_history(asking);
    }

    fn ask_history(&self, asking: Asking) {
        let bytes = self.history_bytes(asking);
        self.submit(Request::History(asking), &bytes);
    }

    /// Returns the command.
    pub(crate) fn history_bytes(&self, asking: Asking) -> Vec<u8> {
        let run = self.lock(&self.run_id).clone().unwrap_or_default();
        let id = asking.counts.then(|| uuid::Uuid::new_v4().simple().to_string());
        Count { keys: &self.keys, run: &run, id: id.as_deref() }.command().get_packed_command()
    }

    /// Uses the server's answer.
    pub(crate) fn handle_history(&self, asking: Asking, value: &Value) {
        let is_lost = {
            let mut history = self.lock(&self.history);
            if history.round != asking.round {
                return;
            }
            history.is_asked = false;
            let told = Count::read(value).ok();
            let is_lost = match (&told, &history.known) {
                // What was not counted may be lost if the server was started.
                (Some(told), Some(known)) => !told.has(known) || asking.is_doubtful && history.counted < asking.told,
                // A server that may not be asked, as by its rules of access, says no more than that it was started.
                _ => asking.is_doubtful,
            };
            if asking.counts && !is_lost {
                history.counted = asking.told;
                history.known = told.map(|told| told.mark);
            }
            let deleted = std::mem::take(&mut history.missed);
            if !is_lost && self.topology.told() == asking.told {
                // Somebody has deleted them, and nobody has made them anew.
                deleted.iter().for_each(|queue| self.forget_deleted(queue));
            }
            is_lost
        };
        if is_lost {
            tracing::info!(broker = %self.target.label, "the server has lost what was declared; it is declared again");
            self.handle_lost_history();
        }
    }

    /// A question has no answer; the next connection asks again.
    pub(crate) fn handle_lost_question(&self, asking: Asking) {
        let mut history = self.lock(&self.history);
        if history.round == asking.round {
            history.is_asked = false;
        }
    }

    /// Forgets a queue that somebody else has deleted, so that it does not come back.
    pub(crate) fn forget_deleted(&self, queue: &str) {
        self.topology.forget_queue(queue);
        self.forget_policy(queue);
        self.lock(&self.exclusive).retain(|own| own != queue);
    }
}

impl History {
    fn ask(&mut self, counts: bool, is_doubtful: bool, told: u64) -> Asking {
        self.is_asked = true;
        self.round += 1;
        Asking { counts, is_doubtful, told, round: self.round }
    }
}
