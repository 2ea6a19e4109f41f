//! The living end of a connection: how it is made, kept, and made again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::closed;
use super::event::ConnectionEvent;
use super::inner::Inner;
use crate::answer::Returned;
use crate::channel::{Channel, ChannelEvents, Malformed};
use crate::consumer::ConsumerCore;
use crate::entity::{Exchange, Queue};
use crate::error::{Error, ErrorKind, Recovery, Result, Scope};
use crate::hub::Hub;
use crate::method::{QueueBind, QueueDeclared};
use crate::race::{First, first};
use crate::reply;
use crate::short_str::ShortStr;
use crate::transport::Transport;

/// A connected transport with the channel that declares and publishes.
pub(crate) struct Live {
    pub(super) transport: Arc<dyn Transport>,
    pub(crate) channel: Arc<dyn Channel>,
    /// Differs from that of every other `Live` of the process; what was declared through one is unknown to the next.
    pub(crate) generation: u64,
    channel_is_dead: AtomicBool,
    transport_is_dead: AtomicBool,
}

impl Live {
    fn new(transport: Arc<dyn Transport>, channel: Arc<dyn Channel>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let generation = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Live {
            transport,
            channel,
            generation,
            channel_is_dead: AtomicBool::new(false),
            transport_is_dead: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.channel_is_dead.load(Ordering::Acquire)
    }

    /// Marks as lost what died with an error of `scope`; says whether that is news. The next operation makes another.
    pub(crate) fn bury(&self, scope: Scope) -> bool {
        match scope {
            Scope::Connection => {
                self.channel_is_dead.store(true, Ordering::Release);
                !self.transport_is_dead.swap(true, Ordering::AcqRel)
            }
            Scope::Channel => !self.channel_is_dead.swap(true, Ordering::AcqRel),
            Scope::Operation => false,
        }
    }

    /// Opens a channel of its own for a consumer.
    pub(crate) async fn open_channel(&self) -> Result<Arc<dyn Channel>> {
        self.transport.channel().await
    }

    pub(super) async fn shut_down(&self) -> Result<()> {
        self.bury(Scope::Connection);
        let channel = self.channel.close().await;
        self.transport.close().await.and(channel)
    }
}

impl Inner {
    /// Returns the living channel, connecting if there is none; until `deadline`, or for ever.
    pub(crate) async fn ensure_live(&self, deadline: Option<Instant>) -> Result<Arc<Live>> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if let Some(dead) = self.live.swap(None) {
            if !dead.transport_is_dead.load(Ordering::Acquire)
                && let Ok(channel) = dead.transport.channel().await
            {
                return Ok(self.adopt(Arc::clone(&dead.transport), channel));
            }
            // It is lost already; closing it only frees what it holds.
            let _ = dead.transport.close().await;
        }
        let hub = self.hub()?.clone();
        let deadline = if self.was_connected.load(Ordering::Acquire) {
            deadline
        } else {
            let first = hub.now() + self.options.connect_timeout;
            Some(deadline.map_or(first, |deadline| deadline.min(first)))
        };
        let mut attempt = 0;
        loop {
            if self.closing.is_raised() {
                return Err(closed());
            }
            let url = self.url();
            let error = match self.connect_once(deadline).await {
                Ok(live) => {
                    self.was_connected.store(true, Ordering::Release);
                    self.emit(ConnectionEvent::Connected { url });
                    return Ok(live);
                }
                Err(error) => error.with("broker", &url),
            };
            attempt += 1;
            let is_last_of_round = self.target.fetch_add(1, Ordering::Relaxed) % self.urls.len() == self.urls.len() - 1;
            let helps = matches!(error.recovery(), Recovery::Retry | Recovery::RetryAfter(_) | Recovery::Reconnect);
            let round = attempt / u32::try_from(self.urls.len()).unwrap_or(u32::MAX);
            let wait = match error.recovery() {
                _ if !is_last_of_round => Duration::ZERO,
                Recovery::RetryAfter(wait) => wait,
                _ => self.options.retry.delay(round.saturating_sub(1)),
            };
            let is_hopeless = !helps && self.urls.len() == 1;
            if is_hopeless || deadline.is_some_and(|deadline| hub.now() + wait >= deadline) {
                return Err(if attempt == 1 { error } else { error.with("attempts", attempt) });
            }
            self.emit(ConnectionEvent::ConnectFailed { url, error, retry_in: Some(wait) });
            if let First::Right(()) = first(hub.sleep(wait), self.closing.wait()).await {
                return Err(closed());
            }
        }
    }

    async fn connect_once(&self, deadline: Option<Instant>) -> Result<Arc<Live>> {
        let hub = self.hub()?.clone();
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        let transport = match prepared {
            Some(transport) if self.target.load(Ordering::Relaxed) == 0 => transport,
            _ => (self.entry.make)(self.transport_config(&self.url()))?,
        };
        let (sender, registered) = reply::channel();
        let registering = Arc::clone(&transport);
        hub.call_soon(move |hub: &dyn Hub| sender.send(registering.register_with_event_loop(hub.io())));
        registered.await.unwrap_or_else(|| Err(closed()))?;

        let limit = hub.now() + self.options.connect_timeout;
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let connecting = async {
            transport.connect().await?;
            transport.channel().await
        };
        let channel = match first(connecting, hub.sleep_until(limit)).await {
            First::Left(Ok(channel)) => channel,
            failed => {
                let error = match failed {
                    First::Left(Err(error)) => error,
                    _ => Error::new(ErrorKind::Timeout, "the broker does not answer").recoverable_by(Recovery::Retry),
                };
                // It never came to life; closing it only frees what it holds.
                let _ = transport.close().await;
                return Err(error);
            }
        };
        let live = self.adopt(transport, channel);
        if self.was_connected.load(Ordering::Acquire) {
            self.restore(&live).await.inspect_err(|_| _ = live.bury(Scope::Connection))?;
        }
        Ok(live)
    }

