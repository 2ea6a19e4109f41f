//! The transport: one broker connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kombu_core::hub::Hub;
use kombu_core::method::QueueDelete;
use kombu_core::{
    Capabilities, Channel, Clock, Error, ErrorKind, Ordering, Priority, Result, Support, Transport, TransportConfig,
    TransportEntry, registry, reply,
};

use crate::channel::{CLOSE_PATIENCE, RedisChannel, within};
use crate::channel_core::ChannelCore;
use crate::connection::{Greeting, Target};
use crate::multi_channel_poller::MultiChannelPoller;
use crate::options::{KeptIn, RedisOptions, SCHEMES};
use crate::session::Session;
use crate::together::together;

/// The registry's entry of this transport.
pub(crate) const ENTRY: TransportEntry = TransportEntry {
    name: "redis",
    schemes: SCHEMES,
    description: "Redis 6.2 or later, sharing queues with Python Kombu 5.7",
    make,
};

kombu_core::register_transport!(ENTRY);

/// Offers this transport to the registry; for static libraries, where linked entries get lost.
pub fn register() {
    registry::register(ENTRY);
}

fn make(config: TransportConfig) -> Result<Arc<dyn Transport>> {
    let options = RedisOptions::new(&config)?;
    let target = Target::new(&options, &config.url)?;
    let capabilities = Arc::new(capabilities(&options));
    let prepared = Mutex::new(Some(Prepared { options, target, clock: config.clock }));
    Ok(Arc::new(RedisTransport { prepared, session: Mutex::new(None), capabilities }))
}

/// What a session is made from.
struct Prepared {
    options: RedisOptions,
    target: Target,
    clock: Arc<dyn Clock>,
}

struct RedisTransport {
    /// Until the session is made.
    prepared: Mutex<Option<Prepared>>,
    session: Mutex<Option<Arc<Session>>>,
    capabilities: Arc<Capabilities>,
}

impl RedisTransport {
    fn session(&self) -> Result<Arc<Session>> {
        lock(&self.session).clone().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidState,
                "the transport is not attached to a hub: call register_with_event_loop first",
            )
        })
    }
}

