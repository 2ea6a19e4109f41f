//! The state behind a connection, and how operations run on it.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::builder::ConnectionOptions;
use super::closed;
use super::event::{ConnectionEvent, Events};
use super::lane::{Lane, Step};
use super::live::Live;
use super::topology::Topology;
use super::unconfirmed::Unanswered;
use super::{IoPlacement, failover};
use crate::capability::Capabilities;
use crate::consumer::ConsumerCore;
use crate::drops::Drops;
use crate::error::{Error, ErrorKind, Recovery, Result, Scope};
use crate::hub::{self, HookId, Hub, HubHandle, instant_after};
use crate::pending::{Pending, Sent, Terms};
use crate::race::{First, Flag, first};
use crate::registry::TransportEntry;
use crate::reply;
use crate::transport::{Transport, TransportConfig};
use crate::url::BrokerUrl;

/// What becomes of an operation whose turn comes after its deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// It is not begun: whoever asked was told that it timed out.
    Refused,
    /// It is done all the same: it ends something that must not go on.
    Done,
}

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How much longer than its deadline an operation may hold up those behind it: its own, more precise error comes first.
const GRACE: Duration = Duration::from_millis(100);

/// Everything the clones of a [`Connection`](super::Connection), its producers and its consumers share.
pub(crate) struct Inner {
    pub(super) entry: TransportEntry,
    pub(super) urls: Vec<BrokerUrl>,
    /// The number of the attempt that names which of `urls` is tried or in use.
    pub(super) target: AtomicUsize,
    /// What the order of a shuffle begins with.
    seed: u64,
    pub(crate) options: ConnectionOptions,
    pub(crate) events: Events,
    pub(crate) topology: Topology,
    pub(crate) drops: Drops,
    pub(super) lane: Lane,
    pub(super) unanswered: Unanswered,
    pub(super) live: ArcSwapOption<Live>,
    /// The first `live`, which most connections keep: it is found without counting references.
    pub(super) first_live: OnceLock<Arc<Live>>,
    pub(super) was_connected: AtomicBool,
    is_disturbed: AtomicBool,
    /// Whether the lane holds a step that looks for the broker on behalf of the consumers.
    pub(super) is_recovering: AtomicBool,
    pub(super) closing: Flag,
    /// A transport made ahead of the first connect, so that bad options are found when the connection is made.
    pub(super) prepared: Mutex<Option<Arc<dyn Transport>>>,
    pub(super) hub: OnceLock<HubHandle>,
    /// Where the application's callbacks run: the registered hub, or a thread of the connection's own.
    pub(super) user_hub: OnceLock<HubHandle>,
    /// What closes the connection with the hub it was registered with.
    pub(super) close_hook: OnceLock<HookId>,
    /// The hub on the thread made for the I/O of this connection.
    pub(super) io_hub: OnceLock<HubHandle>,
    pub(super) consumers: Mutex<Vec<Weak<ConsumerCore>>>,
    pub(super) this: Weak<Inner>,
}

impl Inner {
    pub(super) fn new(entry: TransportEntry, urls: Vec<BrokerUrl>, options: ConnectionOptions) -> Result<Arc<Self>> {
        let config = |url: &BrokerUrl| transport_config(url, &urls, &options);
        // Every URL is checked now, so that a mistake in the third does not show at the first failover.
        let mut transports = urls.iter().map(|url| (entry.make)(config(url))).collect::<Result<Vec<_>>>()?;
        let prepared = Mutex::new(Some(transports.swap_remove(0)));
        Ok(Arc::new_cyclic(|this| Inner {
            entry,
            urls,
            target: AtomicUsize::new(0),
            seed: failover::seed(),
            options,
            events: Events::default(),
            topology: Topology::default(),
            drops: Drops::default(),
            lane: Lane::default(),
            unanswered: Unanswered::default(),
            live: ArcSwapOption::empty(),
            first_live: OnceLock::new(),
            was_connected: AtomicBool::new(false),
            is_disturbed: AtomicBool::new(false),
            is_recovering: AtomicBool::new(false),
            closing: Flag::default(),
            prepared,
            hub: OnceLock::new(),
            user_hub: OnceLock::new(),
            close_hook: OnceLock::new(),
            io_hub: OnceLock::new(),
            consumers: Mutex::new(Vec::new()),
            this: this.clone(),
        }))
    }

