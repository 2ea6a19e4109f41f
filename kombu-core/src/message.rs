//! A received message.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::Value;
use crate::answer::Settled;
use crate::channel::Channel;
use crate::compression;
use crate::connection::{ConnectionEvent, Inner};
use crate::delivery::{Delivery, DeliveryTag};
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::hub::HubHandle;
use crate::method::BasicGet;
use crate::properties::Properties;
use crate::run;
use crate::serialization::{self, AcceptList};
use crate::settling::Settling;
use crate::short_str::ShortStr;

/// A message delivered to this program, which owes the broker one answer: [`ack`](Message::ack), [`reject`](Message::reject) or
/// [`requeue`](Message::requeue).
///
/// Answering consumes the message, so it cannot be answered twice:
///
/// ```compile_fail,E0382
/// # fn handler(message: kombu_core::Message) {
/// message.ack();
/// message.ack();
/// # }
/// ```
///
/// ```compile_fail,E0382
/// # fn handler(message: kombu_core::Message) {
/// message.reject();
/// message.requeue();
/// # }
/// ```
///
/// Nor can it be copied to get around that:
///
/// ```compile_fail,E0599
/// # fn handler(message: kombu_core::Message) {
/// let twin = message.clone();
/// # }
/// ```
///
/// A message that is dropped unanswered (also by a panicking handler) goes back to its queue, up to the connection's
/// [delivery limit](crate::ConnectionBuilder::delivery_limit); then it is dead-lettered, if its queue was declared through this
/// connection with a dead-letter exchange, or else set aside, where [`Connection::malformed`](crate::Connection::malformed) shows
/// it. [`leave_unacked`](Message::leave_unacked) leaves it unanswered, as a message that Kombu's garbage collector takes.
#[must_use = "a message that is dropped unanswered goes back to its queue"]
pub struct Message {
    /// `None` when it is settled, and with that consumed.
    delivery: Option<Delivery>,
    /// `None` when it is answered.
    origin: Option<Arc<Origin>>,
}

/// Where messages of one consumer and queue come from, and how they are answered.
pub(crate) struct Origin {
    pub(crate) channel: Arc<HeldChannel>,
    pub(crate) queue: ShortStr,
    pub(crate) no_ack: bool,
    pub(crate) accept: AcceptList,
    pub(crate) inner: Weak<Inner>,
    pub(crate) delivery_limit: u32,
    pub(crate) warned: AtomicBool,
}

/// A channel that is closed when nobody can settle anything on it any more: its consumer and all its messages are gone.
pub(crate) struct HeldChannel {
    channel: Arc<dyn Channel>,
    /// Where to close it; `None` for the connection's own channel, which outlives its messages.
    hub: Option<HubHandle>,
    /// Lost: the broker has taken back what came from it.
    is_gone: AtomicBool,
}

impl HeldChannel {
    pub(crate) fn new(channel: Arc<dyn Channel>, hub: Option<HubHandle>) -> Arc<Self> {
        Arc::new(HeldChannel { channel, hub, is_gone: AtomicBool::new(false) })
    }
}

impl HeldChannel {
    pub(crate) fn mark_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
}

impl std::ops::Deref for HeldChannel {
    type Target = dyn Channel;

    fn deref(&self) -> &Self::Target {
        &*self.channel
    }
}

impl Drop for HeldChannel {
    fn drop(&mut self) {
        if let Some(hub) = &self.hub {
            let channel = Arc::clone(&self.channel);
            // A failure means that the connection is gone, and the channel with it.
            drop(hub.spawn(async move { channel.close().await }));
        }
    }
}

impl Message {
    pub(crate) fn new(delivery: Delivery, origin: Arc<Origin>) -> Self {
        Message { delivery: Some(delivery), origin: Some(origin) }
    }

    /// A message fetched with `basic_get`.
    pub(crate) fn fetched(inner: &Arc<Inner>, channel: Arc<dyn Channel>, method: BasicGet, delivery: Delivery) -> Self {
        let origin = Origin {
            channel: HeldChannel::new(channel, None),
            queue: method.queue,
            no_ack: method.no_ack,
            accept: inner.options.accept.clone(),
            inner: Arc::downgrade(inner),
            delivery_limit: inner.options.delivery_limit,
            warned: AtomicBool::new(false),
        };
        Message::new(delivery, Arc::new(origin))
    }

