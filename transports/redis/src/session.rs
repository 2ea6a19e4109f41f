//! One connection to a broker: its sockets, its channels, its poller.

mod call;
mod tick;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kombu_core::backlog::Backlog;
use kombu_core::hub::{HookId, Hub, HubHandle};
use kombu_core::{Clock, Error, ErrorKind, Result, ShortStr};

use crate::channel_core::ChannelCore;
use crate::confirm::Held;
use crate::connection::{Link, LinkOwner, Role, Target, closed, command};
use crate::cycle::Credits;
use crate::due::Due;
use crate::envelope::Limits;
use crate::history::History;
use crate::identity::Identity;
use crate::keys::Keys;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::letters::Letters;
use crate::log_limit::LogLimit;
use crate::multi_channel_poller::MultiChannelPoller;
use crate::options::RedisOptions;
use crate::policies::Policies;
use crate::refused::Refused;
use crate::route_cache::RouteCache;
use crate::route_check::RouteChecks;
use crate::routes::Routes;
use crate::settle::Pending;
use crate::standing::Standings;
use crate::sweep::Sweep;
use crate::tags::Tags;
use crate::topology::Topology;

/// What all parts of one broker connection share.
pub(crate) struct Session {
    pub(crate) options: RedisOptions,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) topology: Arc<Topology>,
    pub(crate) handle: HubHandle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) target: Arc<Target>,
    /// The pipelined connection all commands go through.
    pub(crate) command: Arc<Link>,
    /// What the fields of our entries in `unacked` begin with.
    pub(crate) identity: Mutex<Identity>,
    /// Which of them there may be.
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) lease: Mutex<Lease>,
    /// When the session was made, and until when after that the lease lasts for sure, in microseconds.
    pub(crate) started: Instant,
    pub(crate) good_until: AtomicU64,
    /// What was recorded under numbers below this is lost with the name it was taken under.
    pub(crate) lost_before: AtomicU64,
    /// Which run of the server the command connection is to.
    pub(crate) run_id: Mutex<Option<String>>,
    /// What the server has counted of what was declared, and how often it has lost everything.
    pub(crate) history: Mutex<History>,
    pub(crate) flushes: AtomicU64,
    /// The delivery tags of what is published.
    pub(crate) tags: Tags,
    pub(crate) backlog: Backlog,
    pub(crate) routes: Mutex<Routes>,
    pub(crate) route_cache: Mutex<RouteCache>,
    pub(crate) route_checks: Mutex<RouteChecks>,
    pub(crate) held: Mutex<Held>,
    /// Which queues have a policy; whether any has one, for whoever has no time to look.
    pub(crate) policies: Mutex<Policies>,
    pub(crate) has_policies: AtomicBool,
    pub(crate) due: Mutex<Due>,
    pub(crate) letters: Mutex<Letters>,
    pub(crate) warnings: LogLimit,
    pub(crate) sweep: Mutex<Sweep>,
    /// What the server refused for now.
    pub(crate) refused: Mutex<Refused>,
    /// The exclusive queues declared here, which go with the connection.
    pub(crate) exclusive: Mutex<Vec<ShortStr>>,
    /// The settles since the last tick.
    pub(crate) settles: Mutex<Pending>,
    /// The channels whose publishes have a deadline that nobody keeps yet.
    pub(crate) watched: Mutex<Vec<Arc<ChannelCore>>>,
    /// Who is told when a consumer's credit changes.
    pub(crate) credits: Arc<Credits>,
    poller: Mutex<MultiChannelPoller>,
    channels: Mutex<HashMap<u64, Arc<ChannelCore>>>,
    /// Where the consumers stand among all of their queues.
    pub(crate) standings: Mutex<Standings>,
    /// Whether the server tells on the command connection what has changed.
    is_tracking: AtomicBool,
    next_channel: AtomicU64,
    next_consumer: AtomicU64,
    dirty: AtomicBool,
    closing: AtomicBool,
    hooks: Mutex<Vec<HookId>>,
    pub(crate) me: Weak<Session>,
}

impl Session {
    /// Makes a session on `hub` that is not connected.
    pub(crate) fn new(options: RedisOptions, target: Target, clock: Arc<dyn Clock>, hub: &dyn Hub) -> Arc<Self> {
        let target = Arc::new(target);
        let keys = Keys::new(&options);
        let broker = format!("{:?}/{}/{}", options.address, options.db, options.global_keyprefix);
        let handle = hub.handle().io();
        let session = Arc::new_cyclic(|me: &Weak<Session>| {
            let owner: Weak<dyn LinkOwner> = me.clone();
            let poller = MultiChannelPoller::new(&options);
            Session {
                credits: poller.credits(),
                settles: Mutex::default(),
                watched: Mutex::default(),
                limits: Limits::new(&options),
                topology: Topology::of(&broker),
                command: Link::new(Role::Command, Arc::clone(&target), handle.clone(), owner),
                poller: Mutex::new(poller),
                identity: Mutex::new(Identity::new()),
                ledger: Mutex::default(),
                lease: Mutex::default(),
                started: hub.now(),
                good_until: AtomicU64::new(u64::MAX),
                lost_before: AtomicU64::default(),
                run_id: Mutex::default(),
                history: Mutex::default(),
                flushes: AtomicU64::default(),
                tags: Tags::new(),
                backlog: Backlog::default(),
                routes: Mutex::default(),
                route_cache: Mutex::default(),
                route_checks: Mutex::default(),
                held: Mutex::default(),
                policies: Mutex::default(),
                has_policies: AtomicBool::new(false),
                due: Mutex::default(),
                letters: Mutex::default(),
                warnings: LogLimit::default(),
                sweep: Mutex::default(),
                refused: Mutex::default(),
                exclusive: Mutex::default(),
                channels: Mutex::default(),
                standings: Mutex::default(),
                is_tracking: AtomicBool::new(false),
                next_channel: AtomicU64::new(1),
                next_consumer: AtomicU64::new(1),
                dirty: AtomicBool::new(false),
                closing: AtomicBool::new(false),
                hooks: Mutex::default(),
                me: me.clone(),
                options,
                keys,
                handle,
                clock,
                target,
            }
        });
        session.register(hub);
        session
    }