    pub(super) fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        let handle = hub.handle();
        let io = match self.options.io_placement {
            IoPlacement::SharedHub => handle.io(),
            IoPlacement::Dedicated if self.hub.get().is_some() => handle.io(),
            IoPlacement::Dedicated => hub::dedicated_hub("kombu-io")?.io(),
        };
        if let Err(io) = self.hub.set(io) {
            if io.id() != handle.id() {
                io.stop();
            }
            return Err(Error::new(
                ErrorKind::InvalidState,
                "the connection runs on a hub already; register it before its first operation",
            )
            .during("register_with_event_loop"));
        }
        if let Some(own) = self.hub.get().filter(|hub| hub.id() != handle.id()) {
            // Unset until now, as `hub` was.
            let _ = self.io_hub.set(own.clone());
        }
        // Unset until now: `user_hub` is set from `hub` alone.
        let _ = self.user_hub.set(handle.user());
        let this = self.this.clone();
        // Of the user class: only such a callback may wait for the goodbye.
        let hook = hub.on_close(Box::new(move |hub| {
            if let Some(inner) = this.upgrade() {
                inner.close_on_hub(hub);
            }
        }));
        // Unset until now: a connection is registered once.
        let _ = self.close_hook.set(hook);
        Ok(())
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_raised()
    }

    pub(super) fn weak(&self) -> Weak<Inner> {
        self.this.clone()
    }

    /// Returns the hub that carries the connection: the registered one, else the process's shared one.
    pub(crate) fn hub(&self) -> Result<&HubHandle> {
        if let Some(hub) = self.hub.get() {
            return Ok(hub);
        }
        let shared = hub::shared_hub()?.io();
        Ok(self.hub.get_or_init(|| shared))
    }

    /// Returns the hub on which the application's callbacks run.
    pub(crate) fn user_hub(&self) -> Result<HubHandle> {
        if let Some(hub) = self.user_hub.get() {
            return Ok(hub.clone());
        }
        let dedicated = hub::dedicated_hub("kombu-callbacks")?.user();
        // Two threads may come here at once; the loser's thread ends again.
        if let Err(mine) = self.user_hub.set(dedicated) {
            mine.stop();
        }
        self.user_hub.get().cloned().ok_or_else(closed)
    }

    pub(super) fn url(&self) -> BrokerUrl {
        let attempt = self.target.load(Ordering::Relaxed);
        self.urls[self.options.failover.pick(attempt, self.urls.len(), self.seed)].clone()
    }

    pub(super) fn transport_config(&self, url: &BrokerUrl) -> TransportConfig {
        transport_config(url, &self.urls, &self.options)
    }

    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full().filter(|live| !live.is_dead())
    }

    /// Returns the living channel if nothing waits before the caller: then a publish may go straight to it.
    #[inline]
    pub(crate) fn open_lane(&self) -> Option<OpenLane<'_>> {
        if !self.lane.is_idle() {
            return None;
        }
        match self.first_live.get() {
            Some(first) if !first.is_dead() => Some(OpenLane::First(first)),
            _ => self.live().map(OpenLane::Later),
        }
    }

    pub(super) fn capabilities(&self) -> Arc<Capabilities> {
        if let Some(live) = self.live.load_full() {
            return live.transport.capabilities();
        }
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match prepared.map_or_else(|| (self.entry.make)(self.transport_config(&self.urls[0])), Ok) {
            Ok(transport) => transport.capabilities(),
            Err(_) => Arc::default(),
        }
    }

    pub(crate) fn terms(&self, operation: &'static str, timeout: Duration) -> Result<Terms> {
        let hub = self.hub()?.clone();
        let started = hub.now();
        Ok(Terms { hub, operation, started, timeout, sent: Sent::NoPublish })
    }

    /// Runs `work` on the living channel, in turn; again when the connection or channel was lost meanwhile and there is time.
    pub(crate) fn operate<T: Send + 'static>(
        &self,
        operation: &'static str,
        mut work: impl FnMut(&Arc<Live>) -> BoxFuture<Result<T>> + Send + 'static,
    ) -> Pending<T> {
        let Some(inner) = self.this.upgrade() else { return Pending::ready(Err(closed().during(operation))) };
        self.in_turn(operation, self.options.operation_timeout, Late::Refused, move |deadline| {
            Box::pin(async move {
                loop {
                    let live = inner.ensure_live(Some(deadline)).await?;
                    match work(&live).await {
                        Err(error) if inner.may_repeat(&live, &error, deadline) => {}
                        result => return result,
                    }
                }
            })
        })
    }

    /// Queues `work`, which gets the operation's deadline, behind everything asked for before.
    pub(crate) fn in_turn<T: Send + 'static>(
        &self,
        operation: &'static str,
        timeout: Duration,
        late: Late,
        work: impl FnOnce(Instant) -> BoxFuture<Result<T>> + Send + 'static,
    ) -> Pending<T> {
        if self.closing.is_raised() {
            return Pending::ready(Err(closed().during(operation)));
        }
        let terms = match self.terms(operation, timeout) {
            Ok(terms) => terms,
            Err(error) => return Pending::ready(Err(error.during(operation))),
        };
        let (sender, receiver) = reply::channel();
        let (hub, deadline) = (terms.hub.clone(), instant_after(terms.started, timeout));
        let step = Box::pin(async move {
            // Nobody waits for it any more: the answer was `Timeout`.
            let now = hub.now();
            let result = if now >= deadline && late == Late::Refused {
                Err(Error::new(ErrorKind::Timeout, "its turn did not come in time"))
            } else {
                let mut work = work(deadline);
                match first(&mut work, hub.sleep_until(instant_after(deadline.max(now), GRACE))).await {
                    First::Left(result) => result,
                    First::Right(()) => {
                        // It is driven to its end all the same, beside the lane.
                        drop(hub.spawn(work));
                        Err(Error::new(ErrorKind::Timeout, "the broker does not answer"))
                    }
                }
            };
            sender.send(result.map_err(|error| error.during(operation)));
        });
        self.push(step);
        Pending::new(terms, async move { receiver.await.unwrap_or_else(|| Err(closed().during(operation))) })
    }

    pub(super) fn push(&self, step: Step) {
        if self.lane.push(step) {
            // The hub was found before the step was made.
            if let (Some(hub), Some(inner)) = (self.hub.get(), self.this.upgrade()) {
                drop(hub.spawn(async move { inner.lane.work().await }));
            }
        }
    }

    /// Says whether an operation that failed with `error` is worth another try, and buries the channel if it died.
    pub(crate) fn may_repeat(&self, live: &Arc<Live>, error: &Error, deadline: Instant) -> bool {
        let scope = match error.recovery() {
            Recovery::Reconnect => Scope::Connection,
            Recovery::ReopenChannel => Scope::Channel,
            _ => {
                live.bury(error.scope());
                return false;
            }
        };
        if let Some(inner) = self.this.upgrade() {
            inner.lost(live, error.duplicate().in_scope(scope));
        }
        !self.closing.is_raised() && self.hub.get().is_some_and(|hub| hub.now() < deadline)
    }

    /// Reports an event to the application's handler on the application's thread, or to the log.
    pub(crate) fn emit(&self, event: ConnectionEvent) {
        if let Some(handler) = self.events.handler()
            && let Ok(hub) = self.user_hub()
        {
            hub.call_soon(move |_| handler(&event));
            return;
        }
        self.events.log(&event, self.options.clock.now());
    }

    /// Learns from a channel that its transport lost its broker, or found it again, underneath it. Every channel of a connection
    /// tells of the same loss, and some tell of every attempt; the application hears of each loss and each return once.
    pub(crate) fn disturbed(&self, error: Option<Error>) {
        if self.is_disturbed.swap(error.is_some(), Ordering::AcqRel) != error.is_some() {
            self.emit(error.map_or(ConnectionEvent::Resumed, ConnectionEvent::Disconnected));
        }
    }

    pub(crate) fn add_consumer(&self, consumer: &Arc<ConsumerCore>) {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|known| known.strong_count() > 0);
        consumers.push(Arc::downgrade(consumer));
    }

    pub(super) fn living_consumers(&self) -> Vec<Arc<ConsumerCore>> {
        let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }
}

/// What [`Inner::open_lane`] returns.
pub(crate) enum OpenLane<'a> {
    First(&'a Live),
    Later(Arc<Live>),
}

impl Deref for OpenLane<'_> {
    type Target = Live;

    fn deref(&self) -> &Live {
        match self {
            OpenLane::First(live) => live,
            OpenLane::Later(live) => live,
        }
    }
}

fn transport_config(url: &BrokerUrl, urls: &[BrokerUrl], options: &ConnectionOptions) -> TransportConfig {
    let mut table = options.transport.clone();
    for (name, value) in url.query() {
        table.insert(name.as_str(), value.as_str());
    }
    let at = urls.iter().position(|other| other == url).unwrap_or(0);
    let alternates = urls.iter().cycle().skip(at + 1).take(urls.len().saturating_sub(1)).cloned().collect();
    TransportConfig { url: url.clone(), alternates, options: table, clock: Arc::clone(&options.clock) }
}
