//! Kombu's `MultiChannelPoller`: which sockets serve which channels, in which mode.
//!
//! A channel is in [`Mode::Brpop`] while it has a consumer on a list queue with credit, and in [`Mode::Listen`] while it has
//! one on a fanout queue. In Kombu each (channel, mode) has a socket of its own; here the channels of a connection share one
//! socket per mode, so that consumers of one queue get its messages in turn and a connection with a hundred channels has
//! three sockets. Kombu's map from (channel, mode) to socket says which channels use which; a socket that no channel uses any
//! more is closed.
//!
//! | Kombu | here |
//! |---|---|
//! | `add`, `discard`, `close` | [`add`](MultiChannelPoller::add), [`discard`](MultiChannelPoller::discard), [`close`](MultiChannelPoller::close), by consumer |
//! | `on_poll_start` | [`on_poll_start`](MultiChannelPoller::on_poll_start), from the hub's `on_tick`: claims from queues that may have messages, and arms the waiter when none may |
//! | `_register_BRPOP`, `_register_LISTEN` | `register_brpop`, `register_listen` |
//! | `on_readable`, `handle_event` | [`LinkOwner`](crate::connection::LinkOwner) of the session: `handle_answer` → [`handle_popped`](MultiChannelPoller::handle_popped), `handle_push` → `Session::on_readable` |
//! | `on_poll_init`, `maybe_restore_messages` | `Session::start_sweeping`, `Session::maybe_restore_messages` |
//! | `maybe_check_subclient_health`, `maybe_check_brpop_health` | the watch of each [`Link`]: PING on a silent listener, a new socket for a silent waiter |
//! | `maybe_refresh_binding_expiry` | `Session::maybe_refresh_binding_expiry` |
//! | `_on_connection_disconnect` | [`handle_down`](MultiChannelPoller::handle_down) |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::hub::Hub;
use kombu_core::reply::Reply;
use kombu_core::{Result, ShortStr};
use redis::Value;

use crate::active_queue::ActiveQueue;
use crate::brpop::Waiter;
use crate::connection::{Greeting, Link, Role};
use crate::consumer::Consumer;
use crate::listen::Listener;
use crate::options::{QueueOrder, RedisOptions};
use crate::session::Session;
use crate::take::{TakenList, Taking, queue_json};

/// How a channel gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// From lists.
    Brpop,
    /// From subscriptions.
    Listen,
}

/// Serves the consumers of all channels of a connection. Belongs to the hub's thread.
pub(crate) struct MultiChannelPoller {
    order: QueueOrder,
    /// In cycle order.
    queues: Vec<ActiveQueue>,
    pub(crate) waiter: Waiter,
    pub(crate) listener: Listener,
    /// Kombu's `_chan_to_sock`.
    chan_to_sock: BTreeMap<(u64, Mode), Arc<Link>>,
    is_taking: bool,
    is_paused: bool,
    is_stopped: bool,
    /// How many messages a claim may take: grows while claims come back full, so that a short backlog is shared with the
    /// consumers of other processes.
    burst: usize,
}

impl MultiChannelPoller {
    /// Makes a poller without consumers.
    pub(crate) fn new(options: &RedisOptions) -> Self {
        MultiChannelPoller {
            order: options.queue_order_strategy,
            queues: Vec::new(),
            waiter: Waiter::new(options.polling_interval),
            listener: Listener::default(),
            chan_to_sock: BTreeMap::new(),
            is_taking: false,
            is_paused: false,
            is_stopped: false,
            burst: FIRST_BURST,
        }
    }

    // ---- consumers