    /// Returns the field of `unacked` of number `number`.
    pub(crate) fn field(&self, number: u64) -> String {
        format!("{}:{number}", self.lock(&self.identity).name_of(number))
    }

    /// Notes that nothing is recorded under these numbers any more.
    pub(crate) fn close_fields(&self, numbers: impl IntoIterator<Item = u64>) {
        self.lock(&self.ledger).close(numbers);
    }

    /// Opens a channel.
    pub(crate) fn open_channel(self: &Arc<Self>) -> Arc<ChannelCore> {
        let id = self.next_channel.fetch_add(1, Ordering::Relaxed);
        let channel = Arc::new(ChannelCore::new(id, Arc::clone(self)));
        self.lock(&self.channels).insert(id, Arc::clone(&channel));
        channel
    }

    /// Returns the number of a new consumer.
    pub(crate) fn next_consumer(&self) -> u64 {
        self.next_consumer.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes whether the server tells on the command connection what has changed.
    pub(crate) fn set_tracking(&self, is_tracking: bool) {
        self.is_tracking.store(is_tracking, Ordering::Release);
    }

    /// Says whether the server tells on the command connection what has changed.
    pub(crate) fn is_tracking(&self) -> bool {
        self.is_tracking.load(Ordering::Acquire)
    }

    /// Forgets a channel.
    pub(crate) fn forget_channel(&self, id: u64) {
        let forgotten = self.lock(&self.channels).remove(&id);
        drop(forgotten);
    }

    /// Says whether a channel is open, or not done with closing.
    pub(crate) fn has_channel(&self, id: u64) -> bool {
        self.lock(&self.channels).contains_key(&id)
    }

    /// Returns the open channels.
    pub(crate) fn channels(&self) -> Vec<Arc<ChannelCore>> {
        self.lock(&self.channels).values().cloned().collect()
    }

    /// Returns the poller. Only on the hub's thread, and never while user code runs.
    pub(crate) fn poller(&self) -> MutexGuard<'_, MultiChannelPoller> {
        self.lock(&self.poller)
    }

    /// Notes that the session is about to close: nothing new is taken.
    pub(crate) fn begin_closing(&self) -> bool {
        !self.closing.swap(true, Ordering::AcqRel)
    }

    /// Says whether the session is about to close, or closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Closes the sockets and leaves the hub.
    pub(crate) fn leave(self: &Arc<Self>, hub: &dyn Hub) {
        for hook in std::mem::take(&mut *self.lock(&self.hooks)) {
            hub.remove_hook(hook);
        }
        self.lock(&self.sweep).stop();
        self.lock(&self.lease).stop();
        self.lock(&self.due).stop();
        let links = self.poller().close();
        for link in links {
            link.close(hub);
        }
        self.command.close(hub);
        self.fail_settles();
        self.fail_held(&closed());
        self.fail_route_checks();
        self.fail_refused();
    }

    /// Fails the settles since the last tick: there is no connection to come.
    pub(crate) fn fail_settles(&self) {
        let settles = std::mem::take(&mut *self.lock(&self.settles));
        settles.fail(&closed());
    }

    /// Says whether the command connection stands.
    pub(crate) fn is_up(&self) -> bool {
        self.command.is_up()
    }

    /// Waits until `is_quiet`, and everything sent up to then is answered.
    pub(crate) async fn quiesce(&self, is_quiet: impl Fn(&MultiChannelPoller) -> bool) {
        while self.barrier().await.is_ok() && !is_quiet(&self.poller()) {
            self.handle.sleep(QUIESCE_INTERVAL).await;
        }
        // What the last pop brought goes back before this is answered; that there is no answer is known by now.
        let _ = self.barrier().await;
    }

    /// Waits until everything sent on the command connection before is answered.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub(crate) async fn barrier(&self) -> Result<()> {
        self.call(1, |out| command::command(out, &["PING"])).await.map(drop)
    }

    /// Locks one of the session's parts.
    pub(crate) fn lock<'a, T>(&self, part: &'a Mutex<T>) -> MutexGuard<'a, T> {
        // Nothing panics while a lock is held; a poisoned part is as good as any.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns this session.
    pub(crate) fn me(&self) -> Option<Arc<Session>> {
        self.me.upgrade()
    }
}

/// How often whoever closes looks whether what is under way has ended.
pub(crate) const QUIESCE_INTERVAL: Duration = Duration::from_millis(5);

/// The error of what is asked of a session that is closing.
#[cold]
pub(crate) fn is_closed(what: &'static str) -> Error {
    Error::new(ErrorKind::Closed, format!("the {what} is closed"))
}
