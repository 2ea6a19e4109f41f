//! One publish.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::Producer;
use super::confirm::{Address, Confirmed, addressed, confirm_later, read_answer, read_later};
use crate::compression;
use crate::connection::{Inner, Late, closed};
use crate::entity::Exchange;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::headers::Headers;
use crate::method::BasicPublish;
use crate::pending::{Pending, Sent};
use crate::properties::{DeliveryMode, Properties};
use crate::serialization::Body;
use crate::short_str::ShortStr;
use crate::{FieldTable, Value};

/// A message about to be published, made by [`Producer::publish`].
///
/// It ends one of three ways: [`send`](Publish::send) gives a [`Pending`] to keep or drop, [`wait`](Publish::wait) blocks for the
/// broker's confirmation, `.await` waits for it.
#[must_use = "nothing is published until `send`, `wait` or `.await`"]
pub struct Publish<'p> {
    producer: &'p Producer,
    exchange: Option<&'p Exchange>,
    /// `None` is the producer's.
    routing_key: Option<ShortStr>,
    properties: Properties,
    headers: Headers,
    body: Bytes,
    delivery_mode: Option<DeliveryMode>,
    mandatory: bool,
    timeout: Option<Duration>,
    error: Option<Error>,
}

impl<'p> Publish<'p> {
    #[inline]
    pub(super) fn new(producer: &'p Producer, body: Result<Body>) -> Self {
        let (properties, body, error) = match body {
            Ok(body) => {
                let (properties, bytes) = body.into_parts();
                (properties, bytes, None)
            }
            Err(error) => (Properties::default(), Bytes::new(), Some(error)),
        };
        Publish {
            producer,
            exchange: producer.exchange.as_ref(),
            routing_key: None,
            properties,
            headers: Headers::empty(),
            body,
            delivery_mode: None,
            mandatory: false,
            timeout: None,
            error,
        }
    }

