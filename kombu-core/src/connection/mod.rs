//! What applications hold of a broker: [`Connection`].

mod builder;
mod ending;
mod event;
mod failover;
mod inner;
mod lane;
mod link;
mod live;
mod observer;
mod placement;
mod topology;
mod unconfirmed;

use std::sync::Arc;

use crate::capability::{Capabilities, Requirement};
use crate::channel::Malformed;
use crate::consumer::{ConsumerBuilder, IntoQueues};
use crate::entity::{Binding, Exchange, Queue};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::Hub;
use crate::message::Message;
use crate::method::{BasicGet, ExchangeBind, ExchangeDelete, QueueBind, QueueDeclared, QueueDelete};
use crate::pending::Pending;
use crate::producer::Producer;
use crate::short_str::ShortStr;
use crate::url::BrokerUrl;

pub use builder::ConnectionBuilder;
pub use event::ConnectionEvent;
pub use failover::FailoverStrategy;
pub(crate) use inner::{Inner, Late};
pub(crate) use live::Live;
pub(crate) use observer::Observer;
pub use placement::IoPlacement;

/// A connection to a broker, named by a URL. Cheap to clone; all clones are the same connection.
///
/// It is lazy: nothing is sent until the first operation. A lost connection is made again, for ever, and what was declared and
/// consumed through it is declared and consumed again.
///
/// Every operation returns a [`Pending`]: it is under way when the call returns, operations of one connection take effect in the
/// order of the calls, and each has a deadline.
///
/// It runs on the hub it was [registered](Connection::register_with_event_loop) with, or else on one background thread shared by
/// the whole process. When the last clone goes, it is closed, which waits up to a second for what is queued to be sent and what
/// is held to go back; asynchronous programs had better `close().await`.
///
/// # Example
///
/// ```no_run
/// use kombu_core::{Connection, Exchange, Queue};
///
/// let connection = Connection::new("redis://localhost:6379")?;
/// let exchange = Exchange::direct("media");
/// Queue::new("videos").bind(&exchange, "video").declare(&connection).wait()?;
/// connection.producer().publish("hello").exchange(&exchange).routing_key("video").wait()?;
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Connection {
    pub(crate) inner: Arc<Inner>,
    _closer: Arc<Closer>,
}

/// Closes the connection when the last clone goes.
struct Closer(Arc<Inner>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close_at_last();
    }
}

impl Connection {
    fn from_inner(inner: Arc<Inner>) -> Self {
        Connection { _closer: Arc::new(Closer(Arc::clone(&inner))), inner }
    }

    /// Makes a connection to the broker at `url`, or the first one reachable of a `;`-separated list. Sends nothing.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a bad URL or option, `UnknownTransport` for an unknown scheme.
    pub fn new(url: &str) -> Result<Self> {
        ConnectionBuilder::new(url).build()
    }

    /// Starts a connection with options.
    pub fn builder(url: &str) -> ConnectionBuilder {
        ConnectionBuilder::new(url)
    }

