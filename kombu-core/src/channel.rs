//! The trait of a channel: AMQP's methods.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::answer::{Confirm, Confirmation, Returned, Settled};
use crate::delivery::{ConsumerTag, Delivery, DeliverySink, DeliveryTag};
use crate::envelope::Envelope;
use crate::error::{Error, Outcome, Result};
use crate::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use crate::qos::Qos;
use crate::reply::ReplySender;
use crate::short_str::ShortStr;

/// One lane of a [`Transport`](crate::Transport): declares, publishes, consumes and settles.
///
/// Delivery tags and prefetch belong to the channel. An error of [`Scope::Channel`](crate::Scope::Channel) ends the channel and
/// nothing else.
///
/// # For implementers
///
/// *Who calls.* Core, on behalf of any thread; several threads may call at once. Core awaits one `async fn` of a channel before
/// it calls the next, and drives every one of them to its end as a task of the hub's I/O class: they are never dropped half-way,
/// except when the connection is given up. The plain `fn`s are hot: they are called from anywhere at any time, also from inside
/// a consumer's callback, and must neither block nor call back into the caller before they return.
///
/// *What may be kept.* Everything handed in is owned or shared; sinks and event receivers are dropped when the consumer or
/// channel ends, with no lock held.
///
/// *Who retries.* Core, by the error's [`recovery`](Error::recovery); a transport repeats only what cannot be seen outside.
///
/// *Capabilities.* Core refuses what [`Capabilities`](crate::Capabilities) does not declare before it reaches the channel.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Makes an exchange, or checks that it exists (`passive`).
    ///
    /// # Errors
    ///
    /// `NotFound` (passive), `PreconditionFailed` when it exists with other properties; both end the channel in AMQP.
    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()>;

    /// Removes an exchange and its bindings; one that does not exist is no error.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` when it is in use and `if_unused` was asked.
    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()>;

    /// Routes from one exchange to another.
    ///
    /// # Errors
    ///
    /// `NotFound` when one of them does not exist; `Unsupported` by default.
    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        let _ = method;
        Err(unsupported("exchange.bind", "exchange_to_exchange"))
    }

    /// Ends a route from one exchange to another; one that does not exist is no error.
    ///
    /// # Errors
    ///
    /// `Unsupported` by default.
    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        let _ = method;
        Err(unsupported("exchange.unbind", "exchange_to_exchange"))
    }

    /// Makes a queue, or checks that it exists (`passive`).
    ///
    /// # Errors
    ///
    /// `NotFound` (passive), `PreconditionFailed`, `ResourceLocked`.
    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared>;

    /// Routes from an exchange to a queue; a route that exists is no error.
    ///
    /// # Errors
    ///
    /// `NotFound` when the exchange or queue does not exist, where the transport knows.
    async fn queue_bind(&self, method: QueueBind) -> Result<()>;

    /// Ends a route from an exchange to a queue; one that does not exist is no error.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    async fn queue_unbind(&self, method: QueueBind) -> Result<()>;

    /// Removes the ready messages of a queue and returns how many there were; unsettled ones stay.
    ///
    /// # Errors
    ///
    /// `NotFound` when the queue does not exist, where the transport knows.
    async fn queue_purge(&self, queue: ShortStr) -> Result<u32>;

    /// Removes a queue and returns how many messages were in it; one that does not exist is no error.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` when `if_unused` or `if_empty` forbids it.
    async fn queue_delete(&self, method: QueueDelete) -> Result<u32>;

    /// Sets the window for consumers started from now on (`global`: for the whole channel, at once).
    ///
    /// # Errors
    ///
    /// Those of the connection.
    async fn basic_qos(&self, qos: Qos) -> Result<()>;

    /// Starts a consumer and returns its tag; `sink` gets the deliveries, possibly before this returns.
    ///
    /// # Errors
    ///
    /// `NotFound`, `AccessRefused` (exclusive), `InvalidArgument` when the tag is in use.
    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag>;

    /// Ends a consumer. After it returned, its sink gets no delivery; what it got and did not settle stays unsettled.
    ///
    /// # Errors
    ///
    /// Those of the connection; a tag that is not consuming is no error.
    async fn basic_cancel(&self, consumer_tag: ConsumerTag) -> Result<()>;

    /// Fetches one message, or `None` when the queue is empty now.
    ///
    /// # Errors
    ///
    /// `NotFound` when the queue does not exist, where the transport knows.
    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>>;

    /// Gives back every unsettled delivery of this channel, to be delivered again.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    async fn basic_recover(&self) -> Result<()>;

    /// Queues a message for sending; returns at once with an answer that may be awaited or dropped.
    ///
    /// Messages of one channel are sent in the order of the calls. A full buffer answers `Overloaded` (outcome `NotSent`).
    fn basic_publish(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm;

    /// Says whether a publish would be taken now; registers the waker otherwise.
    ///
    /// # Errors
    ///
    /// `Closed` or `ChannelGone` when it never will be.
    fn poll_publish_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }

    /// Settles a delivery, or with `multiple` all unsettled ones up to it: the broker forgets them.
    fn basic_ack(&self, tag: DeliveryTag, multiple: bool) -> Settled;

    /// Settles a delivery as [`basic_ack`](Channel::basic_ack) does, but may leave the broker's part of it until
    /// [`catch_up`](Channel::catch_up): for transports that pay for each settle by itself. By default it does not.
    ///
    /// Core calls it on the thread that runs a consumer's callback, for messages of that consumer, and `catch_up` before that rests;
    /// so the one that could miss the room in its window is busy meanwhile. Everybody else must see the delivery as settled from
    /// here on: whatever looks at the channel's unsettled deliveries, such as its end, carries out first what was put off.
    fn put_off_ack(&self, tag: DeliveryTag) -> Settled {
        self.basic_ack(tag, false)
    }

    /// Does what was left until now: acknowledgements that were [put off](Channel::put_off_ack), and deliveries kept for sinks whose
    /// application [comes back](crate::DeliverySink::comes_back) for them. Where none are kept, the application must be told again of
    /// the next one.
    fn catch_up(&self) {}

    /// Says whether a delivery that waited for the application is still its to handle. Core asks right before it hands the message over,
    /// on that thread, with no lock held; it must not block. After `false` the message is handed to nobody and settled by nobody. By
    /// default it always is.
    fn still_has(&self, tag: DeliveryTag) -> bool {
        let _ = tag;
        true
    }

    /// Refuses a delivery, or with `multiple` all unsettled ones up to it: back into the queue, or away (dead-lettered where
    /// the queue says so).
    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled;

    /// Refuses one delivery.
    fn basic_reject(&self, tag: DeliveryTag, requeue: bool) -> Settled {
        self.basic_nack(tag, false, requeue)
    }

    /// Moves an unsettled delivery from `queue` that cannot be handled to the queue's malformed list, with `reason`, instead of
    /// discarding it. The default, for brokers without such a list, rejects it without requeue, so that a dead-letter exchange
    /// gets it.
    fn set_aside(&self, delivery: &Delivery, queue: &ShortStr, reason: &str) -> Settled {
        let _ = (queue, reason);
        self.basic_reject(delivery.tag, false)
    }

    /// Returns up to `limit` of what was set aside from `queue`, oldest first, leaving it there.
    ///
    /// # Errors
    ///
    /// Those of the connection; by default nothing is ever set aside here.
    async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        let _ = (queue, limit);
        Ok(Vec::new())
    }

    /// Names who learns of what happens to the channel without being asked; replaces the one named before.
    fn observe(&self, events: Arc<dyn ChannelEvents>);

    /// Closes the channel: consumers end, unsettled deliveries go back to their queues, queued publishes and settles are sent.
    ///
    /// # Errors
    ///
    /// Those of the connection; closing a closed channel is no error.
    async fn close(&self) -> Result<()>;
}

