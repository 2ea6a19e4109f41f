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

mod arrivals;
mod claim;
mod wakes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::hub::Hub;
use kombu_core::reply::Reply;
use kombu_core::{PriorityOrder, Result, ShortStr};

use self::arrivals::Arrivals;
use self::claim::FIRST_BURST;
use self::wakes::Wakes;
use crate::active_queue::ActiveQueue;
use crate::brpop::Waiter;
use crate::connection::{Greeting, Link, Role};
use crate::consumer::Consumer;
use crate::cycle::{Credits, Cycle};
use crate::deliver::Raw;
use crate::listen::Listener;
use crate::options::{RedisOptions, Wake};
use crate::session::Session;
use crate::take::{TakenList, queue_json};
use crate::waiters::Waiters;
use crate::watch::Watch;

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
    queues: Cycle,
    /// Whether the list of messages without a priority is the last that is served.
    is_high_first: bool,
    wake: Wake,
    wakes: Wakes,
    pub(crate) waiter: Waiter,
    pub(crate) waiters: Waiters,
    pub(crate) listener: Listener,
    arrivals: Arrivals,
    /// Kombu's `_chan_to_sock`.
    chan_to_sock: BTreeMap<(u64, Mode), Arc<Link>>,
    is_taking: bool,
    is_paused: bool,
    is_stopped: bool,
    /// Whether a socket may not be used any more.
    has_left: bool,
    /// Looks again whether the application has taken what waits.
    is_looking: bool,
    /// How many messages a claim may take: grows while claims come back full, so that a short backlog is shared with the
    /// consumers of other processes.
    burst: usize,
}