    /// Attaches the connection to `hub`: its sockets, timers and callbacks run on the hub's thread. Call it before the first
    /// operation.
    ///
    /// # Errors
    ///
    /// `InvalidState` when the connection runs on a hub already.
    pub fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        self.inner.register_with_event_loop(hub)
    }

    /// Connects now instead of at the first operation.
    pub fn connect(&self) -> Pending<()> {
        self.inner.operate("connect", |_| Box::pin(async { Ok(()) }))
    }

    /// Says whether there is a broker connection at this moment.
    pub fn is_connected(&self) -> bool {
        self.inner.live().is_some()
    }

    /// Returns the URL in use; its text masks the password.
    pub fn url(&self) -> BrokerUrl {
        self.inner.url()
    }

    /// Returns what the transport can do: by its kind before the first connection, by what the broker answered after.
    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.inner.capabilities()
    }

    /// Connects, if need be, and checks that the broker can do everything in `requirements`: capabilities by name, or others of
    /// [`Requirement`]. [`ConnectionBuilder::require`] asks at every connect instead.
    ///
    /// ```
    /// # fn check(connection: &kombu_core::Connection) -> kombu_core::Result<()> {
    /// use kombu_core::PriorityOrder;
    ///
    /// connection.require(["dead_letter", "message_ttl"]).wait()?;
    /// connection.require([PriorityOrder::HighFirst]).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn require<R: Into<Requirement>>(&self, requirements: impl IntoIterator<Item = R>) -> Pending<()> {
        let requirements: Vec<Requirement> = requirements.into_iter().map(Into::into).collect();
        self.inner.operate("require", move |live| {
            let checked = live.capabilities().require(&requirements);
            Box::pin(async move { checked })
        })
    }

    /// Returns a producer that publishes through this connection.
    pub fn producer(&self) -> Producer {
        Producer::new(self)
    }

    /// Starts a consumer of `queues`.
    pub fn consumer(&self, queues: impl IntoQueues) -> ConsumerBuilder {
        ConsumerBuilder::new(self, queues)
    }

    /// Calls `handler` with what happens to the connection without being asked; replaces the handler named before. Without one,
    /// events are logged through `tracing`.
    ///
    /// It is called where the connection's callbacks run: on the thread of the registered hub, or on the connection's own
    /// dispatcher thread.
    pub fn on_event(&self, handler: impl Fn(&ConnectionEvent) + Send + Sync + 'static) {
        self.inner.events.set_handler(Arc::new(handler));
    }

    /// Returns up to `limit` elements of `queue` that were set aside because they are no messages, or because nobody could handle
    /// them; oldest first. They stay where they are.
    pub fn malformed(&self, queue: impl Into<ShortStr>, limit: u32) -> Pending<Vec<Malformed>> {
        let queue = queue.into();
        self.inner.operate("malformed", move |live| {
            let (channel, queue) = (Arc::clone(&live.channel), queue.clone());
            Box::pin(async move { channel.malformed(queue, limit).await })
        })
    }

    /// Closes the connection: what is queued is sent, unsettled messages go back to their queues, consumers end. Bounded by the
    /// close time-out, default 5 s. Closing a closed connection is no error.
    pub fn close(&self) -> Pending<()> {
        self.inner.close()
    }

    pub(crate) fn exchange_declare(&self, exchange: &Exchange) -> Pending<()> {
        if !exchange.is_declarable() {
            return Pending::ready(Ok(()));
        }
        if let Err(error) = exchange.name().clone().checked("exchange name") {
            return Pending::ready(Err(error.during("exchange.declare")));
        }
        let (inner, exchange) = (Arc::clone(&self.inner), exchange.clone());
        self.inner.operate("exchange.declare", move |live| {
            let (inner, live, exchange) = (Arc::clone(&inner), Arc::clone(live), exchange.clone());
            Box::pin(async move { inner.declare_exchange(&live, &exchange).await })
        })
    }

    pub(crate) fn exchange_delete(&self, method: ExchangeDelete) -> Pending<()> {
        let inner = Arc::clone(&self.inner);
        self.inner.operate("exchange.delete", move |live| {
            let (inner, channel, method) = (Arc::clone(&inner), Arc::clone(&live.channel), method.clone());
            let checked = live.capabilities().check_exchange_delete(&method);
            Box::pin(async move {
                checked.map_err(|error| error.with("exchange", &method.exchange))?;
                let (exchange, is_sure) = (method.exchange.clone(), !method.if_unused);
                if is_sure {
                    inner.topology.forget_exchange(&exchange);
                }
                channel.exchange_delete(method).await?;
                // What a condition kept is declared again after a lost connection.
                if !is_sure {
                    inner.topology.forget_exchange(&exchange);
                }
                Ok(())
            })
        })
    }

    /// Declares both exchanges and binds `exchange` to that of `binding`.
    pub(crate) fn exchange_bind(&self, exchange: &Exchange, binding: &Binding) -> Pending<()> {
        let (inner, exchange, binding) = (Arc::clone(&self.inner), exchange.clone(), binding.clone());
        self.inner.operate("exchange.bind", move |live| {
            let (inner, live, exchange) = (Arc::clone(&inner), Arc::clone(live), exchange.clone());
            let (source, method) = (binding.exchange().clone(), binding.to_exchange_method(exchange.name()));
            Box::pin(async move {
                inner.declare_exchange(&live, &source).await?;
                inner.declare_exchange(&live, &exchange).await?;
                inner.bind_exchange(&live, method).await
            })
        })
    }

    pub(crate) fn exchange_unbind(&self, method: ExchangeBind) -> Pending<()> {
        let inner = Arc::clone(&self.inner);
        self.inner.operate("exchange.unbind", move |live| {
            inner.topology.forget_exchange_binding(&method);
            let (channel, method) = (Arc::clone(&live.channel), method.clone());
            let checked = live.capabilities().check_exchange_bind();
            Box::pin(async move {
                checked?;
                channel.exchange_unbind(method).await
            })
        })
    }

    pub(crate) fn queue_declare(&self, queue: &Queue) -> Pending<QueueDeclared> {
        if let Err(error) = queue.name().clone().checked("queue name") {
            return Pending::ready(Err(error.during("queue.declare")));
        }
        let (inner, queue) = (Arc::clone(&self.inner), queue.clone());
        self.inner.operate("queue.declare", move |live| {
            let (inner, live, queue) = (Arc::clone(&inner), Arc::clone(live), queue.clone());
            Box::pin(async move {
                let declared = inner.declare_queue(&live, &queue).await?;
                if queue.name().is_empty() {
                    inner.topology.note_server_named(&queue, &declared.queue);
                }
                Ok(declared)
            })
        })
    }

    pub(crate) fn queue_unbind(&self, method: QueueBind) -> Pending<()> {
        let inner = Arc::clone(&self.inner);
        self.inner.operate("queue.unbind", move |live| {
            let method = QueueBind { queue: inner.topology.current_name(&method.queue), ..method.clone() };
            inner.topology.forget_binding(&method);
            let channel = Arc::clone(&live.channel);
            Box::pin(async move { channel.queue_unbind(method).await })
        })
    }

    pub(crate) fn queue_purge(&self, queue: ShortStr) -> Pending<u32> {
        let inner = Arc::clone(&self.inner);
        self.inner.operate("queue.purge", move |live| {
            let (channel, queue) = (Arc::clone(&live.channel), inner.topology.current_name(&queue));
            Box::pin(async move { channel.queue_purge(queue).await })
        })
    }

    pub(crate) fn queue_delete(&self, method: QueueDelete) -> Pending<u32> {
        let inner = Arc::clone(&self.inner);
        self.inner.operate("queue.delete", move |live| {
            let method = QueueDelete { queue: inner.topology.current_name(&method.queue), ..method.clone() };
            let (inner, channel) = (Arc::clone(&inner), Arc::clone(&live.channel));
            let checked = live.capabilities().check_queue_delete(&method);
            Box::pin(async move {
                checked.map_err(|error| error.with("queue", &method.queue))?;
                let (queue, is_sure) = (method.queue.clone(), !method.if_unused && !method.if_empty);
                if is_sure {
                    inner.topology.forget_queue(&queue);
                }
                let count = channel.queue_delete(method).await?;
                // What a condition kept is declared again after a lost connection.
                if !is_sure {
                    inner.topology.forget_queue(&queue);
                }
                Ok(count)
            })
        })
    }

    pub(crate) fn get(&self, queue: &Queue) -> Pending<Option<Message>> {
        let method = BasicGet { queue: queue.name().clone(), no_ack: queue.is_no_ack() };
        let inner = Arc::clone(&self.inner);
        self.inner.operate("basic.get", move |live| {
            let (inner, channel) = (Arc::clone(&inner), Arc::clone(&live.channel));
            let method = BasicGet { queue: inner.topology.current_name(&method.queue), ..method.clone() };
            Box::pin(async move {
                let delivery = channel.basic_get(method.clone()).await?;
                Ok(delivery.map(|delivery| Message::fetched(&inner, channel, method, delivery)))
            })
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.url())
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection is closed")
}
