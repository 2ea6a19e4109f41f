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
use kombu_core::{PriorityOrder, Result, ShortStr};
use redis::Value;

use crate::active_queue::ActiveQueue;
use crate::brpop::Waiter;
use crate::connection::{Greeting, Link, Role};
use crate::consumer::Consumer;
use crate::deliver::Raw;
use crate::listen::Listener;
use crate::options::{QueueOrder, RedisOptions, Wake};
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
}

/// Serves the consumers of all channels of a connection. Belongs to the hub's thread.
pub(crate) struct MultiChannelPoller {
    order: QueueOrder,
    /// Whether the list of messages without a priority is the last that is served.
    is_high_first: bool,
    /// In cycle order.
    queues: Vec<ActiveQueue>,
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
            order: options.queue_order_strategy,
            is_high_first: options.priority_order == PriorityOrder::HighFirst,
            queues: Vec::new(),
            wake: options.wake,
            wakes: Wakes::POP,
            waiter: Waiter::new(options.polling_interval),
            waiters: Waiters::new(options.polling_interval),
            listener: Listener::default(),
            chan_to_sock: BTreeMap::new(),
            is_taking: false,
            is_paused: false,
            is_stopped: false,
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
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.name == consumer.queue) {
            queue.add(consumer);
            queue.may_have = true;
            return Ok(());
        }
        let lists = session.keys.lists(&consumer.queue).map(Into::into).collect();
        let mut queue = ActiveQueue::new(consumer, queue_json(&consumer.queue)?, lists);
        queue.has_waiter = self.queues.iter().filter(|queue| queue.has_waiter).count() < MAX_WAITERS;
        self.queues.push(queue);
        if self.order == QueueOrder::Sorted {
            self.queues.sort_by(|left, right| left.name.cmp(&right.name));
        }
        Ok(())
    }

    /// Takes a consumer out.
    pub(crate) fn discard(&mut self, consumer: &Arc<Consumer>) {
        self.queues.iter_mut().for_each(|queue| queue.discard(consumer));
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

    /// Claims from queues that may have messages; sees to it that the others wake us; subscribes.
    pub(crate) fn on_poll_start(&mut self, session: &Arc<Session>, hub: &dyn Hub) {
        if self.is_stopped {
            self.waiter.unblock(session);
            return self.waiters.end_all(session);
        }
        // In cycle order: who may have messages, who is idle, and both.
        let mut busy = Vec::new();
        let mut wanted = Vec::new();
        let mut open = Vec::new();
        let mut is_choked = false;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let credit = queue.credit();
            // While it had none, nobody looked.
            queue.may_have |= credit > 0 && !queue.had_credit;
            queue.had_credit = credit > 0;
            if credit == 0 {
                is_choked |= queue.is_choked();
                continue;
            }
            open.push(index);
            if queue.may_have { busy.push(index) } else { wanted.push(index) }
        }
        // Whoever has given no sign of life for too long must know first whether it is still alive.
        if !session.is_overdue(hub.now()) {
            self.claim(session, &busy, open);
            if self.wakes.is_pop() {
                self.register_brpop(session, hub, busy.is_empty(), &wanted);
            } else {
                self.register_waits(session, hub, &wanted);
            }
        }
        self.register_listen(session, hub);
        if is_choked {
            self.look_again(session, hub);
        }
    }

    /// Sends a claim from queues that may have messages, and one that gives back what nobody has room for.
    fn claim(&mut self, session: &Arc<Session>, busy: &[usize], open: Vec<usize>) {
        let dirty: Vec<Inbox> = self.waiters.dirty().collect();
        let mut group = Vec::new();
        if let Some(first) = busy.first()
            && !self.is_taking
            && !self.is_paused
        {
            // Nothing waits for the idle queues while a claim may find messages, if one socket waits for all: look at them, too.
            group = if self.wakes.is_pop() { open } else { busy.to_vec() };
            group.truncate(MAX_QUEUES);
            if group.last().is_some_and(|last| last < first) {
                group.pop();
                group.push(*first);
            }
        }
        let mut chosen = Vec::with_capacity(group.len());
        let mut room = 0_usize;
        for index in &group {
            let queue = &mut self.queues[*index];
            let no_ack = queue.kind_to_take();
            let limit = queue.credit_of(no_ack);
            room = room.saturating_add(limit);
            chosen.push((*index, no_ack, limit));
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
        let is_in = |inbox: &Inbox| chosen.iter().any(|(index, ..)| self.queues[*index].name == inbox.queue);
        let (own, others): (Vec<Inbox>, Vec<Inbox>) = dirty.into_iter().partition(|inbox| count > 0 && is_in(inbox));
        let is_of_full = |inbox: &Inbox| {
            let queue = self.queues.iter().find(|queue| queue.name == inbox.queue);
            queue.is_none_or(|queue| queue.credit() == 0)
        };
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
        let steps = group.iter().map(|index| self.queues[*index].lists.len()).max().unwrap_or(0);
        let mut ordered = Vec::with_capacity(steps * chosen.len());
        for step in 0..steps {
            for (index, no_ack, limit) in &chosen {
                let queue = &self.queues[*index];
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
    fn exhausted_by(&self, group: &[usize], count: usize) -> Vec<Arc<str>> {
        let shares = group.iter().any(|index| self.queues[*index].shares_window());
        let mut lists = Vec::new();
        for (index, queue) in self.queues.iter().enumerate() {
            let is_claimed = group.contains(&index) || shares && queue.shares_window();
            if is_claimed && queue.credit() <= count {
                lists.extend(queue.lists.iter().cloned());
            }
        }
        lists
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

    /// Sees to it that every queue with credit that has no messages wakes us when it does.
    fn register_waits(&mut self, session: &Arc<Session>, hub: &dyn Hub, wanted: &[usize]) {
        let mut moves: Vec<(Arc<str>, ShortStr)> = Vec::new();
        let mut watched: Vec<(ShortStr, Vec<Arc<str>>)> = Vec::new();
        // What may have messages goes on waiting, but does not begin to.
        let busy = self.queues.iter().filter(|queue| queue.may_have && queue.credit() > 0 && queue.has_waiter);
        let busy: Vec<Arc<str>> = busy.flat_map(|queue| queue.lists.iter().cloned()).collect();
        for index in wanted {
            let queue = &mut self.queues[*index];
            let moved = match self.wakes {
                Wakes { moves: true, watches: true } if queue.has_waiter => 1,
                Wakes { moves: true, watches: false } => queue.lists.len(),
                _ => 0,
            };
            // Where messages without a priority lie comes first.
            let mut lists = queue.lists.clone();
            if self.is_high_first {
                lists.reverse();
            }
            if self.wakes.watches && queue.watch == Watch::No && lists.len() > moved {
                queue.watch = Watch::Asked;
                watched.push((queue.name.clone(), lists.split_off(moved)));
            }
            lists.truncate(moved);
            moves.extend(lists.into_iter().map(|list| (list, queue.name.clone())));
        }
        if !self.is_paused && (!moves.is_empty() || self.waiters.is_armed()) {
            let name = if moves.is_empty() {
                Arc::clone(session.lock(&session.identity).name())
            } else {
                session.ensure_registered()
            };
            let wanted: Vec<_> = moves.iter().map(|(list, queue)| (list, queue)).collect();
            self.waiters.wait_for(session, hub, &name, &wanted, &busy);
        }
        for chunk in watched.chunks(MAX_WATCHED) {
            let names = chunk.iter().map(|(name, _)| name.clone()).collect();
            let keys: Vec<Arc<str>> = chunk.iter().flat_map(|(_, lists)| lists.iter().cloned()).collect();
            watch(session, names, &keys);
        }
    }

    /// Returns the sockets that no channel uses any more; they are to be closed.
    pub(crate) fn take_unused(&mut self) -> Vec<Arc<Link>> {
        let is_used = |mode: Mode| self.chan_to_sock.keys().any(|(_, used)| *used == mode);
        let (brpop, listen) = (is_used(Mode::Brpop), is_used(Mode::Listen));
        let waiter = if brpop || self.waiter.is_armed() { None } else { self.waiter.take_link() };
        let listener = if listen { None } else { self.listener.take_link() };
        let queues = &self.queues;
        let is_active = |name: &ShortStr| queues.iter().any(|queue| queue.name == *name);
        waiter.into_iter().chain(listener).chain(self.waiters.take_unused(is_active)).collect()
    }

    /// Sees to it that the waiter waits for what it should: for every queue with credit, while none may have messages.
    fn register_brpop(&mut self, session: &Arc<Session>, hub: &dyn Hub, all_empty: bool, wanted: &[usize]) {
        let names: Vec<ShortStr> = wanted.iter().map(|index| self.queues[*index].name.clone()).collect();
        if self.waiter.is_armed() {
            let is_active = |name: &ShortStr| self.queues.iter().any(|queue| queue.name == *name);
            if self.waiter.is_stale(is_active) || self.waiter.misses(&names) && !self.is_taking {
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

    /// Notes how a claim ended; `is_short` when it found less than it was to take.
    pub(crate) fn handle_taken(&mut self, taking: &Taking, raws: &[Raw], is_short: bool) {
        if taking.count == 0 {
            return;
        }
        self.is_taking = false;
        if is_short {
            self.burst = FIRST_BURST;
            for queue in &mut self.queues {
                let Some(list) = taking.lists.iter().find(|list| list.queue == queue.name) else { continue };
                // One that gave all it was asked for may have more.
                let got = raws.iter().filter(|raw| raw.list.queue == queue.name).count();
                queue.may_have &= got >= list.limit && list.limit > 0;
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
            limit: 1,
        };
        let consumer = self.queues.iter_mut().find(|active| active.name == name).and_then(|active| active.choose(None));
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
            self.queues.iter_mut().for_each(|queue| queue.watch = Watch::No);
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
        self.queues.iter_mut().for_each(|queue| queue.watch = Watch::No);
        self.waiters.doubt(session);
    }

    /// The server watches the lists of these queues, and says how many of them have messages; or nobody knows.
    pub(crate) fn handle_watched(&mut self, queues: &[ShortStr], answer: Option<&Value>) {
        for queue in self.queues.iter_mut().filter(|queue| queues.contains(&queue.name)) {
            match answer {
                Some(Value::Int(count)) => {
                    // What changed since was told before this answer, and is not forgotten.
                    if queue.watch == Watch::Asked {
                        queue.watch = Watch::Yes;
                    }
                    queue.may_have |= *count > 0;
                }
                Some(_) => {
                    self.wakes.watches = false;
                    queue.watch = Watch::No;
                }
                None => queue.watch = Watch::No,
            }
        }
    }

    /// The server tells that a key has changed.
    pub(crate) fn handle_changed(&mut self, session: &Session, key: &str) {
        let name = session.keys.queue_of(key);
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.name == *name) {
            queue.watch = Watch::No;
            queue.may_have = true;
        }
    }

    /// Everything on the server is gone.
    pub(crate) fn handle_flushed(&mut self, session: &Session) {
        self.queues.iter_mut().for_each(|queue| queue.watch = Watch::No);
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
            Role::Command => self.queues.iter_mut().for_each(|queue| queue.watch = Watch::No),
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

    /// Returns the sockets to flush.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.waiter.link().into_iter().chain(self.listener.link()).chain(self.waiters.links()).cloned().collect()
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