impl MultiChannelPoller {
    /// Makes a poller without consumers.
    pub(crate) fn new(options: &RedisOptions) -> Self {
        MultiChannelPoller {
            queues: Cycle::new(options.queue_order_strategy),
            is_high_first: options.priority_order == PriorityOrder::HighFirst,
            wake: options.wake,
            wakes: Wakes::POP,
            waiter: Waiter::new(options.polling_interval),
            waiters: Waiters::new(options.polling_interval),
            listener: Listener::default(),
            arrivals: Arrivals::default(),
            chan_to_sock: BTreeMap::new(),
            is_taking: false,
            is_paused: false,
            is_stopped: false,
            has_left: false,
            is_looking: false,
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
        consumer.note_changed();
        let added = self.queues.change(&consumer.queue, |queue| {
            queue.add(consumer);
            queue.may_have = true;
        });
        if added.is_some() {
            return Ok(());
        }
        let lists = session.keys.lists(&consumer.queue).map(Into::into).collect();
        let mut queue = ActiveQueue::new(consumer, queue_json(&consumer.queue)?, lists);
        queue.has_waiter = self.queues.count_waiting() < MAX_WAITERS;
        self.queues.add(queue);
        Ok(())
    }

    /// Takes a consumer out.
    pub(crate) fn discard(&mut self, consumer: &Arc<Consumer>) {
        self.has_left = true;
        let is_last = self.queues.change(&consumer.queue, |queue| {
            queue.discard(consumer);
            queue.consumers.is_empty()
        });
        if is_last == Some(true) {
            self.queues.remove(&consumer.queue);
        }
        self.listener.discard(consumer);
        let Some(channel) = consumer.channel.upgrade() else { return };
        let is_in = |mode: Mode, poller: &Self| match mode {
            Mode::Brpop => {
                let mut all = poller.queues.all().flat_map(|queue| &queue.consumers);
                all.any(|other| other.channel.upgrade().is_some_and(|other| other.id == channel.id))
            }
            Mode::Listen => poller.listener.serves(channel.id),
        };
        for mode in [Mode::Brpop, Mode::Listen] {
            if self.chan_to_sock.contains_key(&(channel.id, mode)) && !is_in(mode, self) {
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
        let mut found = self.queues.get(queue).map(|active| active.consumers.clone()).unwrap_or_default();
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

    /// Returns what was taken with the consumers that get it, each counted, and what nobody wants any more.
    pub(crate) fn choose(&mut self, raws: Vec<Raw>) -> (Vec<(Arc<Consumer>, Raw)>, Vec<Raw>) {
        let mut chosen = Vec::with_capacity(raws.len());
        let mut unwanted = Vec::new();
        let mut raws = raws.into_iter().peekable();
        while let Some(first) = raws.peek() {
            let name = first.list.queue.clone();
            let is_known = self.queues.change(&name, |queue| {
                while let Some(raw) = raws.next_if(|raw| raw.list.queue == name) {
                    match queue.choose(Some(raw.list.no_ack)) {
                        Some(consumer) => chosen.push((consumer, raw)),
                        None => unwanted.push(raw),
                    }
                }
            });
            if is_known.is_none() {
                while let Some(raw) = raws.next_if(|raw| raw.list.queue == name) {
                    unwanted.push(raw);
                }
            }
        }
        (chosen, unwanted)
    }

    // ---- once per tick

    /// Notes how much may be taken. What was settled to make room for it is sent between this and
    /// [`on_poll_start`](MultiChannelPoller::on_poll_start), so that a message given back is there when its place is filled.
    pub(crate) fn look_at_credit(&mut self) {
        self.queues.look();
    }

    /// Returns how many messages may be taken from queues that may have some.
    pub(crate) fn room(&self) -> usize {
        let busy = self.queues.busy().iter().filter_map(|turn| self.queues.at(turn));
        busy.fold(0, |room, queue| room.saturating_add(queue.credit()))
    }

    /// Claims from queues that may have messages; sees to it that the others wake us; subscribes.
    pub(crate) fn on_poll_start(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
        if self.is_stopped {
            self.waiter.unblock(session);
            return self.waiters.end_all(session);
        }
        // Whoever has given no sign of life for too long must know first whether it is still alive.
        if !session.is_overdue(hub.now()) {
            let had_messages = !self.queues.busy().is_empty();
            self.claim(session);
            if self.wakes.is_pop() {
                self.register_brpop(session, hub, !had_messages);
            } else {
                self.register_waits(session, hub);
            }
            self.tell_arrived();
        }
        self.register_listen(session, hub);
        if self.queues.silent().any(|queue| queue.credit() == 0 && queue.is_choked()) {
            self.look_again(session, hub);
        }
    }

    /// Looks again, a little later, whether the application has taken what waits.
    fn look_again(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
        if std::mem::replace(&mut self.is_looking, true) {
            return;
        }
        let session = Arc::downgrade(session);
        hub.call_later(
            LOOK_INTERVAL,
            Box::new(move |_| {
                if let Some(session) = session.upgrade() {
                    session.poller().is_looking = false;
                    session.touch();
                }
            }),
        );
    }

    /// Returns the sockets that no channel uses any more; they are to be closed.
    pub(crate) fn take_unused(&mut self) -> Vec<Arc<Link>> {
        if !self.has_left {
            return Vec::new();
        }
        let is_used = |mode: Mode| self.chan_to_sock.keys().any(|(_, used)| *used == mode);
        let (brpop, listen) = (is_used(Mode::Brpop), is_used(Mode::Listen));
        let waiter = if brpop || self.waiter.is_armed() { None } else { self.waiter.take_link() };
        let listener = if listen { None } else { self.listener.take_link() };
        let queues = &self.queues;
        let is_active = |name: &ShortStr| queues.get(name).is_some();
        let unused = waiter.into_iter().chain(listener).chain(self.waiters.take_unused(is_active)).collect();
        // What is under way for those that left is not over yet.
        self.has_left = !brpop && self.waiter.link().is_some() || self.waiters.has_unused(is_active);
        unused
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
        self.queues.change(queue, |queue| queue.may_have = true);
    }

    /// The queue just served goes to the end of the cycle.
    pub(crate) fn rotate(&mut self, queue: &str) {
        self.queues.rotate(queue);
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
            limit: 1,
        };
        let consumer = self.queues.change(&name, |active| active.choose(None)).flatten();
        self.rotate(&name);
        (list, consumer)
    }

    /// The waiter's request is over. Returns the queues it was for.
    pub(crate) fn handle_lost_waiter(&mut self) -> Vec<ShortStr> {
        self.waiter.disarm()
    }

    /// The server has answered the request to wake a waiter.
    pub(crate) fn handle_unblocked(&mut self, list: Option<&str>) {
        match list {
            Some(list) => self.waiters.handle_unblocked(list),
            None => self.waiter.handle_unblocked(),
        }
    }

    /// A socket stands.
    pub(crate) fn handle_up(&mut self, link: &Arc<Link>, greeting: &Greeting) {
        match link.role() {
            Role::Waiter if self.waiter.link().is_some_and(|own| Arc::ptr_eq(own, link)) => {
                self.waiter.handle_up(greeting);
            }
            Role::Waiter => self.waiters.handle_up(link, greeting),
            Role::Listener => self.listener.handle_up(),
            Role::Command | Role::Lease => {}
        }
    }

    /// A socket is lost.
    pub(crate) fn handle_down(&mut self, link: &Arc<Link>) {
        match link.role() {
            Role::Waiter if self.waiter.link().is_some_and(|own| Arc::ptr_eq(own, link)) => self.waiter.handle_down(),
            Role::Waiter => self.waiters.handle_down(link),
            Role::Listener => self.listener.handle_down(),
            Role::Command => self.queues.change_all(|queue| queue.watch = Watch::No),
            Role::Lease => {}
        }
    }

    // ---- the end

    /// Takes nothing for now; `false` when that was so already.
    pub(crate) fn pause(&mut self) -> bool {
        !std::mem::replace(&mut self.is_paused, true)
    }

    /// Takes again.
    pub(crate) fn go_on(&mut self) {
        self.is_paused = false;
    }

    /// Takes nothing any more; wakes the waiters.
    pub(crate) fn stop(&mut self, session: &Session) {
        self.is_stopped = true;
        self.waiter.unblock(session);
        self.waiters.end_all(session);
    }

    /// Says whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_taking && !self.waiter.is_armed() && !self.waiters.is_armed()
    }

    /// Says whether a message of `queue` may be on its way here.
    pub(crate) fn is_taking_from(&self, queue: &str) -> bool {
        self.waiter.waits_for(queue) || self.waiters.has(queue)
    }

    /// Returns every inbox and the list it is filled from.
    pub(crate) fn inboxes(&self) -> Vec<(String, String)> {
        self.waiters.inboxes()
    }

    /// Returns who is told when a consumer's credit changes.
    pub(crate) fn credits(&self) -> Arc<Credits> {
        Arc::clone(&self.queues.credits)
    }

    /// Says whether a claim is under way.
    #[cfg(test)]
    pub(crate) fn is_taking(&self) -> bool {
        self.is_taking
    }

    /// Returns how often a queue was looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.queues.looks()
    }

    /// Returns the sockets to flush.
    pub(crate) fn filled_links(&self) -> Vec<Arc<Link>> {
        self.all_links().filter(|link| link.is_filled()).cloned().collect()
    }

    fn all_links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.waiter.link().into_iter().chain(self.listener.link()).chain(self.waiters.links())
    }

    /// Forgets everything and returns the sockets to close.
    pub(crate) fn close(&mut self) -> Vec<Arc<Link>> {
        self.is_stopped = true;
        let links = self.all_links().cloned().collect();
        self.queues.clear();
        self.chan_to_sock.clear();
        self.listener.close();
        links
    }
}

/// How many queues have a socket of their own that waits.
const MAX_WAITERS: usize = 32;
/// How often a consumer without acknowledgement is looked at whose application is slow.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
