//! Broadcast messages: subscriptions on a socket of their own.
//!
//! The server keeps no copy of a broadcast message: what is unsettled when its channel ends is gone, as is what was published
//! while the socket was lost. Unless the queue is stored, by the option `fanout_stored`: then the copy that counts is in its
//! list, put there in one step with the publishing, and the one that is heard is left alone.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kombu_core::hub::Hub;
use kombu_core::reply::{self, Reply, ReplySender};
use kombu_core::{Error, Malformed, Result, ShortStr};
use redis::Value;

use crate::connection::{Link, LinkOwner, Role, closed, command, refusal};
use crate::consumer::Consumer;
use crate::deliver::Arrived;
use crate::envelope::{self, Limits};
use crate::glob;
use crate::scripts::{hash_of, is_stored_for};
use crate::session::Session;
use crate::unacked::{Held, Place};

/// The socket that listens, and for whom.
#[derive(Default)]
pub(crate) struct Listener {
    link: Option<Arc<Link>>,
    is_up: bool,
    queues: Vec<FanoutQueue>,
    /// The patterns the server was told of on this socket.
    subscribed: Vec<String>,
    /// Those it has confirmed.
    confirmed: Vec<String>,
    /// Those it has not answered for yet, in the order they were asked for.
    asked: VecDeque<String>,
    /// Those it refused: asked for again when somebody wants them anew, or on the next socket.
    refused: Vec<String>,
    waiting: Vec<Waiting>,
}

/// A consumer that waits until its patterns are confirmed.
struct Waiting {
    consumer: Arc<Consumer>,
    patterns: Vec<String>,
    sender: ReplySender<Result<()>>,
}

/// A queue that is bound to fanout exchanges.
struct FanoutQueue {
    name: ShortStr,
    /// What marks the messages that lie in its list as well.
    hash: String,
    patterns: Vec<String>,
    consumers: Vec<Arc<Consumer>>,
    next: usize,
    /// What arrived and nobody has credit for.
    pending: VecDeque<Broadcast>,
}

/// A broadcast message, and how often it was given back.
pub(crate) struct Broadcast {
    pub(crate) text: Bytes,
    pub(crate) returned: u32,
}

impl Listener {
    /// Returns the socket.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }

    /// Takes the socket out, to be closed.
    pub(crate) fn take_link(&mut self) -> Option<Arc<Link>> {
        self.is_up = false;
        self.forget_patterns();
        self.link.take()
    }

    /// Forgets everything: the session closes. Who waits is told.
    pub(crate) fn close(&mut self) {
        self.queues.clear();
        self.answer(|_| true, &closed());
    }

    fn forget_patterns(&mut self) {
        self.subscribed.clear();
        self.confirmed.clear();
        self.asked.clear();
        self.refused.clear();
    }

    /// Listens on behalf of a consumer, if its queue is bound to fanout exchanges; the answer says when the server has taken
    /// the subscriptions, or that it refuses them, or `Closed` when the consumer is taken out before.
    pub(crate) fn add(&mut self, session: &Session, consumer: &Arc<Consumer>) -> Option<Reply<Result<()>>> {
        let bindings = session.topology.fanouts_of(&consumer.queue);
        let patterns: Vec<String> =
            bindings.iter().map(|(exchange, key)| session.keys.fanout_pattern(exchange, key)).collect();
        let known = self.queues.iter_mut().find(|queue| queue.name == consumer.queue);
        if patterns.is_empty() && known.is_none() {
            return None;
        }
        match known {
            Some(queue) => {
                queue.patterns.clone_from(&patterns);
                if !queue.consumers.iter().any(|other| Arc::ptr_eq(other, consumer)) {
                    queue.consumers.push(Arc::clone(consumer));
                }
            }
            None => self.queues.push(FanoutQueue {
                name: consumer.queue.clone(),
                hash: hash_of(&consumer.queue),
                patterns: patterns.clone(),
                consumers: vec![Arc::clone(consumer)],
                next: 0,
                pending: VecDeque::new(),
            }),
        }
        let again = |pattern: &String| self.refused.contains(pattern) && patterns.contains(pattern);
        self.subscribed.retain(|pattern| !again(pattern));
        self.refused.retain(|pattern| !patterns.contains(pattern));
        let (sender, reply) = reply::channel();
        self.waiting.push(Waiting { consumer: Arc::clone(consumer), patterns, sender });
        self.answer_waiting();
        Some(reply)
    }

    /// Takes a consumer out.
    pub(crate) fn discard(&mut self, consumer: &Arc<Consumer>) {
        for queue in &mut self.queues {
            queue.consumers.retain(|other| !Arc::ptr_eq(other, consumer));
        }
        self.queues.retain(|queue| !queue.consumers.is_empty());
        self.answer(|waiting| Arc::ptr_eq(&waiting.consumer, consumer), &closed());
    }

