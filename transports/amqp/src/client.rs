//! What this transport asks of an AMQP client: the only face it knows of the library underneath.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::Stream;
use kombu_core::method::{
    BasicConsume, BasicGet, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDeclared,
    QueueDelete,
};
use kombu_core::{ConsumerTag, Delivery, DeliveryTag, Envelope, Error, Qos, Result, Returned, ShortStr};

/// One broker connection.
#[async_trait]
pub(crate) trait Client: Send + Sync {
    /// Opens a channel.
    async fn open_channel(&self) -> Result<Arc<dyn ClientChannel>>;

    /// Says whether the broker takes no publishes on this connection. Whatever is handed in meanwhile waits, acks too.
    fn is_blocked(&self) -> bool;

    /// Says goodbye and ends the connection; may wait for ever if the broker does not answer.
    async fn close(&self) -> Result<()>;

    /// Ends the connection at once and for good, also one that is being made.
    fn kill(&self);
}

/// One AMQP channel. Errors say whether they ended it.
#[async_trait]
pub(crate) trait ClientChannel: Send + Sync {
    fn is_open(&self) -> bool;

    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()>;
    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()>;
    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()>;
    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()>;
    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared>;
    async fn queue_bind(&self, method: QueueBind) -> Result<()>;
    async fn queue_unbind(&self, method: QueueBind) -> Result<()>;
    async fn queue_purge(&self, queue: ShortStr) -> Result<u32>;
    async fn queue_delete(&self, method: QueueDelete) -> Result<u32>;
    async fn basic_qos(&self, qos: Qos) -> Result<()>;
    async fn basic_consume(&self, method: BasicConsume) -> Result<(ConsumerTag, Incoming)>;
    async fn basic_cancel(&self, consumer_tag: &ConsumerTag) -> Result<()>;
    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>>;
    async fn basic_recover(&self) -> Result<()>;
    /// Asks the broker to confirm publishes.
    async fn confirm_select(&self) -> Result<()>;
    async fn close(&self) -> Result<()>;

    /// Prepares a publish. It is sent when the flight is first polled; flights of one channel are first polled one after the
    /// other, and none is dropped before it landed while the channel is open.
    ///
    /// # Errors
    ///
    /// `Encode` and `InvalidArgument` for what AMQP cannot carry.
    fn publish(&self, mandatory: bool, envelope: &Arc<Envelope>) -> Result<Flight>;

    /// Returns how many publishes have left for the broker, as far as polling their flights has shown. They leave in the order in
    /// which they were prepared.
    fn departed(&self) -> u64;

    /// Queues an ack; never waits.
    fn ack(&self, tag: DeliveryTag, multiple: bool) -> Result<()>;

    /// Queues a nack; never waits.
    fn nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Result<()>;
}

/// A publish under way.
pub(crate) type Flight = Pin<Box<dyn Future<Output = Result<Landed>> + Send>>;

/// The broker's answer to a publish.
#[derive(Debug)]
pub(crate) struct Landed {
    /// The broker could not take the message.
    pub(crate) is_nacked: bool,
    /// *Some* message of the channel that matched no queue; not necessarily this one.
    pub(crate) returned: Option<Box<Returned>>,
}

/// The deliveries of a consumer. It ends when the consumer does, after an error if the channel died.
pub(crate) type Incoming = Pin<Box<dyn Stream<Item = Result<Delivery>> + Send>>;

/// Learns what happens to a connection without being asked; called with no lock held.
pub(crate) trait ClientEvents: Send + Sync {
    /// The broker stopped taking publishes, or takes them again.
    fn blocked(&self, reason: Option<ShortStr>);

    /// The connection, or one of its channels, ended with this error.
    fn failed(&self, error: Error);
}
