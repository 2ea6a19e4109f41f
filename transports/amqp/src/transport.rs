//! The transport: one broker connection, or two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kombu_core::hub::Hub;
use kombu_core::{
    Capabilities, Channel, Clock, Error, ErrorKind, HeaderTypes, Ordering, Priority, PriorityOrder, Result, Scope,
    Support, Transport, TransportConfig, TransportEntry, registry,
};

use crate::channel::AmqpChannel;
use crate::channel_core::ChannelCore;
use crate::options::AmqpOptions;
use crate::session::Session;

/// The registry's entry of this transport.
pub(crate) const ENTRY: TransportEntry = TransportEntry {
    name: "amqp",
    schemes: &["amqp", "amqps", "pyamqp"],
    description: "RabbitMQ, or another broker of AMQP 0-9-1, sharing queues with Python Kombu 5.7",
    make,
};

kombu_core::register_transport!(ENTRY);

/// Offers this transport to the registry; for static libraries, where linked entries get lost.
pub fn register() {
    registry::register(ENTRY);
}

fn make(config: TransportConfig) -> Result<Arc<dyn Transport>> {
    let options = Arc::new(AmqpOptions::new(&config)?);
    let (session, capabilities) = (Mutex::new(None), Arc::new(capabilities()));
    Ok(Arc::new(AmqpTransport { options, clock: config.clock, session, capabilities }))
}

struct AmqpTransport {
    options: Arc<AmqpOptions>,
    clock: Arc<dyn Clock>,
    session: Mutex<Option<Arc<Session>>>,
    capabilities: Arc<Capabilities>,
}

impl AmqpTransport {
    fn session(&self) -> Result<Arc<Session>> {
        self.lock().clone().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidState,
                "the transport is not attached to a hub: call register_with_event_loop first",
            )
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        // Nothing panics while the lock is held; a poisoned part is as good as any.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for AmqpTransport {
    fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.capabilities)
    }

    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        let mut session = self.lock();
        if session.is_some() {
            return Err(Error::new(ErrorKind::InvalidState, "the transport is attached to a hub already"));
        }
        let (options, clock) = (Arc::clone(&self.options), Arc::clone(&self.clock));
        *session = Some(Session::new(options, clock, hub.io().handle()));
        Ok(())
    }

    async fn connect(&self) -> Result<()> {
        self.session()?.connect().await
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        let session = self.session()?;
        let main = session.main()?;
        let client = session.answer(main.open_channel()).await.inspect_err(|error| {
            if error.scope() == Scope::Connection {
                session.failed(error.duplicate());
            }
        })?;
        Ok(Arc::new(AmqpChannel::new(ChannelCore::new(session, client))))
    }

    async fn close(&self) -> Result<()> {
        match self.session() {
            Ok(session) if session.begin_closing() => {
                let handle = session.handle.clone();
                // A task of its own: it gets to its end also when nobody waits any longer.
                handle.spawn(async move { session.close().await }).await.unwrap_or(Ok(()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for AmqpTransport {
    fn drop(&mut self) {
        let Ok(session) = self.session() else { return };
        if !session.begin_closing() {
            return;
        }
        // What was settled is sent even if its hub is never turned again.
        session.channels().iter().for_each(|channel| channel.flush_if_open());
        if session.handle.is_closed() {
            session.abandon();
        } else {
            let handle = session.handle.clone();
            drop(handle.spawn(async move { session.close().await }));
        }
    }
}

fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::default();
    for native in [
        &mut capabilities.exchange_topic,
        &mut capabilities.exchange_fanout,
        &mut capabilities.exchange_headers,
        &mut capabilities.exchange_to_exchange,
        &mut capabilities.alternate_exchange,
        &mut capabilities.fanout_stored,
        &mut capabilities.topology_registry,
        &mut capabilities.durable,
        &mut capabilities.exclusive,
        &mut capabilities.auto_delete,
        &mut capabilities.queue_expires,
        &mut capabilities.delete_conditions,
        &mut capabilities.queue_max_length,
        &mut capabilities.ack_multiple,
        &mut capabilities.nack,
        &mut capabilities.requeue_in_place,
        &mut capabilities.redelivered,
        &mut capabilities.delivery_count,
        &mut capabilities.restore_on_close,
        &mut capabilities.prefetch,
        &mut capabilities.prefetch_global,
        &mut capabilities.consumer_cancel_notice,
        &mut capabilities.exclusive_consumer,
        &mut capabilities.single_active_consumer,
        &mut capabilities.consumer_priority,
        &mut capabilities.delivery_limit,
        &mut capabilities.fair_dispatch,
        &mut capabilities.message_ttl,
        &mut capabilities.queue_ttl,
        &mut capabilities.dead_letter,
        &mut capabilities.persistent,
        &mut capabilities.confirms,
        &mut capabilities.mandatory_returns,
        &mut capabilities.multi_process,
        &mut capabilities.heartbeats,
    ] {
        *native = Support::Native;
    }
    capabilities.recovery = Support::Emulated;
    capabilities.priority = Some(Priority { levels: u8::MAX, order: PriorityOrder::HighFirst });
    capabilities.restore_after_crash = Some(Duration::ZERO);
    capabilities.max_body = Some(MAX_BODY);
    capabilities.header_types = HeaderTypes::Amqp;
    capabilities.ordering = Ordering::Queue;
    capabilities.deliveries_survive_reconnect = false;
    capabilities
}

/// The largest body in bytes, which is RabbitMQ's own limit; its default is lower.
pub(crate) const MAX_BODY: u64 = 512 << 20;