    /// Says whether a channel has a consumer here.
    pub(crate) fn serves(&self, channel: u64) -> bool {
        let mut consumers = self.queues.iter().flat_map(|queue| &queue.consumers);
        consumers.any(|consumer| consumer.channel.upgrade().is_some_and(|own| own.id == channel))
    }

    /// Returns the consumers of a queue.
    pub(crate) fn consumers_of(&self, queue: &str) -> Vec<Arc<Consumer>> {
        self.queues.iter().filter(|fanout| fanout.name == *queue).flat_map(|fanout| fanout.consumers.clone()).collect()
    }

    /// Tells the server of new and old patterns. Returns the socket and the channels that use it, if there are any.
    pub(crate) fn subscribe(&mut self, session: &Arc<Session>, hub: &dyn Hub) -> Option<(Arc<Link>, Vec<u64>)> {
        let mut wanted: Vec<&String> = self.queues.iter().flat_map(|queue| &queue.patterns).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return None;
        }
        let link = Arc::clone(self.link.get_or_insert_with(|| {
            let owner: Arc<dyn LinkOwner> = Arc::clone(session) as Arc<dyn LinkOwner>;
            let link =
                Link::new(Role::Listener, Arc::clone(&session.target), session.handle.clone(), Arc::downgrade(&owner));
            link.keep_open(hub);
            link
        }));
        if self.is_up {
            let new: Vec<&str> =
                wanted.iter().filter(|one| !self.subscribed.contains(one)).map(|one| one.as_str()).collect();
            let old: Vec<&str> =
                self.subscribed.iter().filter(|one| !wanted.contains(one)).map(String::as_str).collect();
            // One by one: a pattern that is refused takes no other along, and its refusal says which it was.
            for pattern in &new {
                link.submit_raw(|out| command::command(out, &["PSUBSCRIBE", pattern]));
                self.asked.push_back((*pattern).to_owned());
            }
            if !old.is_empty() {
                link.submit_raw(|out| {
                    command::head(out, old.len() + 1);
                    command::word(out, "PUNSUBSCRIBE");
                    old.iter().for_each(|pattern| command::word(out, pattern));
                });
            }
            if !new.is_empty() || !old.is_empty() {
                self.confirmed.retain(|one| wanted.contains(&one));
                self.refused.retain(|one| wanted.contains(&one));
                self.subscribed = wanted.into_iter().cloned().collect();
            }
        }
        let channels = self.queues.iter().flat_map(|queue| &queue.consumers).filter_map(|one| one.channel.upgrade());
        Some((link, channels.map(|channel| channel.id).collect()))
    }

    /// The socket stands: the server has to be told everything.
    pub(crate) fn handle_up(&mut self) {
        self.is_up = true;
        self.forget_patterns();
    }

    /// The socket is lost.
    pub(crate) fn handle_down(&mut self) {
        self.is_up = false;
    }

    fn handle_subscribed(&mut self, pattern: String) {
        if let Some(index) = self.asked.iter().position(|asked| *asked == pattern) {
            self.asked.remove(index);
        }
        self.confirmed.push(pattern);
        self.answer_waiting();
    }

    /// The server refuses what was asked for first; returns what that was.
    fn handle_refused(&mut self, error: &Error) -> Option<String> {
        let pattern = self.asked.pop_front()?;
        self.answer(|waiting| waiting.patterns.contains(&pattern), error);
        self.refused.push(pattern.clone());
        Some(pattern)
    }

    fn answer(&mut self, which: impl Fn(&Waiting) -> bool, error: &Error) {
        for index in (0..self.waiting.len()).rev() {
            if which(&self.waiting[index]) {
                // Wakes a task of the hub: nobody else waits for these.
                self.waiting.swap_remove(index).sender.send(Err(error.duplicate()));
            }
        }
    }

    fn answer_waiting(&mut self) {
        let confirmed = &self.confirmed;
        let is_done = |patterns: &[String]| patterns.iter().all(|pattern| confirmed.contains(pattern));
        for index in (0..self.waiting.len()).rev() {
            if is_done(&self.waiting[index].patterns) {
                // As above.
                self.waiting.swap_remove(index).sender.send(Ok(()));
            }
        }
    }

    /// Keeps a message for every queue that listens to it. A queue with several patterns that match gets it once.
    fn handle_message(&mut self, pattern: &str, channel: &str, text: &Bytes) -> bool {
        let mut is_full = false;
        for queue in &mut self.queues {
            let first = queue.patterns.iter().find(|own| glob::matches(own, channel));
            if first.is_some_and(|first| first == pattern) && !is_stored_for(text, &queue.hash) {
                if queue.pending.len() >= MAX_PENDING {
                    queue.pending.pop_front();
                    is_full = true;
                }
                queue.pending.push_back(Broadcast { text: text.clone(), returned: 0 });
            }
        }
        is_full
    }

    /// Takes out what consumers have credit for.
    pub(crate) fn take_ready(&mut self) -> Vec<(Arc<Consumer>, Broadcast)> {
        let mut ready = Vec::new();
        for queue in &mut self.queues {
            while !queue.pending.is_empty() {
                let count = queue.consumers.len();
                let mut turn = (0..count).map(|offset| (queue.next + offset) % count);
                let Some(index) = turn.find(|index| queue.consumers[*index].may_have()) else { break };
                queue.next = (index + 1) % count;
                // The loop's condition found it.
                let Some(broadcast) = queue.pending.pop_front() else { break };
                queue.consumers[index].take_credit();
                ready.push((Arc::clone(&queue.consumers[index]), broadcast));
            }
        }
        ready
    }

    fn give_back(&mut self, name: &str, broadcast: Broadcast) {
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.name == *name) {
            queue.pending.push_front(broadcast);
        }
    }
}