#[async_trait]
impl Transport for RedisTransport {
    fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.capabilities)
    }

    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        let Some(Prepared { options, target, clock }) = lock(&self.prepared).take() else {
            return Err(Error::new(ErrorKind::InvalidState, "the transport is attached to a hub already"));
        };
        *lock(&self.session) = Some(Session::new(options, target, clock, hub.io()));
        Ok(())
    }

    async fn connect(&self) -> Result<()> {
        let session = self.session()?;
        let (sender, opened) = reply::channel();
        let opening = Arc::clone(&session);
        session.handle.call_soon(move |hub| sender.send(opening.command.open(hub)));
        let opened = match opened.await {
            Some(opened) => opened.await,
            None => None,
        };
        let greeting = opened.unwrap_or_else(|| Err(crate::connection::closed()))?;
        check_version(&greeting)?;
        // It was asked for the policies before this.
        session.barrier().await?;
        session.check_confirm(&greeting).await
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        let session = self.session()?;
        if session.is_closing() {
            return Err(crate::connection::closed());
        }
        Ok(Arc::new(RedisChannel::new(session.open_channel())))
    }

    async fn close(&self) -> Result<()> {
        match self.session() {
            Ok(session) if session.begin_closing() => {
                let handle = session.handle.clone();
                // A task of its own: it gets to its end also when nobody waits any longer.
                let closed = handle.spawn(async move { session.close().await });
                closed.await.unwrap_or(Ok(()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for RedisTransport {
    fn drop(&mut self) {
        let Ok(session) = self.session() else { return };
        if !session.begin_closing() {
            return;
        }
        if session.handle.is_closed() {
            session.abandon_channels();
        } else {
            let handle = session.handle.clone();
            drop(handle.spawn(async move { session.close().await }));
        }
    }
}

impl Session {
    /// Ends everything: in good order while the server is there, at once when it is not.
    async fn close(self: &Arc<Self>) -> Result<()> {
        let result = match self.is_up() {
            true => within(self, CLOSE_LIMIT, self.wind_up()).await.unwrap_or_else(|| {
                let error =
                    Error::new(ErrorKind::Timeout, "the server does not answer; what was unsettled comes back later");
                Err(error.with("broker", &self.target.label).during("close"))
            }),
            false => Ok(()),
        };
        self.abandon_channels();
        let (sender, left) = reply::channel();
        let leaving = Arc::clone(self);
        self.handle.call_soon(move |hub| {
            leaving.leave(hub);
            sender.send(());
        });
        // Without a hub nothing is registered any more.
        let _ = left.await;
        result
    }

    /// Ends the channels that could not be closed in good order; what they held comes back by the visibility sweep.
    fn abandon_channels(&self) {
        for channel in self.channels() {
            channel.abandon(&crate::connection::closed());
        }
        self.fail_settles();
        self.backlog.wake_all();
    }

    /// Closes every channel and brings what is under way to its end.
    async fn wind_up(self: &Arc<Self>) -> Result<()> {
        let mut result = Ok(());
        // What each of them asks the server is asked together.
        let channels = self.channels();
        for closed in together(channels.iter().map(ChannelCore::close)).await {
            result = result.and(closed);
        }
        let exclusive = std::mem::take(&mut *self.lock(&self.exclusive));
        for queue in exclusive {
            let method = QueueDelete { queue, if_unused: false, if_empty: false };
            if let Some(Err(error)) = within(self, CLOSE_PATIENCE, self.queue_delete(method)).await {
                tracing::debug!(%error, "an exclusive queue could not be deleted");
            }
        }
        let _ = within(self, CLOSE_PATIENCE, self.settle_held()).await;
        let _ = within(self, CLOSE_PATIENCE, self.settle_letters()).await;
        self.end_sweep();
        self.poller().stop(self);
        self.touch();
        // What the waiter pops now is given back; whatever else is under way is answered before the last command.
        let _ = within(self, CLOSE_PATIENCE, self.quiesce(MultiChannelPoller::is_idle)).await;
        let left = self.leave_consumers().await;
        result.and(left)
    }
}

/// How soon after the end of its lease what a dead consumer held is given back, at the latest.
const REAPED_WITHIN: Duration = Duration::from_secs(10);

/// How long closing may take altogether, whatever the number of channels.
const CLOSE_LIMIT: Duration = Duration::from_secs(8);

fn check_version(greeting: &Greeting) -> Result<()> {
    match greeting.version {
        Some(version) if version < [6, 2, 0] => {
            let [major, minor, patch] = version;
            let message = format!("the server is Redis {major}.{minor}.{patch}; this transport needs 6.2 or later");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        _ => Ok(()),
    }
}

fn capabilities(options: &RedisOptions) -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.exchange_topic = Support::Emulated;
    // What Kombu's keys cannot hold is kept in ours: Python's publishers do not know it.
    capabilities.exchange_headers = Support::Emulated;
    capabilities.exchange_to_exchange = Support::Emulated;
    capabilities.alternate_exchange = Support::Emulated;
    capabilities.exchange_fanout = Support::Native;
    if options.fanout_stored {
        capabilities.fanout_stored = Support::Emulated;
    }
    capabilities.durable = Support::Native;
    capabilities.queue_expires = Support::Emulated;
    capabilities.delete_conditions = Support::Emulated;
    capabilities.ack_multiple = Support::Emulated;
    capabilities.nack = Support::Emulated;
    capabilities.requeue_in_place = Support::Emulated;
    capabilities.redelivered = Support::Emulated;
    capabilities.delivery_count = Support::Emulated;
    capabilities.message_ttl = Support::Emulated;
    capabilities.queue_ttl = Support::Emulated;
    capabilities.queue_max_length = Support::Emulated;
    capabilities.dead_letter = Support::Emulated;
    capabilities.delivery_limit = Support::Emulated;
    capabilities.delayed = Support::Emulated;
    capabilities.restore_on_close = Support::Emulated;
    capabilities.prefetch = Support::Emulated;
    capabilities.prefetch_global = Support::Emulated;
    capabilities.consumer_cancel_notice = Support::Emulated;
    // By the leases of the consumers, among programs of ours; Python's know nothing of it.
    capabilities.exclusive_consumer = Support::Emulated;
    capabilities.consumer_priority = Support::Emulated;
    capabilities.single_active_consumer = Support::Emulated;
    capabilities.fair_dispatch = Support::Emulated;
    capabilities.persistent = Support::Native;
    capabilities.confirms = Support::Native;
    capabilities.mandatory_returns = Support::Emulated;
    capabilities.multi_process = Support::Native;
    capabilities.heartbeats = Support::Emulated;
    capabilities.recovery = Support::Emulated;
    if options.topology == KeptIn::Registry {
        capabilities.topology_registry = Support::Emulated;
        capabilities.exclusive = Support::Emulated;
        capabilities.auto_delete = Support::Emulated;
    }
    let levels = u8::try_from(options.priority_steps.len()).unwrap_or(u8::MAX);
    capabilities.priority = Some(Priority { levels, order: options.priority_order });
    capabilities.restore_after_crash = Some(options.lease + REAPED_WITHIN);
    capabilities.max_body = Some(options.max_message_size as u64 / 2);
    capabilities.ordering = Ordering::Queue;
    capabilities.deliveries_survive_reconnect = true;
    capabilities
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a lock is held; a poisoned part is as good as any.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