    /// Sets the exchange; default the producer's.
    #[inline]
    pub fn exchange(mut self, exchange: &'p Exchange) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// Sets the routing key; default the producer's. For the default exchange it is the name of the queue.
    #[inline]
    pub fn routing_key(mut self, routing_key: impl Into<ShortStr>) -> Self {
        self.routing_key = Some(routing_key.into());
        self
    }

    /// Makes a message that matches no queue an error of kind `Returned`.
    #[inline]
    pub fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// Sets the priority, default 0. What it means is up to the transport:
    /// [`Capabilities::priority`](crate::Capabilities).
    #[inline]
    pub fn priority(mut self, priority: u8) -> Self {
        self.properties.priority = Some(priority);
        self
    }

    /// Sets whether the broker keeps the message over its restart; default the exchange's, which is persistent.
    #[inline]
    pub fn delivery_mode(mut self, mode: DeliveryMode) -> Self {
        self.delivery_mode = Some(mode);
        self
    }

    /// Sets how long the message may wait in a queue; whole milliseconds.
    pub fn expiration(mut self, expiration: Duration) -> Self {
        self.properties.set_expiration(expiration);
        self
    }

    /// Has a delayed exchange hold the message back for this long, in whole milliseconds (header `x-delay`); see
    /// [`Exchange::delayed`]. Any other exchange routes it at once.
    pub fn delay(self, delay: Duration) -> Self {
        self.header("x-delay", i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.headers.table_mut().insert(name.into(), value.into());
        self
    }

    /// Sets all headers, except that a header `compression` set before stays: without it nobody could read the body.
    pub fn headers(mut self, headers: FieldTable) -> Self {
        let compression = self.headers.get("compression").cloned();
        self.headers = headers.into();
        match compression {
            Some(method) => self.header("compression", method),
            None => self,
        }
    }

    /// Overrides the content type and encoding that came with the body's type; the bytes stay as they are.
    pub fn content_type(mut self, content_type: impl Into<ShortStr>, content_encoding: impl Into<ShortStr>) -> Self {
        self.properties.set_content(Some(content_type.into()), Some(content_encoding.into()));
        self
    }

    /// Compresses the body by one of Kombu's methods, such as `zlib` or `zstd`, and says so in header `compression`.
    pub fn compression(mut self, method: &str) -> Self {
        if self.error.is_none() {
            match compression::compress(method, &self.body) {
                Ok((content_type, body)) => {
                    self.body = body;
                    return self.header("compression", Value::from(content_type));
                }
                Err(error) => self.error = Some(error),
            }
        }
        self
    }

    /// Names the request this message answers.
    pub fn correlation_id(mut self, id: impl Into<ShortStr>) -> Self {
        self.properties.set_correlation_id(id);
        self
    }

    /// Names the queue for replies.
    pub fn reply_to(mut self, queue: impl Into<ShortStr>) -> Self {
        self.properties.set_reply_to(queue);
        self
    }

    /// Sets the application's name of the message.
    pub fn message_id(mut self, id: impl Into<ShortStr>) -> Self {
        self.properties.set_message_id(id);
        self
    }

    /// Sets when the message was made, in seconds since 1970 UTC.
    pub fn timestamp(mut self, seconds: u64) -> Self {
        self.properties.set_timestamp(seconds);
        self
    }

    /// Sets the application's type of the message (AMQP `type`).
    pub fn kind(mut self, kind: impl Into<ShortStr>) -> Self {
        self.properties.set_kind(kind);
        self
    }

    /// Sets the user that publishes; RabbitMQ refuses another than the connection's.
    pub fn user_id(mut self, user: impl Into<ShortStr>) -> Self {
        self.properties.set_user_id(user);
        self
    }

    /// Sets the application that publishes.
    pub fn app_id(mut self, application: impl Into<ShortStr>) -> Self {
        self.properties.set_app_id(application);
        self
    }

    /// Sets the remnant of AMQP 0-8 that brokers pass through.
    pub fn cluster_id(mut self, cluster: impl Into<ShortStr>) -> Self {
        self.properties.set_cluster_id(cluster);
        self
    }

    /// Sets a property AMQP does not know, as any further keyword of Kombu's `publish`. Transports that use Kombu's envelope pass
    /// it on, AMQP has no place for it. By the name `priority` it sets one that is no `u8`, such as Kombu's -5.
    ///
    /// A name that has a method here, or that the transport writes, is an error of kind `InvalidArgument` at
    /// [`send`](Self::send).
    pub fn property(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        let name = name.into();
        if KNOWN_PROPERTIES.contains(&name.as_str()) {
            let what = format!("the property `{name}` is set by its own method, or by the transport");
            self.error.get_or_insert_with(|| Error::new(ErrorKind::InvalidArgument, what));
            return self;
        }
        if name == "priority" {
            self.properties.priority = None;
        }
        self.properties.rare_mut().other.insert(name, value.into());
        self
    }

    /// Sets how long to wait for the broker's confirmation; default the connection's publish time-out, 30 s. A message that could
    /// not even be sent by then never is.
    #[inline]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Publishes the message and returns the answer to come. It may be dropped: the message is published all the same.
    #[inline]
    pub fn send(self) -> Pending<Confirmed> {
        let Publish { producer, exchange, mut properties, error, .. } = self;
        if let Some(error) = error {
            return unsent(error);
        }
        let inner = &producer.shared.connection.inner;
        if let Some(mode) = self.delivery_mode.or_else(|| exchange.map(Exchange::delivery_mode)) {
            properties.delivery_mode = mode;
        }
        let address = Address {
            exchange: exchange.map_or(&DEFAULT_EXCHANGE, Exchange::name),
            routing_key: self.routing_key.as_ref().unwrap_or(&producer.routing_key),
        };
        let envelope = Envelope {
            exchange: address.exchange.clone(),
            routing_key: address.routing_key.clone(),
            properties,
            headers: self.headers,
            body: self.body,
        };
        let envelope = envelope.share();
        let timeout = self.timeout.unwrap_or(inner.options.publish_timeout);
        let method = BasicPublish { mandatory: self.mandatory, timeout: Some(timeout) };
        if let Some(live) = inner.open_lane()
            && !producer.lacks(exchange, live.generation)
        {
            if (method.mandatory || live.limits_messages || envelope.body.len() as u64 > live.max_body)
                && let Err(error) = live.capabilities().check_publish(&method, &envelope)
            {
                return Pending::ready(Err(addressed(error, &address)));
            }
            return match live.channel.basic_publish(method, envelope).now() {
                Ok(result) => Pending::ready(read_answer(&producer.shared, &address, result)),
                Err(answer) => confirm_later(producer, timeout, answer, address.into_owned()),
            };
        }
        send_in_turn(producer, inner, method, exchange.cloned(), envelope, address.into_owned())
    }

    /// Publishes the message and blocks until the broker has it; see [`Pending::wait`].
    ///
    /// # Errors
    ///
    /// `Returned` (mandatory and unroutable), `NotFound` (no such exchange), `Overloaded`, `Timeout`, `ConnectionLost`, `Encode`;
    /// [`Error::outcome`] says whether the broker may have the message all the same.
    #[inline]
    pub fn wait(self) -> Result<Confirmed> {
        self.send().wait()
    }
}

impl IntoFuture for Publish<'_> {
    type Output = Result<Confirmed>;
    type IntoFuture = Pending<Confirmed>;

    #[inline]
    fn into_future(self) -> Pending<Confirmed> {
        self.send()
    }
}

impl std::fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publish({:?})", self.routing_key.as_ref().unwrap_or(&self.producer.routing_key))
    }
}

