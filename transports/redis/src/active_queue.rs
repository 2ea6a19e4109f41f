//! A queue that is consumed, as the poller sees it.

use std::sync::Arc;

use kombu_core::ShortStr;

use crate::consumer::Consumer;
use crate::watch::Watch;

/// A list queue with consumers.
pub(crate) struct ActiveQueue {
    pub(crate) name: ShortStr,
    pub(crate) json: Arc<str>,
    pub(crate) lists: Vec<Arc<str>>,
    pub(crate) consumers: Vec<Arc<Consumer>>,
    /// Whether some have a higher priority than others.
    is_ranked: bool,
    /// Whose turn it is.
    pub(crate) next: usize,
    /// Whether there may be messages: it was woken, or not empty at the last look.
    pub(crate) may_have: bool,
    /// The credit of consumers with and without acknowledgement, at the look before the last settles were sent.
    pub(crate) credit: (usize, usize),
    pub(crate) had_credit: bool,
    /// With both kinds of consumers, whether those without acknowledgement take next.
    pub(crate) is_no_ack_next: bool,
    /// Whether a socket of its own waits for its most urgent list.
    pub(crate) has_waiter: bool,
    /// Whether the server watches its other lists, or all.
    pub(crate) watch: Watch,
}

impl ActiveQueue {
    /// Makes one with its first consumer. `json` is its name, `lists` are its keys in the order in which they are served.
    pub(crate) fn new(consumer: &Arc<Consumer>, json: Arc<str>, lists: Vec<Arc<str>>) -> Self {
        ActiveQueue {
            name: consumer.queue.clone(),
            json,
            lists,
            consumers: vec![Arc::clone(consumer)],
            is_ranked: false,
            next: 0,
            may_have: true,
            credit: (0, 0),
            had_credit: false,
            is_no_ack_next: false,
            has_waiter: false,
            watch: Watch::No,
        }
    }

    /// Adds a consumer.
    pub(crate) fn add(&mut self, consumer: &Arc<Consumer>) {
        self.consumers.push(Arc::clone(consumer));
        self.look_at_ranks();
    }

    /// Takes a consumer out.
    pub(crate) fn discard(&mut self, consumer: &Arc<Consumer>) {
        self.consumers.retain(|other| !Arc::ptr_eq(other, consumer));
        self.look_at_ranks();
    }

    fn look_at_ranks(&mut self) {
        let first = self.consumers.first().map(|first| first.priority);
        self.is_ranked = self.consumers.iter().any(|consumer| Some(consumer.priority) != first);
    }

    /// Notes how much its consumers may have.
    pub(crate) fn look_at_credit(&mut self) {
        self.credit = (0, 0);
        for consumer in &self.consumers {
            // What it may have from now on is to be looked at again.
            consumer.note_looked();
            let credit = if consumer.no_ack { &mut self.credit.1 } else { &mut self.credit.0 };
            // More than is ever taken at once needs no counting.
            if *credit < ENOUGH {
                *credit = credit.saturating_add(consumer.credit());
            }
        }
        // While it had none, nobody looked.
        self.may_have |= self.credit() > 0 && !self.had_credit;
        self.had_credit = self.credit() > 0;
    }

    /// Says whether it has a consumer whose credit changes without a word.
    pub(crate) fn has_silent(&self) -> bool {
        self.consumers.iter().any(|consumer| consumer.no_ack)
    }

    /// Returns how many messages its consumers may have.
    pub(crate) fn credit(&self) -> usize {
        self.credit.0.saturating_add(self.credit.1)
    }

    /// Returns how many messages its consumers with or without acknowledgement may have.
    pub(crate) fn credit_of(&self, no_ack: bool) -> usize {
        if no_ack { self.credit.1 } else { self.credit.0 }
    }

    /// Returns for which kind of consumer to take next.
    pub(crate) fn kind_to_take(&mut self) -> bool {
        match (self.credit_of(true) > 0, self.credit_of(false) > 0) {
            (true, true) => {
                self.is_no_ack_next = !self.is_no_ack_next;
                self.is_no_ack_next
            }
            (no_ack, _) => no_ack,
        }
    }

    /// Says whether what its consumers may have depends on other queues.
    pub(crate) fn shares_window(&self) -> bool {
        self.consumers.iter().any(|consumer| consumer.shares_window())
    }

    /// Says whether a consumer without acknowledgement waits for the application to take what it has.
    pub(crate) fn is_choked(&self) -> bool {
        // One that has got room since the look has nobody else to say so.
        let waits = |consumer: &Consumer| consumer.room() == 0 || consumer.credit() > 0;
        self.consumers.iter().any(|consumer| consumer.no_ack && consumer.may_have() && waits(consumer))
    }

    /// Returns the consumer whose turn it is, of one kind or of both and of the highest priority, and counts its delivery.
    pub(crate) fn choose(&mut self, no_ack: Option<bool>) -> Option<Arc<Consumer>> {
        let count = self.consumers.len();
        let may_have =
            |consumer: &Consumer| no_ack.is_none_or(|wanted| wanted == consumer.no_ack) && consumer.may_have();
        let highest = match self.is_ranked {
            true => self.consumers.iter().filter(|consumer| may_have(consumer)).map(|consumer| consumer.priority).max(),
            false => None,
        };
        for offset in 0..count {
            let index = (self.next + offset) % count;
            let consumer = &self.consumers[index];
            if highest.is_none_or(|highest| consumer.priority == highest) && may_have(consumer) {
                self.next = (index + 1) % count;
                consumer.take_credit();
                return Some(Arc::clone(consumer));
            }
        }
        None
    }
}

/// How much credit is counted.
const ENOUGH: usize = 4096;
