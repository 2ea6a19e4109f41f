//! What wakes idle consumers: blocking moves, changes the server tells of, or Kombu's blocking pop.

use std::sync::Arc;

use kombu_core::ShortStr;
use kombu_core::hub::Hub;
use redis::Value;

use super::{Mode, MultiChannelPoller};
use crate::active_queue::ActiveQueue;
use crate::connection::Greeting;
use crate::options::Wake;
use crate::session::Session;
use crate::watch::{Watch, watch};

/// What wakes idle consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wakes {
    /// A blocking move from the most urgent list of a queue, or from each.
    pub(super) moves: bool,
    /// The server tells of changed lists.
    pub(super) watches: bool,
}

impl Wakes {
    /// Kombu's blocking pop.
    pub(super) const POP: Wakes = Wakes { moves: false, watches: false };

    pub(super) fn is_pop(self) -> bool {
        self == Wakes::POP
    }

    /// How many lists of a queue are waited for by a blocking move: the rest is watched.
    pub(super) fn moved(self, queue: &ActiveQueue) -> usize {
        match self {
            Wakes { moves: true, watches: true } if queue.has_waiter => 1.min(queue.lists.len()),
            Wakes { moves: true, watches: false } => queue.lists.len(),
            _ => 0,
        }
    }
}

impl MultiChannelPoller {
    /// Returns the lists of a queue, where messages without a priority lie first.
    pub(super) fn waited_lists(&self, queue: &ActiveQueue) -> Vec<Arc<str>> {
        let mut lists = queue.lists.clone();
        if self.is_high_first {
            lists.reverse();
        }
        lists
    }

    /// Sees to it that every queue with credit that has no messages wakes us when it does.
    pub(super) fn register_waits(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
        let mut moves: Vec<(Arc<str>, ShortStr)> = Vec::new();
        // What may have messages goes on waiting, but does not begin to.
        let mut busy: Vec<Arc<str>> = Vec::new();
        if self.wakes.moves {
            for queue in self.queues.waiting().filter(|queue| queue.credit() > 0) {
                if queue.may_have {
                    busy.extend(queue.lists.iter().cloned());
                    continue;
                }
                let moved = self.wakes.moved(queue);
                let lists = self.waited_lists(queue);
                moves.extend(lists.into_iter().take(moved).map(|list| (list, queue.name.clone())));
            }
        }
        let mut watched: Vec<(ShortStr, Vec<Arc<str>>)> = Vec::new();
        if self.wakes.watches {
            for turn in self.queues.unwatched() {
                let Some(queue) = self.queues.at(turn) else { continue };
                watched.push((queue.name.clone(), self.waited_lists(queue).split_off(self.wakes.moved(queue))));
            }
            watched.retain(|(_, lists)| !lists.is_empty());
            for (name, _) in &watched {
                self.queues.change(name, |queue| queue.watch = Watch::Asked);
            }
        }
        if !self.is_paused && (!moves.is_empty() || self.waiters.is_armed()) {
            let name = if moves.is_empty() {
                Arc::clone(session.lock(&session.identity).name())
            } else {
                session.ensure_registered()
            };
            self.waiters.wait_for(session, hub, &name, &moves, &busy);
        }
        for chunk in watched.chunks(MAX_WATCHED) {
            let names = chunk.iter().map(|(name, _)| name.clone()).collect();
            let keys: Vec<Arc<str>> = chunk.iter().flat_map(|(_, lists)| lists.iter().cloned()).collect();
            watch(session, names, &keys);
        }
    }

    /// Sees to it that the waiter waits for what it should: for every queue with credit, while none may have messages.
    pub(super) fn register_brpop(&mut self, session: &Arc<Session>, hub: &dyn Hub, all_empty: bool) {
        let wanted: Vec<&ActiveQueue> =
            self.queues.open().difference(self.queues.busy()).filter_map(|turn| self.queues.at(turn)).collect();
        let names: Vec<ShortStr> = wanted.iter().map(|queue| queue.name.clone()).collect();
        if self.waiter.is_armed() {
            let is_active = |name: &ShortStr| self.queues.get(name).is_some();
            if self.waiter.is_stale(is_active) || self.waiter.misses(&names) && !self.is_taking {
                self.waiter.unblock(session);
            }
            return;
        }
        if !all_empty || self.is_taking || self.is_paused || wanted.is_empty() {
            return;
        }
        let steps = wanted[0].lists.len();
        let keys: Vec<Arc<str>> = (0..steps)
            .flat_map(|step| wanted.iter().map(move |queue| (queue, step)))
            .filter_map(|(queue, step)| queue.lists.get(step).cloned())
            .collect();
        let link = self.waiter.arm(session, hub, names, &keys);
        for queue in wanted {
            for channel in queue.consumers.iter().filter_map(|consumer| consumer.channel.upgrade()) {
                self.chan_to_sock.entry((channel.id, Mode::Brpop)).or_insert_with(|| Arc::clone(&link));
            }
        }
    }

    /// Goes on without the right to wake a waiter.
    pub(crate) fn do_without_unblock(&mut self, session: &Session) {
        self.waiter.forbid_unblock();
        self.do_without_blmove(session);
    }

    /// Goes on without blocking moves.
    pub(crate) fn do_without_blmove(&mut self, session: &Session) {
        if std::mem::replace(&mut self.wakes.moves, false) {
            let instead = if self.wakes.watches { "CLIENT TRACKING" } else { "BRPOP" };
            tracing::info!(broker = %session.target.label, instead, "the server does not allow BLMOVE, or waking it");
            self.queues.change_all(|queue| queue.watch = Watch::No);
        }
    }

    /// The command connection stands: what the server allows is known.
    pub(crate) fn handle_connected(&mut self, session: &Session, greeting: &Greeting) {
        let watches = greeting.is_tracking;
        self.wakes = match self.wake {
            // Without being told, each list has a socket that waits for it: a pop could lose what it took.
            Wake::Auto | Wake::Blmove => Wakes { moves: true, watches },
            Wake::Tracking if watches => Wakes { moves: false, watches },
            Wake::Tracking => {
                tracing::warn!(broker = %session.target.label, "the server does not allow CLIENT TRACKING; waiting by BRPOP");
                Wakes::POP
            }
            Wake::Brpop => Wakes::POP,
        };
        self.queues.change_all(|queue| queue.watch = Watch::No);
        self.waiters.doubt(session);
    }

    /// The server watches the lists of these queues, and says how many of them have messages; or nobody knows.
    pub(crate) fn handle_watched(&mut self, queues: &[ShortStr], answer: Option<&Value>) {
        self.wakes.watches &= !matches!(answer, Some(answer) if !matches!(answer, Value::Int(_)));
        for name in queues {
            self.queues.change(name, |queue| match answer {
                Some(Value::Int(count)) => {
                    // What changed since was told before this answer, and is not forgotten.
                    if queue.watch == Watch::Asked {
                        queue.watch = Watch::Yes;
                    }
                    queue.may_have |= *count > 0;
                }
                _ => queue.watch = Watch::No,
            });
        }
    }

    /// The server tells that a key has changed.
    pub(crate) fn handle_changed(&mut self, session: &Session, key: &str) {
        let name = session.keys.queue_of(key);
        self.queues.change(name, |queue| {
            queue.watch = Watch::No;
            queue.may_have = true;
        });
    }

    /// Everything on the server is gone.
    pub(crate) fn handle_flushed(&mut self, session: &Session) {
        self.queues.change_all(|queue| queue.watch = Watch::No);
        self.waiters.doubt(session);
    }
}

/// How many queues one command asks the server to watch.
const MAX_WATCHED: usize = 64;
