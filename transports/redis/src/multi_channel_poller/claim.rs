//! Claims: which queues are asked for how many messages, and what the answer says of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kombu_core::ShortStr;

use super::MultiChannelPoller;
use crate::active_queue::ActiveQueue;
use crate::cycle::Turn;
use crate::deliver::Raw;
use crate::session::Session;
use crate::take::{TakenList, Taking, queue_json};
use crate::waiters::Inbox;

impl MultiChannelPoller {
    /// Sends a claim from queues that may have messages, and one that gives back what nobody has room for.
    pub(super) fn claim(&mut self, session: &Arc<Session>) {
        let dirty: Vec<Inbox> = self.waiters.dirty().collect();
        let mut group: Vec<Turn> = Vec::new();
        if let Some(first) = self.queues.busy().first()
            && !self.is_taking
            && !self.is_paused
        {
            // Nothing waits for the idle queues while a claim may find messages, if one socket waits for all: look at them, too.
            let served = if self.wakes.is_pop() { self.queues.open() } else { self.queues.busy() };
            group = served.iter().take(MAX_QUEUES).cloned().collect();
            if group.last().is_some_and(|last| last < first) {
                group.pop();
                group.push(first.clone());
            }
        }
        let mut chosen = Vec::with_capacity(group.len());
        let mut room = 0_usize;
        for turn in &group {
            let kind = self.queues.change(&turn.1, |queue| {
                let no_ack = queue.kind_to_take();
                (no_ack, queue.credit_of(no_ack))
            });
            let Some((no_ack, limit)) = kind else { continue };
            room = room.saturating_add(limit);
            chosen.push((turn, no_ack, limit));
        }
        let count = self.burst.min(room);
        let mut inboxes = Vec::new();
        if count > 0 {
            for (_, _, limit) in &mut chosen {
                *limit = (*limit).min(count);
            }
            // A full window must not leave a waiter behind that moves what others could take.
            let exhausted = self.exhausted_by(&group, count);
            for list in exhausted {
                inboxes.extend(self.waiters.end(session, &list));
            }
        }
        let is_in = |inbox: &Inbox| chosen.iter().any(|(turn, ..)| turn.1 == inbox.queue);
        let (own, others): (Vec<Inbox>, Vec<Inbox>) = dirty.into_iter().partition(|inbox| count > 0 && is_in(inbox));
        let is_of_full = |inbox: &Inbox| self.queues.get(&inbox.queue).is_none_or(|queue| queue.credit() == 0);
        let surplus: Vec<Inbox> = others.into_iter().filter(is_of_full).collect();
        inboxes.extend(own);
        self.waiters.clean(&inboxes);
        if !surplus.is_empty() && !self.is_paused {
            self.waiters.clean(&surplus);
            self.give_back(session, surplus);
        }
        if count == 0 {
            return;
        }
        let served: Vec<_> =
            chosen.iter().filter_map(|(turn, no_ack, limit)| Some((self.queues.at(turn)?, *no_ack, *limit))).collect();
        let steps = served.iter().map(|(queue, ..)| queue.lists.len()).max().unwrap_or(0);
        let mut ordered = Vec::with_capacity(steps * served.len());
        for step in 0..steps {
            for (queue, no_ack, limit) in &served {
                ordered.extend(queue.lists.get(step).map(|key| TakenList {
                    key: Arc::clone(key),
                    queue: queue.name.clone(),
                    queue_json: Arc::clone(&queue.json),
                    no_ack: *no_ack,
                    limit: *limit,
                }));
            }
        }
        for inbox in &inboxes {
            if !ordered.iter().any(|list| list.key == inbox.list) {
                ordered.extend(list_of(inbox));
            }
        }
        self.is_taking = true;
        Taking::submit(session, count, ordered, inboxes, None);
    }

    /// Gives back what is in inboxes of queues whose consumers have no room, or that have none.
    pub(super) fn give_back(&self, session: &Arc<Session>, inboxes: Vec<Inbox>) {
        let mut lists: Vec<TakenList> = Vec::new();
        for inbox in &inboxes {
            if !lists.iter().any(|list| list.key == inbox.list) {
                lists.extend(list_of(inbox));
            }
        }
        Taking::submit(session, 0, lists, inboxes, None);
    }

    /// Returns the lists of queues whose consumers may have no room any more once `count` messages are taken from `group`.
    pub(super) fn exhausted_by(&self, group: &[Turn], count: usize) -> Vec<Arc<str>> {
        let own = || group.iter().filter_map(|turn| self.queues.at(turn));
        let lists = |queue: &ActiveQueue| queue.lists.clone();
        if self.queues.credits.is_shared() && own().any(ActiveQueue::shares_window) {
            let is_claimed = |queue: &&ActiveQueue| {
                queue.credit() <= count && (queue.shares_window() || group.iter().any(|turn| turn.1 == queue.name))
            };
            return self.queues.waiting().filter(is_claimed).flat_map(lists).collect();
        }
        own().filter(|queue| queue.has_waiter && queue.credit() <= count).flat_map(lists).collect()
    }

    /// Notes how a claim ended; `is_short` when it found less than it was to take.
    pub(crate) fn handle_taken(&mut self, taking: &Taking, raws: &[Raw], is_short: bool) {
        if taking.count == 0 {
            return;
        }
        self.is_taking = false;
        self.tell_served(raws);
        if is_short {
            self.burst = FIRST_BURST;
            let mut taken: HashMap<&ShortStr, usize> = HashMap::new();
            raws.iter().for_each(|raw| *taken.entry(&raw.list.queue).or_default() += 1);
            let mut seen = HashSet::new();
            for list in taking.lists.iter().filter(|list| seen.insert(&list.queue)) {
                // One that gave all it was asked for may have more.
                let got = taken.get(&list.queue).copied().unwrap_or(0);
                // What was moved into an inbox while the claim was under way is still there.
                let may_have = got >= list.limit && list.limit > 0 || self.waiters.is_dirty(&list.queue);
                self.queues.change(&list.queue, |queue| queue.may_have &= may_have);
            }
            return;
        }
        self.burst = (self.burst * 2).min(MAX_BURST);
        // The queues before it were looked at and had nothing: they had their turn.
        let served = raws.first().map(|raw| &raw.list.queue);
        for list in &taking.lists {
            self.rotate(&list.queue);
            if served.is_none_or(|served| *served == list.queue) {
                break;
            }
        }
    }

    /// Notes that a claim was refused, or its answer was lost.
    pub(crate) fn handle_failed_take(&mut self, taking: &Taking) {
        self.waiters.soil(&taking.inboxes);
        if taking.count > 0 {
            self.is_taking = false;
            self.burst = FIRST_BURST;
        }
    }
}

/// Returns a list from which nothing is taken: what is in its inbox goes back.
fn list_of(inbox: &Inbox) -> Option<TakenList> {
    let (key, queue) = (Arc::clone(&inbox.list), inbox.queue.clone());
    let queue_json = queue_json(&queue).ok()?;
    Some(TakenList { key, queue, queue_json, no_ack: false, limit: 0 })
}

/// How many messages the first claim after an idle time takes at most.
pub(super) const FIRST_BURST: usize = 8;
/// How many messages a claim takes at most: half of the usual window, so that the server is at work on the next while these are handled.
const MAX_BURST: usize = 128;
/// How many queues a claim looks at.
const MAX_QUEUES: usize = 16;