    #[inline]
    #[expect(clippy::expect_used, reason = "what takes the delivery consumes the message")]
    fn delivery(&self) -> &Delivery {
        // Only `settle` takes it out, and nobody has the message after that.
        self.delivery.as_ref().expect("a message that is not settled has its delivery")
    }

    /// Returns the body as it travelled: serialized, and compressed if header `compression` says so.
    #[inline]
    pub fn body(&self) -> &Bytes {
        &self.delivery().envelope.body
    }

    /// Returns the body's value, decompressed and decoded by its content type.
    ///
    /// # Errors
    ///
    /// `ContentDisallowed` when the content type is not in the consumer's `accept` list, `Decode` when the body cannot be read.
    pub fn payload(&self) -> Result<Value> {
        let body = self.decompressed()?;
        self.with_accept(|accept| {
            serialization::decode(&body, self.properties().content_type(), self.properties().content_encoding(), accept)
        })
    }

    /// Returns the body as a `T`, decompressed and deserialized by its content type; JSON without a detour.
    ///
    /// # Errors
    ///
    /// As [`payload`](Message::payload), and `Decode` when the body is no `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        let body = self.decompressed()?;
        self.with_accept(|accept| {
            serialization::decode_as(
                &body,
                self.properties().content_type(),
                self.properties().content_encoding(),
                accept,
            )
        })
    }

    /// Returns the body as text, whatever its content type; not decompressed.
    ///
    /// # Errors
    ///
    /// `Decode` when it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.body()).map_err(|error| {
            Error::new(ErrorKind::Decode, "the body is not UTF-8").caused_by(error).with("queue", self.queue())
        })
    }

    fn decompressed(&self) -> Result<Bytes> {
        match self.headers().get("compression").and_then(Value::as_str) {
            Some(method) => compression::decompress(method, self.body(), compression::DEFAULT_LIMIT),
            None => Ok(self.body().clone()),
        }
    }

    fn with_accept<T>(&self, decode: impl FnOnce(&AcceptList) -> Result<T>) -> Result<T> {
        let error = match &self.origin {
            Some(origin) => decode(&origin.accept),
            None => decode(&AcceptList::default()),
        };
        error.map_err(|error| error.with("queue", self.queue()))
    }

    /// Returns AMQP's properties.
    pub fn properties(&self) -> &Properties {
        &self.delivery().envelope.properties
    }

    /// Returns the application's headers.
    pub fn headers(&self) -> &Headers {
        &self.delivery().envelope.headers
    }

    /// Returns the content type; `application/data` where the message has none, as in Kombu.
    pub fn content_type(&self) -> &str {
        self.properties().content_type().unwrap_or("application/data")
    }

    /// Returns the content encoding; `utf-8` where the message has none, as in Kombu.
    pub fn content_encoding(&self) -> &str {
        self.properties().content_encoding().unwrap_or("utf-8")
    }

    /// Returns the exchange it was published to; empty for the default exchange.
    pub fn exchange(&self) -> &ShortStr {
        &self.delivery().envelope.exchange
    }

    /// Returns the routing key it was published with.
    pub fn routing_key(&self) -> &ShortStr {
        &self.delivery().envelope.routing_key
    }

    /// Returns the queue it was taken from.
    pub fn queue(&self) -> &str {
        self.origin.as_ref().map_or("", |origin| origin.queue.as_str())
    }

    /// Returns its number on its channel.
    pub fn delivery_tag(&self) -> DeliveryTag {
        self.delivery().tag
    }

    /// Says whether it was, or may have been, delivered before.
    pub fn redelivered(&self) -> bool {
        self.delivery().redelivered
    }

    /// Returns how often it was given back before, where the transport counts.
    pub fn delivery_count(&self) -> Option<u32> {
        self.delivery().delivery_count
    }

    /// Says whether it may be a double: it was delivered before, or its publish was repeated because the answer was lost.
    pub fn maybe_duplicate(&self) -> bool {
        self.redelivered() || self.headers().get("x-republished").is_some()
    }

    /// Returns the message itself, to keep or publish again; cheap to clone.
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.delivery().envelope
    }

    /// Tells the broker that the message is done: it forgets it.
    ///
    /// The answer may be awaited or dropped; a failure is also reported to the connection's event handler.
    #[inline]
    pub fn ack(self) -> Settling {
        self.settle(|origin, delivery| {
            let channel = &origin.channel;
            if run::is_under_way(channel) {
                channel.put_off_ack(delivery.tag)
            } else {
                channel.basic_ack(delivery.tag, false)
            }
        })
    }

    /// Tells the broker that nobody will handle the message: it is dead-lettered where the queue says so, and gone elsewhere.
    pub fn reject(self) -> Settling {
        self.settle(|origin, delivery| origin.channel.basic_reject(delivery.tag, false))
    }

    /// Gives the message back to its queue, to be delivered again, to this consumer or another.
    pub fn requeue(self) -> Settling {
        self.settle(|origin, delivery| origin.channel.basic_reject(delivery.tag, true))
    }

    /// Moves the message to its queue's list of messages that could not be handled, with `reason`; see
    /// [`Connection::malformed`](crate::Connection::malformed). On brokers without such a list it is rejected.
    pub fn set_aside(self, reason: &str) -> Settling {
        self.settle(|origin, delivery| origin.channel.set_aside(delivery, &origin.queue, reason))
    }

    /// Leaves the message unanswered: it stays with this consumer until its channel ends, and then goes back.
    pub fn leave_unacked(mut self) {
        self.origin = None;
    }

    /// Says whether it has not become somebody else's while it waited to be handed over.
    pub(crate) fn is_still_ours(&self) -> bool {
        let is_ours = |origin: &Arc<Origin>| origin.no_ack || origin.channel.still_has(self.delivery().tag);
        self.origin.as_ref().is_none_or(is_ours)
    }

    #[inline]
    fn settle(mut self, how: impl FnOnce(&Origin, &Delivery) -> Settled) -> Settling {
        let origin = self.origin.take().filter(|origin| !origin.no_ack);
        let (Some(delivery), Some(origin)) = (self.delivery.take(), origin) else { return Settling::ready(Ok(())) };
        let answer = how(&origin, &delivery);
        Envelope::leave(delivery.envelope);
        match answer.now() {
            Ok(result) => {
                run::give(origin);
                Settling::ready(result)
            }
            Err(answer) => Settling::new(answer, origin),
        }
    }
}