fn unsupported(operation: &'static str, capability: &'static str) -> Error {
    Error::new(crate::ErrorKind::Unsupported, "this transport cannot do it")
        .during(operation)
        .with("capability", capability)
}

/// Learns what happens to a channel without being asked. Called from any thread, with no lock of the transport held; must not
/// block.
pub trait ChannelEvents: Send + Sync {
    /// An element of a queue could not be read as a message and was set aside.
    fn malformed(&self, malformed: Malformed);

    /// A mandatory message came back that cannot be matched to a publish. One that can is the answer to that publish,
    /// [`Confirmation::Returned`](crate::Confirmation::Returned), and is not told here.
    fn returned(&self, returned: Returned);

    /// Publishes that have no answer, in their order, when the transport lost its broker: whoever takes them publishes them again
    /// and answers. Told before [`closed`](ChannelEvents::closed). By default they fail with `error`.
    fn unconfirmed(&self, publishes: Vec<Unconfirmed>, error: &Error) {
        publishes.into_iter().for_each(|publish| publish.fail(error));
    }

    /// The broker stopped taking publishes (`Some(reason)`) or takes them again (`None`).
    fn blocked(&self, reason: Option<ShortStr>);

    /// A settle failed; the [`Settled`] of the caller, if it is still awaited, says so too.
    fn settle_failed(&self, error: Error);

    /// The transport lost its broker and is looking for it (`Some`), or found it again (`None`), without the channel ending.
    fn disturbed(&self, error: Option<Error>);

    /// The channel ended; for an error of scope `Connection`, so did its transport.
    fn closed(&self, error: Error);
}

/// A publish that got no answer before its connection was lost.
#[derive(Debug)]
pub struct Unconfirmed {
    /// How it was published.
    pub method: BasicPublish,
    /// The message.
    pub envelope: Arc<Envelope>,
    /// When the publisher gives up.
    pub deadline: Option<Instant>,
    /// Whether the broker may have the message.
    pub was_sent: bool,
    /// Where the answer goes.
    pub answer: ReplySender<Result<Confirmation>>,
}

impl Unconfirmed {
    /// Answers that it failed with `error`, and what is known of the message.
    pub fn fail(self, error: &Error) {
        let outcome = if self.was_sent { Outcome::Unknown } else { Outcome::NotSent };
        self.answer.send(Err(error.duplicate().with_outcome(outcome)));
    }
}

/// Something in a queue that is not a message, or that nobody could handle.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// The queue it was in.
    pub queue: ShortStr,
    /// Its bytes, as they were stored.
    pub raw: Bytes,
    /// What is wrong with it.
    pub reason: String,
    /// When it was set aside.
    pub at: SystemTime,
}
