//! Consumers: callbacks and streams over one queue of deliveries.

mod builder;
mod core;
mod inbox;
mod sink;
mod stream;
mod watch;

use std::sync::Arc;

use crate::connection::{Connection, Inner};
use crate::pending::Pending;

pub use builder::{ConsumerBuilder, HandlerResult, IntoQueues};
pub(crate) use core::ConsumerCore;
pub use stream::MessageStream;

/// A running consumer. Cheap to clone; when the last clone goes, the consumer is cancelled.
///
/// Made by [`Connection::consumer`]. It survives a lost connection: it is started again as soon as the broker is back.
#[derive(Clone)]
pub struct Consumer {
    handle: Arc<Handle>,
}

struct Handle {
    core: Arc<ConsumerCore>,
    connection: Connection,
}

impl Consumer {
    pub(crate) fn new(core: Arc<ConsumerCore>, connection: Connection) -> Self {
        Consumer { handle: Arc::new(Handle { core, connection }) }
    }

    /// Ends the consumer: when the answer is there, no further message is handed to its callback or stream. Messages that came
    /// but were not handed over go back to their queues; messages already handed over can still be answered.
    pub fn cancel(&self) -> Pending<()> {
        self.handle.core.cancel(&self.handle.connection.inner)
    }

    /// Returns the connection it consumes through.
    pub fn connection(&self) -> &Connection {
        &self.handle.connection
    }

    pub(crate) fn core(&self) -> &Arc<ConsumerCore> {
        &self.handle.core
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let inner: &Arc<Inner> = &self.connection.inner;
        drop(self.core.cancel(inner));
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({:?})", self.handle.core.queue_names())
    }
}
