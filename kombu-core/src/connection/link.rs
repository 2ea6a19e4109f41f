//! The living end of a connection: how it is made, kept, and made again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::closed;
use super::event::ConnectionEvent;
use super::inner::Inner;
use super::live::Live;
use super::observer::Observer;
use crate::channel::Channel;
use crate::consumer::ConsumerCore;
use crate::entity::{Exchange, Queue};
use crate::error::{Error, ErrorKind, Recovery, Result, Scope};
use crate::hub::{Hub, instant_after};
use crate::method::{ExchangeBind, QueueBind, QueueDeclared};
use crate::race::{First, first};
use crate::reply;
use crate::transport::Transport;

impl Inner {
    /// Returns the living channel, connecting if there is none; until `deadline`, or for ever.
    pub(crate) async fn ensure_live(&self, deadline: Option<Instant>) -> Result<Arc<Live>> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if let Some(dead) = self.live.swap(None) {
            let patience = self.hub()?.sleep(self.options.connect_timeout);
            if !dead.needs_new_transport()
                && let First::Left(Ok(channel)) = first(dead.transport.channel(), patience).await
            {
                return Ok(self.adopt(Arc::clone(&dead.transport), channel));
            }
            // It is lost already; closing it only frees what it holds.
            let _ = dead.transport.close().await;
        }
        let asked = deadline;
        let hub = self.hub()?.clone();
        let deadline = if self.was_connected.load(Ordering::Acquire) {
            deadline
        } else {
            let first = instant_after(hub.now(), self.options.connect_timeout);
            Some(deadline.map_or(first, |deadline| deadline.min(first)))
        };
        let mut attempt = 0;
        loop {
            // What was asked for before the close is still tried once.
            if self.closing.is_raised() && (attempt > 0 || asked.is_none()) {
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
            // A broker that starts again refuses for a while what it will accept.
            let is_hopeless = !helps && self.urls.len() == 1 && !self.was_connected.load(Ordering::Acquire);
            if is_hopeless || deadline.is_some_and(|deadline| instant_after(hub.now(), wait) >= deadline) {
                if asked.is_some() {
                    self.recover_consumers();
                }
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
            Some(transport) if self.url() == self.urls[0] => transport,
            _ => (self.entry.make)(self.transport_config(&self.url()))?,
        };
        let (sender, registered) = reply::channel();
        let registering = Arc::clone(&transport);
        hub.call_soon(move |hub: &dyn Hub| sender.send(registering.register_with_event_loop(hub.io())));
        registered.await.unwrap_or_else(|| Err(closed()))?;

        let limit = instant_after(hub.now(), self.options.connect_timeout);
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let connecting = async {
            transport.connect().await?;
            transport.capabilities().require(&self.options.required)?;
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
        if !self.was_connected.load(Ordering::Acquire) {
            return Ok(live);
        }
        let restored = match first(self.restore(Arc::clone(&live)), hub.sleep(self.options.connect_timeout)).await {
            First::Left(restored) => restored,
            First::Right(()) => Err(Error::new(ErrorKind::Timeout, "the broker does not answer the declarations")
                .recoverable_by(Recovery::Retry)),
        };
        if restored.is_err() {
            live.bury(Scope::Connection);
            // It is given up; closing it only frees what it holds.
            let _ = live.transport.close().await;
        }
        restored
    }

    /// Makes `channel` the one that declares and publishes.
    fn adopt(&self, transport: Arc<dyn Transport>, channel: Arc<dyn Channel>) -> Arc<Live> {
        let live = Live::new(transport, channel);
        let watched = Arc::downgrade(&live);
        live.channel.observe(Observer::new(self.weak(), move |inner, error| {
            if let Some(live) = watched.upgrade() {
                inner.lost(&live, error);
            }
        }));
        _ = self.first_live.set(Arc::clone(&live));
        self.live.store(Some(Arc::clone(&live)));
        live
    }

    /// Declares and consumes again, on a new channel, what was declared and consumed on the last. What the broker refuses now is
    /// told and left out; it must not keep the rest from coming back. Then publishes what got no answer. Returns the living
    /// channel, another one if a refusal ended the first.
    async fn restore(&self, mut live: Arc<Live>) -> Result<Arc<Live>> {
        let (exchanges, bindings, queues) = self.topology.all();
        for exchange in &exchanges {
            if let Err(error) = self.declare_exchange(&live, exchange).await {
                live = self.refused(live, error).await?;
            }
        }
        for binding in bindings {
            if let Err(error) = self.bind_exchange(&live, binding).await {
                live = self.refused(live, error).await?;
            }
        }
        for queue in &queues {
            if let Err(error) = self.declare_queue(&live, queue).await {
                live = self.refused(live, error).await?;
            }
        }
        for (name, queue) in self.topology.server_named() {
            match self.declare_queue(&live, &queue).await {
                Ok(declared) => self.topology.rename(&name, &declared.queue),
                Err(error) => live = self.refused(live, error).await?,
            }
        }
        for consumer in self.living_consumers() {
            if let Err(error) = consumer.start(&live).await {
                let scope = error.scope();
                if scope == Scope::Connection {
                    return Err(error);
                }
                self.start_failed(consumer, error, 0);
                if scope == Scope::Channel {
                    live = self.reopen(live).await?;
                }
            }
        }
        self.publish_again(&live)?;
        Ok(live)
    }

    async fn refused(&self, live: Arc<Live>, error: Error) -> Result<Arc<Live>> {
        let scope = error.scope();
        if scope == Scope::Connection {
            return Err(error);
        }
        self.emit(ConnectionEvent::DeclareFailed(error));
        if scope == Scope::Operation { Ok(live) } else { self.reopen(live).await }
    }

    /// Gives the connection of `live` another channel.
    async fn reopen(&self, live: Arc<Live>) -> Result<Arc<Live>> {
        live.bury(Scope::Channel);
        let channel = live.transport.channel().await?;
        Ok(self.adopt(Arc::clone(&live.transport), channel))
    }

    /// Declares `exchange` and remembers it.
    pub(crate) async fn declare_exchange(&self, live: &Arc<Live>, exchange: &Exchange) -> Result<()> {
        if !exchange.is_declarable() {
            return Ok(());
        }
        let method = exchange.to_method();
        if let Some(capability) = live.capabilities().ignored_of_exchange(&method) {
            self.tell_ignored(capability, "exchange", exchange.name());
        }
        let declared = match live.capabilities().check_exchange(&method) {
            Ok(()) => live.channel.exchange_declare(method).await,
            Err(error) => Err(error.during("exchange.declare")),
        };
        declared.map_err(|error| error.with("exchange", exchange.name()))?;
        self.topology.note_exchange(exchange);
        Ok(())
    }

    /// Binds an exchange to another and remembers it.
    pub(super) async fn bind_exchange(&self, live: &Arc<Live>, method: ExchangeBind) -> Result<()> {
        let bound = match live.capabilities().check_exchange_bind() {
            Ok(()) => live.channel.exchange_bind(method.clone()).await,
            Err(error) => Err(error.during("exchange.bind")),
        };
        bound.map_err(|error| error.with("exchange", &method.destination).with("source", &method.source))?;
        self.topology.note_exchange_binding(method);
        Ok(())
    }

    /// Declares the exchanges of `queue`, the queue, and its bindings, and remembers them.
    pub(crate) async fn declare_queue(&self, live: &Arc<Live>, queue: &Queue) -> Result<QueueDeclared> {
        for binding in queue.bindings() {
            self.declare_exchange(live, binding.exchange()).await?;
        }
        let name = queue.name();
        let declared = if self.topology.is_server_named(name) {
            // The broker chose that name and refuses it from anybody else.
            Ok(QueueDeclared { queue: self.topology.current_name(name), ..QueueDeclared::default() })
        } else {
            let method = queue.to_method();
            if let Some(capability) = live.capabilities().ignored_of_queue(&method) {
                self.tell_ignored(capability, "queue", name);
            }
            match live.capabilities().check_queue(&method) {
                Ok(()) => live.channel.queue_declare(method).await,
                Err(error) => Err(error.during("queue.declare")),
            }
        };
        let declared = declared.map_err(|error| error.with("queue", name))?;
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

    fn recover_consumers(&self) {
        if let Some(inner) = self.weak().upgrade() {
            inner.recover();
        }
    }

    /// The connection died under its consumers, or under publishes that have no answer: looks for the broker until it is found.
    pub(super) fn recover(self: &Arc<Self>) {
        if self.closing.is_raised()
            || (self.living_consumers().is_empty() && self.unanswered.is_empty())
            || self.is_recovering.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let inner = Arc::clone(self);
        self.push(Box::pin(async move {
            let found = inner.ensure_live(None).await;
            inner.is_recovering.store(false, Ordering::Release);
            // What a publisher handed in too late for the connection it saw.
            let found = found.and_then(|live| inner.publish_again(&live));
            if let Err(error) = found {
                inner.fail_unconfirmed(&error);
                if error.kind() == ErrorKind::Closed {
                    return;
                }
                for consumer in inner.living_consumers() {
                    consumer.failed(error.duplicate());
                }
            }
        }));
    }

    /// A consumer's channel died alone: gives it another.
    pub(crate) fn restart(self: &Arc<Self>, consumer: Arc<ConsumerCore>, attempt: u32) {
        let inner = Arc::clone(self);
        self.push(Box::pin(async move {
            let started = match inner.ensure_live(None).await {
                Ok(live) => consumer.start(&live).await,
                Err(error) => Err(error),
            };
            if let Err(error) = started {
                inner.start_failed(consumer, error, attempt);
            }
        }));
    }

    /// Starting a consumer again failed: tries later where that can help, else ends it.
    fn start_failed(&self, consumer: Arc<ConsumerCore>, error: Error, attempt: u32) {
        if error.kind() == ErrorKind::Closed {
            return;
        }
        let Ok(hub) = self.hub().cloned() else { return consumer.failed(error) };
        if error.recovery() == Recovery::Never {
            return consumer.failed(error);
        }
        self.emit(ConnectionEvent::ConsumerFailed(error));
        let (inner, wait) = (self.weak(), self.options.retry.delay(attempt));
        drop(hub.clone().spawn(async move {
            hub.sleep(wait).await;
            if let Some(inner) = inner.upgrade() {
                inner.restart(consumer, attempt.saturating_add(1));
            }
        }));
    }
}