impl Session {
    /// Uses what arrived on the listening socket.
    pub(crate) fn on_readable(self: &Arc<Self>, value: Value) {
        let items = match value {
            Value::Array(items) | Value::Push { data: items, .. } => items,
            Value::ServerError(error) => return self.handle_refused_subscription(&refusal(&error)),
            _ => return,
        };
        let mut texts = items.into_iter().map(|item| match item {
            Value::BulkString(text) => Bytes::from(text),
            _ => Bytes::new(),
        });
        let mut next = || texts.next().unwrap_or_default();
        let kind = next();
        match &kind[..] {
            b"psubscribe" => {
                let pattern = String::from_utf8_lossy(&next()).into_owned();
                self.poller().listener.handle_subscribed(pattern);
            }
            b"pmessage" => {
                let (pattern, channel, text) = (next(), next(), next());
                let (pattern, channel) = (String::from_utf8_lossy(&pattern), String::from_utf8_lossy(&channel));
                let is_full = self.poller().listener.handle_message(&pattern, &channel, &text);
                if is_full && self.warnings.allows("broadcasts dropped", self.handle.now()) {
                    tracing::warn!(%channel, "broadcast messages are dropped: their consumer is too slow");
                }
            }
            _ => {}
        }
    }

    fn handle_refused_subscription(&self, error: &Error) {
        let refused = self.poller().listener.handle_refused(error);
        if let Some(pattern) = refused
            && self.warnings.allows("subscription refused", self.handle.now())
        {
            tracing::warn!(broker = %self.target.label, %pattern, %error, "the server refuses a subscription");
        }
    }

    /// Delivers the broadcast messages that consumers have credit for.
    pub(crate) fn deliver_broadcasts(self: &Arc<Self>) {
        let ready = self.poller().listener.take_ready();
        let mut arrived: Vec<(Arc<Consumer>, Vec<Arrived>)> = Vec::new();
        for (consumer, broadcast) in ready {
            let Some(one) = self.read_broadcast(&consumer, broadcast) else {
                consumer.return_credit();
                continue;
            };
            match arrived.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &consumer)) {
                Some((_, all)) => all.push(one),
                None => arrived.push((consumer, vec![one])),
            }
        }
        for (consumer, all) in arrived {
            self.hand_over(&consumer, all);
        }
    }

    fn read_broadcast(&self, consumer: &Arc<Consumer>, broadcast: Broadcast) -> Option<Arrived> {
        let limits = Limits { no_ack: consumer.no_ack, ..self.limits };
        let queue = consumer.queue.clone();
        match envelope::read(&broadcast.text, &limits) {
            Ok(mut received) => {
                received.redelivered |= broadcast.returned > 0;
                received.delivery_count =
                    Some(broadcast.returned).filter(|count| *count > 0).or(received.delivery_count);
                Some(Arrived { received, place: Place::Local(broadcast), queue, list: "".into(), text: None })
            }
            Err(error) => {
                if let Some(channel) = consumer.channel.upgrade() {
                    let reason = error.to_string();
                    let at = std::time::SystemTime::now();
                    let malformed = Malformed { queue, raw: broadcast.text, reason, at };
                    self.keep_malformed(&malformed);
                    channel.report_malformed(malformed);
                }
                None
            }
        }
    }

    /// Gives broadcast messages back to the queues they came to, as long as those have consumers.
    pub(crate) fn return_local(&self, taken: Vec<Held>) {
        let mut poller = None;
        // The latest goes back first, so that the earliest is delivered first.
        for held in taken.into_iter().rev() {
            if let Place::Local(Broadcast { text, returned }) = held.place {
                let poller = poller.get_or_insert_with(|| self.poller());
                poller.listener.give_back(&held.queue, Broadcast { text, returned: returned + 1 });
            }
        }
    }
}

/// How many broadcast messages wait for a consumer without credit; then the oldest goes.
const MAX_PENDING: usize = 10_000;