impl Origin {
    /// Gives back a message that nobody looked at.
    pub(crate) fn give_back(&self, delivery: &Delivery) {
        if !self.no_ack {
            drop(self.channel.basic_reject(delivery.tag, true));
        }
    }

    /// Gives back a message that was dropped unanswered, unless that happened to it too often.
    #[cold]
    fn dropped(&self, delivery: &Delivery) {
        let inner = self.inner.upgrade();
        let counted = || inner.as_ref().map_or(0, |inner| inner.drops.count(&self.queue, delivery));
        let returns = delivery.delivery_count.unwrap_or_else(counted);
        let error = |text| Error::new(ErrorKind::InvalidState, text).with("queue", &self.queue);
        if returns >= self.delivery_limit {
            let reason = format!("dropped unanswered {} times", returns.saturating_add(1));
            let becomes = if inner.is_some_and(|inner| inner.topology.has_dead_letter_exchange(&self.queue)) {
                drop(self.channel.basic_reject(delivery.tag, false));
                "dead-lettered"
            } else {
                drop(self.channel.set_aside(delivery, &self.queue, &reason));
                "set aside"
            };
            self.tell(ConnectionEvent::SetAside(error(format!("a message was {reason}; it is {becomes}"))));
            return;
        }
        self.give_back(delivery);
        if !self.warned.swap(true, Ordering::Relaxed) {
            self.tell(ConnectionEvent::HandlerFailed(error(
                "a message was dropped unanswered and goes back to its queue; ack, reject, requeue or leave_unacked it"
                    .to_owned(),
            )));
        }
    }

    fn tell(&self, event: ConnectionEvent) {
        if let Some(inner) = self.inner.upgrade() {
            inner.emit(event);
        }
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        if let Some(origin) = self.origin.take()
            && !origin.no_ack
        {
            origin.dropped(self.delivery());
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("queue", &self.queue())
            .field("exchange", self.exchange())
            .field("routing_key", self.routing_key())
            .field("content_type", &self.content_type())
            .field("body_bytes", &self.body().len())
            .field("delivery_tag", &self.delivery_tag().0)
            .field("redelivered", &self.redelivered())
            .finish()
    }
}
