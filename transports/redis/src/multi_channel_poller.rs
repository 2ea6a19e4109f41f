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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kombu_core::hub::Hub;
use kombu_core::reply::Reply;
use kombu_core::{PriorityOrder, Result, ShortStr};
use redis::Value;

use crate::active_queue::ActiveQueue;
use crate::brpop::Waiter;
use crate::connection::{Greeting, Link, Role};
use crate::consumer::Consumer;
use crate::cycle::{Credits, Cycle, Turn};
use crate::deliver::Raw;
use crate::listen::Listener;
use crate::options::{RedisOptions, Wake};
use crate::session::Session;
use crate::take::{TakenList, Taking, queue_json};
use crate::waiters::{Inbox, Waiters};
use crate::watch::{Watch, watch};

/// How a channel gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// From lists.
    Brpop,
    /// From subscriptions.
    Listen,
}

/// What wakes idle consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wakes {
    /// A blocking move from the most urgent list of a queue, or from each.
    moves: bool,
    /// The server tells of changed lists.
    watches: bool,
}

impl Wakes {
    /// Kombu's blocking pop.
    const POP: Wakes = Wakes { moves: false, watches: false };

    fn is_pop(self) -> bool {
        self == Wakes::POP
    }

    /// How many lists of a queue are waited for by a blocking move: the rest is watched.
    fn moved(self, queue: &ActiveQueue) -> usize {
        match self {
            Wakes { moves: true, watches: true } if queue.has_waiter => 1.min(queue.lists.len()),
            Wakes { moves: true, watches: false } => queue.lists.len(),
            _ => 0,
        }
    }
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
        }
        self.register_listen(session, hub);
        if self.queues.silent().any(|queue| queue.credit() == 0 && queue.is_choked()) {
            self.look_again(session, hub);
        }
    }

    /// Sends a claim from queues that may have messages, and one that gives back what nobody has room for.
    fn claim(&mut self, session: &Arc<Session>) {
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
    fn give_back(&self, session: &Arc<Session>, inboxes: Vec<Inbox>) {
        let mut lists: Vec<TakenList> = Vec::new();
        for inbox in &inboxes {
            if !lists.iter().any(|list| list.key == inbox.list) {
                lists.extend(list_of(inbox));
            }
        }
        Taking::submit(session, 0, lists, inboxes, None);
    }

    /// Returns the lists of queues whose consumers may have no room any more once `count` messages are taken from `group`.
    fn exhausted_by(&self, group: &[Turn], count: usize) -> Vec<Arc<str>> {
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

    /// Returns the lists of a queue, where messages without a priority lie first.
    fn waited_lists(&self, queue: &ActiveQueue) -> Vec<Arc<str>> {
        let mut lists = queue.lists.clone();
        if self.is_high_first {
            lists.reverse();
        }
        lists
    }

    /// Sees to it that every queue with credit that has no messages wakes us when it does.
    fn register_waits(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
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

    /// Sees to it that the waiter waits for what it should: for every queue with credit, while none may have messages.
    fn register_brpop(&mut self, session: &Arc<Session>, hub: &dyn Hub, all_empty: bool) {
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

    /// Notes how a claim ended; `is_short` when it found less than it was to take.
    pub(crate) fn handle_taken(&mut self, taking: &Taking, raws: &[Raw], is_short: bool) {
        if taking.count == 0 {
            return;
        }
        self.is_taking = false;
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

/// How many messages the first claim after an idle time takes at most.
const FIRST_BURST: usize = 8;
/// How many messages a claim takes at most.
const MAX_BURST: usize = 256;
/// How many queues a claim looks at.
const MAX_QUEUES: usize = 16;
/// How many queues have a socket of their own that waits.
const MAX_WAITERS: usize = 32;
/// How many queues one command asks the server to watch.
const MAX_WATCHED: usize = 64;
/// How often a consumer without acknowledgement is looked at whose application is slow.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Returns a list from which nothing is taken: what is in its inbox goes back.
fn list_of(inbox: &Inbox) -> Option<TakenList> {
    let (key, queue) = (Arc::clone(&inbox.list), inbox.queue.clone());
    let queue_json = queue_json(&queue).ok()?;
    Some(TakenList { key, queue, queue_json, no_ack: false, limit: 0 })
}