    /// Adds a consumer of a list queue.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name that cannot be written.
    pub(crate) fn add(&mut self, session: &Session, consumer: &Arc<Consumer>) -> Result<()> {
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.name == consumer.queue) {
            queue.consumers.push(Arc::clone(consumer));
            queue.may_have = true;
            return Ok(());
        }
        let lists = session.keys.lists(&consumer.queue).map(Into::into).collect();
        self.queues.push(ActiveQueue::new(consumer, queue_json(&consumer.queue)?, lists));
        if self.order == QueueOrder::Sorted {
            self.queues.sort_by(|left, right| left.name.cmp(&right.name));
        }
        Ok(())
    }

    /// Takes a consumer out.
    pub(crate) fn discard(&mut self, consumer: &Arc<Consumer>) {
        for queue in &mut self.queues {
            queue.consumers.retain(|other| !Arc::ptr_eq(other, consumer));
        }
        self.queues.retain(|queue| !queue.consumers.is_empty());
        self.listener.discard(consumer);
        let Some(channel) = consumer.channel.upgrade() else { return };
        let is_in = |mode: Mode, poller: &Self| match mode {
            Mode::Brpop => {
                let mut all = poller.queues.iter().flat_map(|queue| &queue.consumers);
                all.any(|other| other.channel.upgrade().is_some_and(|other| other.id == channel.id))
            }
            Mode::Listen => poller.listener.serves(channel.id),
        };
        for mode in [Mode::Brpop, Mode::Listen] {
            if !is_in(mode, self) {
                self.chan_to_sock.remove(&(channel.id, mode));
            }
        }
    }

    /// Listens to what a queue is bound to now.
    pub(crate) fn rebind(&mut self, session: &Session, queue: &str) -> Vec<Reply<Result<()>>> {
        let consumers = self.consumers_of(queue);
        consumers.iter().filter_map(|consumer| self.listener.add(session, consumer)).collect()
    }

    /// Returns the consumers of a queue.
    pub(crate) fn consumers_of(&self, queue: &str) -> Vec<Arc<Consumer>> {
        let lists =
            self.queues.iter().filter(|active| active.name == *queue).flat_map(|active| active.consumers.clone());
        let mut found: Vec<_> = lists.collect();
        for consumer in self.listener.consumers_of(queue) {
            if !found.iter().any(|other| Arc::ptr_eq(other, &consumer)) {
                found.push(consumer);
            }
        }
        found
    }

    /// Returns some consumer of a queue.
    pub(crate) fn any_consumer(&self, queue: &str) -> Option<Arc<Consumer>> {
        self.consumers_of(queue).into_iter().next()
    }

    /// Returns the consumer that gets the next message of a queue, and counts it.
    pub(crate) fn choose(&mut self, queue: &str, no_ack: bool) -> Option<Arc<Consumer>> {
        self.queues.iter_mut().find(|active| active.name == *queue)?.choose(Some(no_ack))
    }

    // ---- once per tick

    /// Notes how much may be taken. What was settled to make room for it is sent between this and
    /// [`on_poll_start`](MultiChannelPoller::on_poll_start), so that a message given back is there when its place is filled.
    pub(crate) fn look_at_credit(&mut self) {
        self.queues.iter_mut().for_each(ActiveQueue::look_at_credit);
    }

    /// Claims from queues that may have messages; arms the waiter when there is none; subscribes.
    pub(crate) fn on_poll_start(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
        if self.is_stopped {
            return self.waiter.unblock(session);
        }
        // In cycle order: who may have messages, who is idle, and both.
        let mut busy = Vec::new();
        let mut wanted = Vec::new();
        let mut open = Vec::new();
        let mut count = self.burst;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let credit = queue.credit();
            // While it had none, nobody looked.
            queue.may_have |= credit > 0 && !queue.had_credit;
            queue.had_credit = credit > 0;
            if credit == 0 {
                continue;
            }
            open.push(index);
            if queue.may_have { busy.push(index) } else { wanted.push(index) }
        }
        if let Some(first) = busy.first()
            && !self.is_taking
            && !self.is_paused
        {
            // While a claim may find messages no waiter is armed, so the claim looks at idle queues too.
            let mut group = open;
            group.truncate(MAX_QUEUES);
            if group.last().is_some_and(|last| last < first) {
                group.pop();
                group.push(*first);
            }
            let mut lists = Vec::new();
            for index in &group {
                let queue = &mut self.queues[*index];
                let no_ack = queue.kind_to_take();
                count = count.min(queue.credit_of(no_ack));
                lists.push(queue.lists.iter().map(move |key| (key.clone(), no_ack)).collect::<Vec<_>>());
            }
            let steps = lists.iter().map(Vec::len).max().unwrap_or(0);
            let mut ordered = Vec::with_capacity(steps * group.len());
            for step in 0..steps {
                for (queue, lists) in group.iter().zip(&lists) {
                    let queue = &self.queues[*queue];
                    ordered.extend(lists.get(step).map(|(key, no_ack)| TakenList {
                        key: Arc::clone(key),
                        queue: queue.name.clone(),
                        queue_json: Arc::clone(&queue.json),
                        no_ack: *no_ack,
                    }));
                }
            }
            if count > 0 {
                self.is_taking = true;
                Taking::submit(session, count, ordered, None);
            }
        }
        self.register_brpop(session, hub, busy.is_empty(), &wanted);
        self.register_listen(session, hub);
    }

    /// Returns the sockets that no channel uses any more; they are to be closed.
    pub(crate) fn take_unused(&mut self) -> Vec<Arc<Link>> {
        let is_used = |mode: Mode| self.chan_to_sock.keys().any(|(_, used)| *used == mode);
        let (brpop, listen) = (is_used(Mode::Brpop), is_used(Mode::Listen));
        let waiter = if brpop || self.waiter.is_armed() { None } else { self.waiter.take_link() };
        let listener = if listen { None } else { self.listener.take_link() };
        waiter.into_iter().chain(listener).collect()
    }

    /// Sees to it that the waiter waits for what it should: for every queue with credit, while none may have messages.
    fn register_brpop(&mut self, session: &Arc<Session>, hub: &dyn Hub, all_empty: bool, wanted: &[usize]) {
        let names: Vec<ShortStr> = wanted.iter().map(|index| self.queues[*index].name.clone()).collect();
        if self.waiter.is_armed() {
            let is_active = |name: &ShortStr| self.queues.iter().any(|queue| queue.name == *name);
            if self.waiter.misses(&names, is_active) && !self.is_taking {
                self.waiter.unblock(session);
            }
            return;
        }
        if !all_empty || self.is_taking || self.is_paused || wanted.is_empty() {
            return;
        }
        let steps = self.queues[wanted[0]].lists.len();
        let keys: Vec<Arc<str>> = (0..steps)
            .flat_map(|step| wanted.iter().map(move |index| (index, step)))
            .filter_map(|(index, step)| self.queues[*index].lists.get(step).cloned())
            .collect();
        let link = self.waiter.arm(session, hub, names, &keys);
        for index in wanted {
            for channel in self.queues[*index].consumers.iter().filter_map(|consumer| consumer.channel.upgrade()) {
                self.chan_to_sock.entry((channel.id, Mode::Brpop)).or_insert_with(|| Arc::clone(&link));
            }
        }
    }

    fn register_listen(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
        let Some((link, channels)) = self.listener.subscribe(session, hub) else { return };
        for channel in channels {
            self.chan_to_sock.entry((channel, Mode::Listen)).or_insert_with(|| Arc::clone(&link));
        }
    }

    // ---- what the sockets say

    /// Notes that a queue may have messages: something woke it.
    pub(crate) fn wake(&mut self, queue: &str) {
        if let Some(queue) = self.queues.iter_mut().find(|active| active.name == *queue) {
            queue.may_have = true;
        }
    }

    /// Notes how a claim ended: `is_short` when its lists are empty now. `served` is the queue of the first message.
    pub(crate) fn handle_taken(&mut self, lists: &[TakenList], is_short: bool, served: Option<&ShortStr>) {
        self.is_taking = false;
        if !is_short {
            self.burst = (self.burst * 2).min(MAX_BURST);
        } else {
            self.burst = FIRST_BURST;
            for queue in &mut self.queues {
                if lists.iter().any(|list| list.queue == queue.name) {
                    queue.may_have = false;
                }
            }
        }
        if is_short {
            return;
        }
        // The queues before it were looked at and had nothing: they had their turn.
        for list in lists {
            self.rotate(&list.queue);
            if served.is_none_or(|served| *served == list.queue) {
                break;
            }
        }
    }

    /// The queue just served goes to the end of the cycle.
    pub(crate) fn rotate(&mut self, queue: &str) {
        if self.order == QueueOrder::RoundRobin
            && let Some(index) = self.queues.iter().position(|active| active.name == *queue)
        {
            let served = self.queues.remove(index);
            self.queues.push(served);
        }
    }

    /// Returns the list `key` belongs to, and who gets the element the waiter popped from it.
    pub(crate) fn handle_popped(&mut self, session: &Session, key: &str) -> (TakenList, Option<Arc<Consumer>>) {
        let name = ShortStr::from(session.keys.queue_of(key));
        self.wake(&name);
        let list = TakenList {
            key: key.into(),
            // The queue was consumed from, so its name can be written.
            queue_json: queue_json(&name).unwrap_or_else(|_| "\"\"".into()),
            queue: name.clone(),
            no_ack: false,
        };
        let consumer = self.queues.iter_mut().find(|active| active.name == name).and_then(|active| active.choose(None));
        self.rotate(&name);
        (list, consumer)
    }

    /// The waiter's request is over. Returns the queues it was for.
    pub(crate) fn handle_lost_waiter(&mut self) -> Vec<ShortStr> {
        self.waiter.disarm()
    }

    /// Notes whether waking the waiter is allowed.
    pub(crate) fn handle_unblocked(&mut self, value: &Value) {
        self.waiter.handle_unblocked(value);
    }

    /// A socket stands.
    pub(crate) fn handle_up(&mut self, role: Role, greeting: &Greeting) {
        match role {
            Role::Waiter => self.waiter.handle_up(greeting),
            Role::Listener => self.listener.handle_up(),
            Role::Command => {}
        }
    }

    /// A socket is lost.
    pub(crate) fn handle_down(&mut self, role: Role) {
        match role {
            Role::Waiter => self.waiter.handle_down(),
            Role::Listener => self.listener.handle_down(),
            Role::Command => {}
        }
    }

    // ---- the end

    /// Takes nothing for now, or takes again.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.is_paused = paused;
    }

    /// Takes nothing any more; wakes the waiter.
    pub(crate) fn stop(&mut self, session: &Session) {
        self.is_stopped = true;
        self.waiter.unblock(session);
    }

    /// Says whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_taking && !self.waiter.is_armed()
    }

    /// Says whether a message of `queue` may be on its way here.
    pub(crate) fn is_taking_from(&self, queue: &str) -> bool {
        self.waiter.waits_for(queue)
    }

    /// Returns the sockets to flush.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.waiter.link().into_iter().chain(self.listener.link()).cloned().collect()
    }

    /// Forgets everything and returns the sockets to close.
    pub(crate) fn close(&mut self) -> Vec<Arc<Link>> {
        self.is_stopped = true;
        let links = self.links();
        self.queues.clear();
        self.chan_to_sock.clear();
        self.listener.close();
        links
    }
}

/// How many messages the first claim after an idle time takes at most.
const FIRST_BURST: usize = 8;
/// How many messages a claim takes at most.
const MAX_BURST: usize = 256;
/// How many queues a claim looks at.
const MAX_QUEUES: usize = 16;

/// How long the waiter waits at once, unless `polling_interval` says otherwise: an idle consumer sends one command in that
/// time. Kombu waits for one second.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