    /// Makes `channel` the one that declares and publishes.
    fn adopt(&self, transport: Arc<dyn Transport>, channel: Arc<dyn Channel>) -> Arc<Live> {
        let live = Live::new(transport, channel);
        live.channel.observe(Arc::new(Observer { inner: self.weak(), live: Arc::downgrade(&live) }));
        _ = self.first_live.set(Arc::clone(&live));
        self.live.store(Some(Arc::clone(&live)));
        live
    }

    /// Declares and consumes again, on a new channel, what was declared and consumed on the last.
    async fn restore(&self, live: &Arc<Live>) -> Result<()> {
        let (exchanges, queues) = self.topology.all();
        for exchange in &exchanges {
            live.channel.exchange_declare(exchange.to_method()).await?;
        }
        for queue in &queues {
            self.declare_queue(live, queue).await?;
        }
        for consumer in self.living_consumers() {
            if let Err(error) = consumer.start(live).await {
                if error.scope() == Scope::Connection {
                    return Err(error);
                }
                self.emit(ConnectionEvent::ConsumerFailed(error));
            }
        }
        Ok(())
    }

    /// Declares `exchange` and remembers it.
    pub(crate) async fn declare_exchange(&self, live: &Arc<Live>, exchange: &Exchange) -> Result<()> {
        if !exchange.is_declarable() {
            return Ok(());
        }
        live.channel
            .exchange_declare(exchange.to_method())
            .await
            .map_err(|error| error.with("exchange", exchange.name()))?;
        self.topology.note_exchange(exchange);
        Ok(())
    }

    /// Declares the exchanges of `queue`, the queue, and its bindings, and remembers them.
    pub(crate) async fn declare_queue(&self, live: &Arc<Live>, queue: &Queue) -> Result<QueueDeclared> {
        for binding in queue.bindings() {
            self.declare_exchange(live, binding.exchange()).await?;
        }
        let name = queue.name();
        let declared =
            live.channel.queue_declare(queue.to_method()).await.map_err(|error| error.with("queue", name))?;
        for binding in queue.bindings().iter().filter(|binding| !binding.exchange().name().is_empty()) {
            let method = QueueBind {
                queue: declared.queue.clone(),
                exchange: binding.exchange().name().clone(),
                routing_key: binding.routing_key().clone(),
                arguments: binding.arguments().clone(),
            };
            live.channel.queue_bind(method).await.map_err(|error| {
                error.during("queue.bind").with("queue", name).with("exchange", binding.exchange().name())
            })?;
        }
        // A name the broker chose is the broker's to choose again.
        if !name.is_empty() {
            self.topology.note_queue(queue);
        }
        Ok(declared)
    }

    /// Learns that a channel of `live` died, and how much with it.
    pub(crate) fn lost(self: &Arc<Self>, live: &Arc<Live>, error: Error) {
        let scope = error.scope();
        if live.bury(scope) && scope == Scope::Connection {
            self.emit(ConnectionEvent::Disconnected(error));
            self.recover();
        }
    }

    /// The connection died under its consumers: looks for the broker until it is found.
    fn recover(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.push(Box::pin(async move {
            if inner.living_consumers().is_empty() {
                return;
            }
            if let Err(error) = inner.ensure_live(None).await
                && error.kind() != ErrorKind::Closed
            {
                inner.emit(ConnectionEvent::ConsumerFailed(error));
            }
        }));
    }
}

impl Inner {
    /// A consumer's channel died alone: gives it another.
    pub(crate) fn restart(self: &Arc<Self>, consumer: Arc<ConsumerCore>) {
        let inner = Arc::clone(self);
        self.push(Box::pin(async move {
            let started = match inner.ensure_live(None).await {
                Ok(live) => consumer.start(&live).await,
                Err(error) => Err(error),
            };
            if let Err(error) = started
                && error.kind() != ErrorKind::Closed
            {
                inner.emit(ConnectionEvent::ConsumerFailed(error));
            }
        }));
    }
}

/// Hears from the channel that declares and publishes.
struct Observer {
    inner: Weak<Inner>,
    live: Weak<Live>,
}

impl Observer {
    fn tell(&self, event: ConnectionEvent) {
        if let Some(inner) = self.inner.upgrade() {
            inner.emit(event);
        }
    }
}

impl ChannelEvents for Observer {
    fn malformed(&self, malformed: Malformed) {
        self.tell(ConnectionEvent::Malformed(malformed));
    }

    fn returned(&self, returned: Returned) {
        self.tell(ConnectionEvent::Returned(returned));
    }

    fn blocked(&self, reason: Option<ShortStr>) {
        self.tell(ConnectionEvent::Blocked(reason));
    }

    fn settle_failed(&self, error: Error) {
        self.tell(ConnectionEvent::SettleFailed(error));
    }

    fn disturbed(&self, error: Option<Error>) {
        if let Some(inner) = self.inner.upgrade() {
            inner.disturbed(error);
        }
    }

    fn closed(&self, error: Error) {
        if let (Some(inner), Some(live)) = (self.inner.upgrade(), self.live.upgrade()) {
            inner.lost(&live, error);
        }
    }
}
