//! One connection.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use kombu_core::hub::{Hub, HubHandle};
use kombu_core::{Capabilities, Channel, Error, ErrorKind, Recovery, Result, Scope, Transport};

use crate::broker::VirtualBroker;
use crate::channel::VirtualChannel;
use crate::connection::ConnectionKey;
use crate::store::QueueStore;

/// A connection to a [`VirtualBroker`]: a [`Transport`] without sockets.
///
/// It registers nothing with the hub but a timer where a message or queue waits for its time: deliveries happen in the thread that
/// publishes or settles, synchronously, into the consumer's sink, which only enqueues. Dropping it, with all its channels, closes it.
///
/// ```
/// # use std::sync::Arc;
/// # use kombu_core::{Result, SystemClock, Transport};
/// # use kombu_virtual::{QueueStore, VirtualBroker, VirtualTransport};
/// /// What the `make` of a transport's registry entry does.
/// fn make<S: QueueStore>(store: S) -> Result<Arc<dyn Transport>> {
///     let broker = VirtualBroker::new(store, Arc::new(SystemClock));
///     Ok(Arc::new(VirtualTransport::new(broker)))
/// }
/// ```
pub struct VirtualTransport<S: QueueStore> {
    connection: Arc<VirtualConnection<S>>,
    stage: Mutex<Stage>,
}

#[derive(Default)]
struct Stage {
    hub: Option<HubHandle>,
    connected: bool,
    closed: bool,
}

impl<S: QueueStore> VirtualTransport<S> {
    /// Makes a connection to `broker`.
    pub fn new(broker: Arc<VirtualBroker<S>>) -> Self {
        let fate = Arc::new(OnceLock::new());
        let key = broker.with(|state, _| state.open_connection(Arc::clone(&fate)));
        VirtualTransport { connection: Arc::new(VirtualConnection { broker, key, fate }), stage: Mutex::default() }
    }

    /// Returns the broker.
    pub fn broker(&self) -> &Arc<VirtualBroker<S>> {
        &self.connection.broker
    }

    /// Returns the hub the connection was registered with.
    pub fn hub(&self) -> Option<HubHandle> {
        self.with_stage(|stage| stage.hub.clone())
    }

    fn with_stage<T>(&self, act: impl FnOnce(&mut Stage) -> T) -> T {
        // Nothing panics while the stage is locked.
        act(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl<S: QueueStore> Transport for VirtualTransport<S> {
    fn capabilities(&self) -> Arc<Capabilities> {
        self.connection.broker.capabilities()
    }

    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        let handle = hub.handle();
        self.with_stage(|stage| match stage.hub {
            Some(_) => Err(Error::new(ErrorKind::InvalidState, "the transport is registered with a hub already")),
            None => {
                stage.hub = Some(handle.clone());
                Ok(())
            }
        })?;
        self.connection.broker.join(handle);
        Ok(())
    }

    async fn connect(&self) -> Result<()> {
        self.with_stage(|stage| {
            if stage.closed {
                return Err(closed());
            }
            stage.connected = true;
            Ok(())
        })
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        self.with_stage(|stage| match stage {
            Stage { closed: true, .. } => Err(closed()),
            Stage { connected: false, .. } => {
                Err(Error::new(ErrorKind::InvalidState, "the transport is not connected"))
            }
            _ => Ok(()),
        })?;
        if let Some(reason) = self.connection.fate.get() {
            return Err(closed().with("reason", reason).recoverable_by(Recovery::Reconnect));
        }
        Ok(Arc::new(VirtualChannel::open(&self.connection)))
    }

    async fn close(&self) -> Result<()> {
        let hub = self.with_stage(|stage| {
            stage.closed = true;
            stage.hub.take()
        });
        if let Some(hub) = hub {
            self.connection.broker.leave(hub.id());
        }
        let connection = &self.connection;
        let (draining, result) =
            connection.broker.with(|state, after| state.close_connection(connection.key, None, after));
        for drained in draining {
            drained.await;
        }
        result
    }
}

impl<S: QueueStore> fmt::Debug for VirtualTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualTransport").field("connection", &self.connection.key).finish()
    }
}

#[cold]
fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").in_scope(Scope::Connection)
}

/// What a transport and its channels share; the connection lasts until the last of them is dropped, or it is closed.
pub(crate) struct VirtualConnection<S: QueueStore> {
    pub(crate) broker: Arc<VirtualBroker<S>>,
    pub(crate) key: ConnectionKey,
    /// Why the broker ended it.
    fate: Arc<OnceLock<Error>>,
}

impl<S: QueueStore> Drop for VirtualTransport<S> {
    fn drop(&mut self) {
        if let Some(hub) = self.with_stage(|stage| stage.hub.take()) {
            self.connection.broker.leave(hub.id());
        }
    }
}

impl<S: QueueStore> Drop for VirtualConnection<S> {
    fn drop(&mut self) {
        // Nobody is left to be told.
        drop(self.broker.with(|state, after| state.close_connection(self.key, None, after)));
    }
}