/// What [`Publish::property`] refuses.
const KNOWN_PROPERTIES: [&str; 16] = [
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
    "delivery_info",
    "delivery_tag",
    "body_encoding",
];

#[cold]
fn unsent(error: Error) -> Pending<Confirmed> {
    Pending::ready(Err(error.during("basic.publish").with_outcome(Outcome::NotSent)))
}

static DEFAULT_EXCHANGE: ShortStr = ShortStr::from_static("");

/// Connects, declares the exchange, and then publishes, behind everything asked for before.
#[cold]
fn send_in_turn(
    producer: &Producer,
    inner: &Arc<Inner>,
    method: BasicPublish,
    exchange: Option<Exchange>,
    envelope: Arc<Envelope>,
    address: Address<ShortStr>,
) -> Pending<Confirmed> {
    if inner.is_closing() {
        return Pending::ready(Err(addressed(closed(), &address)));
    }
    let timeout = method.timeout.unwrap_or(inner.options.publish_timeout);
    // The step owns no handle of the connection: the last one goes on the application's thread, not on the hub's, and waits
    // there until what was published is sent.
    let (inner_of_step, declared) = (Arc::clone(inner), Arc::clone(&producer.shared.declared));
    let shared = Arc::clone(&producer.shared);
    let is_sent = Arc::new(AtomicBool::new(false));
    let sent = Arc::clone(&is_sent);
    let asked = Arc::clone(&envelope);
    let step = inner.in_turn("basic.publish", timeout, Late::Refused, move |deadline| {
        let publish = async move {
            let inner = inner_of_step;
            let live = loop {
                let live = inner.ensure_live(Some(deadline)).await?;
                let Some(exchange) = exchange.as_ref().filter(|exchange| declared.lacks(exchange, live.generation))
                else {
                    break live;
                };
                match inner.declare_exchange(&live, exchange).await {
                    Ok(()) => declared.note(exchange.name(), live.generation),
                    // The broker was lost meanwhile; nothing was published yet.
                    Err(error) if inner.may_repeat(&live, &error, deadline) => {}
                    Err(error) => return Err(error),
                }
            };
            live.capabilities().check_publish(&method, &envelope)?;
            let left = deadline.saturating_duration_since(inner.hub()?.now());
            if left.is_zero() {
                // Whoever asked was told so: it must not be sent any more.
                return Err(Error::new(ErrorKind::Timeout, "not sent in time"));
            }
            let method = BasicPublish { timeout: Some(left), ..method };
            // The lane does not wait for the answer: the publishes behind this one are pipelined.
            sent.store(true, Ordering::Release);
            Ok(live.channel.basic_publish(method, envelope))
        };
        Box::pin(async move {
            let address = Address { exchange: &asked.exchange, routing_key: &asked.routing_key };
            publish.await.map_err(|error| addressed(error, &address))
        })
    });
    step.or_not_sent().and_then(move |answer| read_later(shared, address, answer)).of_publish(Sent::When(is_sent))
}
