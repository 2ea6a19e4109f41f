//! Producers: what publishes.

mod confirm;
mod declared;
mod publish;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::connection::{Connection, ConnectionEvent};
use crate::entity::Exchange;
use crate::error::Result;
use crate::serialization::IntoBody;
use crate::short_str::ShortStr;

pub use confirm::Confirmed;
use declared::Declared;
pub use publish::Publish;

/// Publishes messages through a connection. Cheap to clone; clones share it.
///
/// Publishes are pipelined: each is under way when the call returns, and they reach the broker in the order of the calls. The
/// answer to each is the broker's own confirmation.
///
/// An exchange given as an [`Exchange`] is declared before its first use, as in Kombu.
///
/// # Example
///
/// ```no_run
/// use kombu_core::{Connection, Exchange, Json, Producer};
///
/// let connection = Connection::new("memory://")?;
/// let media = Exchange::topic("media");
/// let producer = Producer::new(&connection).with_exchange(&media);
///
/// // One at a time …
/// producer.publish("hello").routing_key("video.new").wait()?;
/// // … or pipelined: send all, then look at the answers.
/// let pending: Vec<_> =
///     (0..100).map(|n| producer.publish(Json(n)).routing_key("video.new").send()).collect();
/// for publish in pending {
///     publish.wait()?;
/// }
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    exchange: Option<Exchange>,
    /// The living channel on which `exchange` is known to be declared, so that its name need not be looked up; 0 is none.
    declared_on: Arc<AtomicU64>,
    routing_key: ShortStr,
}

struct Shared {
    connection: Connection,
    declared: Arc<Declared>,
    /// Exchange and key of unroutable publishes that were told of.
    told: Mutex<HashSet<(ShortStr, ShortStr)>>,
}

/// How many pairs of exchange and key are remembered as told; beyond it, nothing more is told.
const MOST_TOLD: usize = 1000;

impl Producer {
    /// Makes a producer that publishes to the default exchange unless a publish says otherwise. Sends nothing.
    pub fn new(connection: &Connection) -> Self {
        let shared =
            Shared { connection: connection.clone(), declared: Arc::default(), told: Mutex::new(HashSet::new()) };
        Producer {
            shared: Arc::new(shared),
            exchange: None,
            declared_on: Arc::default(),
            routing_key: ShortStr::default(),
        }
    }

    /// Sets the exchange for publishes that name none.
    #[must_use]
    pub fn with_exchange(mut self, exchange: &Exchange) -> Self {
        self.exchange = Some(exchange.clone());
        self.declared_on = Arc::default();
        self
    }

    /// Sets the routing key for publishes that name none.
    #[must_use]
    pub fn with_routing_key(mut self, routing_key: impl Into<ShortStr>) -> Self {
        self.routing_key = routing_key.into();
        self
    }

    /// Starts a publish of `body`: text, bytes, or a value in [`Json`](crate::Json), [`Msgpack`](crate::Msgpack) or
    /// [`Yaml`](crate::Yaml). Nothing is sent until [`send`](Publish::send), [`wait`](Publish::wait) or `.await`.
    #[inline]
    pub fn publish(&self, body: impl IntoBody) -> Publish<'_> {
        Publish::new(self, body.into_body())
    }

    /// Waits until the connection takes more publishes: while the broker is away or slow, they pile up only to a limit, and
    /// beyond it a publish answers `Overloaded`.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub async fn ready(&self) -> Result<()> {
        let inner = &self.shared.connection.inner;
        if inner.live().is_none() {
            self.shared.connection.connect().await?;
        }
        std::future::poll_fn(|cx: &mut Context<'_>| match inner.live() {
            Some(live) => live.channel.poll_publish_ready(cx),
            None => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Says whether `exchange` has to be declared before it is used on the living channel `generation`.
    #[inline]
    fn lacks(&self, exchange: Option<&Exchange>, generation: u64) -> bool {
        let Some(exchange) = exchange else { return false };
        let is_own = self.exchange.as_ref().is_some_and(|own| std::ptr::eq(own, exchange));
        if is_own && self.declared_on.load(Ordering::Acquire) == generation {
            return false;
        }
        let lacks = self.shared.declared.lacks(exchange, generation);
        if is_own && !lacks {
            self.declared_on.store(generation, Ordering::Release);
        }
        lacks
    }

    /// Returns the connection it publishes through.
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }
}

impl Shared {
    /// Tells of a publish that matched no queue, once per exchange and key.
    #[cold]
    fn tell_unroutable(&self, exchange: &ShortStr, routing_key: &ShortStr) {
        let (exchange, routing_key) = (exchange.clone(), routing_key.clone());
        let is_news = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.len() < MOST_TOLD && told.insert((exchange.clone(), routing_key.clone()))
        };
        if is_news {
            self.connection.inner.emit(ConnectionEvent::Unroutable { exchange, routing_key });
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("connection", &self.shared.connection)
            .field("exchange", &self.exchange.as_ref().map(Exchange::name))
            .field("routing_key", &self.routing_key)
            .finish()
    }
}
