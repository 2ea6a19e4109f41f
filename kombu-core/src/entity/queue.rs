//! Queues.

use std::time::Duration;

use super::sealed::Sealed;
use super::{Binding, Entity, Exchange};
use crate::connection::Connection;
use crate::message::Message;
use crate::method::{QueueBind, QueueDeclare, QueueDeclared, QueueDelete};
use crate::pending::Pending;
use crate::short_str::ShortStr;
use crate::{FieldTable, Value};

/// A buffer of messages, with the bindings that fill it (AMQP 0-9-1 §3.1.2).
///
/// Making one declares nothing; [`declare`](Queue::declare) does, as does the first use by a consumer. Durable, shared and kept
/// unless said otherwise, as in Kombu.
///
/// ```
/// use kombu_core::{Exchange, Queue};
/// use std::time::Duration;
///
/// let media = Exchange::direct("media");
/// let videos = Queue::new("videos").bind(&media, "video").message_ttl(Duration::from_secs(60));
/// assert_eq!(videos.bindings().len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    name: ShortStr,
    bindings: Vec<Binding>,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    passive: bool,
    no_ack: bool,
    no_declare: bool,
    arguments: FieldTable,
    consumer_arguments: FieldTable,
}

impl Queue {
    /// Makes a queue without bindings: it gets what is published to the default exchange under its name. An empty name asks the
    /// broker for one.
    pub fn new(name: impl Into<ShortStr>) -> Self {
        Queue {
            name: name.into(),
            bindings: Vec::new(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            passive: false,
            no_ack: false,
            no_declare: false,
            arguments: FieldTable::default(),
            consumer_arguments: FieldTable::default(),
        }
    }

    /// Binds it to `exchange` with `routing_key` when it is declared; may be called for several.
    #[must_use]
    pub fn bind(self, exchange: &Exchange, routing_key: impl Into<ShortStr>) -> Self {
        self.binding(exchange.binding(routing_key))
    }

    /// Adds a binding with arguments.
    #[must_use]
    pub fn binding(mut self, binding: Binding) -> Self {
        self.bindings.push(binding);
        self
    }

    /// Lets it go with the broker's restart.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.durable = false;
        self
    }

    /// Keeps other connections out, and lets it go with this one; implies auto-delete, as in Kombu.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self.auto_delete = true;
        self
    }

    /// Lets it go with its last consumer.
    #[must_use]
    pub fn auto_delete(mut self) -> Self {
        self.auto_delete = true;
        self
    }

    /// Makes a declaration only ask whether it exists.
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.passive = true;
        self
    }

    /// Makes consumers take messages as acknowledged when they are sent, unless they say otherwise.
    #[must_use]
    pub fn no_ack(mut self) -> Self {
        self.no_ack = true;
        self
    }

    /// Keeps it from ever being declared or bound: somebody else does that.
    #[must_use]
    pub fn no_declare(mut self) -> Self {
        self.no_declare = true;
        self
    }

    /// Lets it go when it was not used for this long; whole milliseconds (`x-expires`).
    #[must_use]
    pub fn expires(self, after: Duration) -> Self {
        self.argument("x-expires", milliseconds(after))
    }

    /// Lets its messages expire after this long; whole milliseconds (`x-message-ttl`).
    #[must_use]
    pub fn message_ttl(self, ttl: Duration) -> Self {
        self.argument("x-message-ttl", milliseconds(ttl))
    }

    /// Limits it to this many messages (`x-max-length`).
    #[must_use]
    pub fn max_length(self, messages: u32) -> Self {
        self.argument("x-max-length", i64::from(messages))
    }

    /// Limits the sum of its bodies to this many bytes (`x-max-length-bytes`).
    #[must_use]
    pub fn max_length_bytes(self, bytes: u64) -> Self {
        self.argument("x-max-length-bytes", i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Lets it tell priorities up to this one apart (`x-max-priority`).
    #[must_use]
    pub fn max_priority(self, priority: u8) -> Self {
        self.argument("x-max-priority", i64::from(priority))
    }

    /// Sends what dies in it (rejected, expired, too many) to `exchange` (`x-dead-letter-exchange`); under its own routing key, unless
    /// [`dead_letter_routing_key`](Queue::dead_letter_routing_key) gives another.
    #[must_use]
    pub fn dead_letter_exchange(self, exchange: impl Into<ShortStr>) -> Self {
        self.argument("x-dead-letter-exchange", exchange.into())
    }

    /// Sets the routing key of what dies in it (`x-dead-letter-routing-key`).
    #[must_use]
    pub fn dead_letter_routing_key(self, routing_key: impl Into<ShortStr>) -> Self {
        self.argument("x-dead-letter-routing-key", routing_key.into())
    }

    /// Adds a declaration argument of the broker's own.
    #[must_use]
    pub fn argument(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }

    /// Adds an argument of the broker's own for its consumers.
    #[must_use]
    pub fn consumer_argument(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.consumer_arguments.insert(name.into(), value.into());
        self
    }

    /// Returns the name; empty for one the broker is to name.
    pub fn name(&self) -> &ShortStr {
        &self.name
    }

    /// Returns the bindings.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Says whether its consumers take messages as acknowledged when they are sent.
    pub fn is_no_ack(&self) -> bool {
        self.no_ack
    }

    /// Says whether a declaration would be sent.
    pub fn is_declarable(&self) -> bool {
        !self.no_declare
    }

    /// Says whether what dies in it goes to an exchange.
    pub(crate) fn has_dead_letter_exchange(&self) -> bool {
        self.arguments.get("x-dead-letter-exchange").is_some_and(|exchange| !exchange.is_null())
    }

    /// Returns the arguments for its consumers.
    pub fn consumer_arguments(&self) -> &FieldTable {
        &self.consumer_arguments
    }

    /// Declares its exchanges, the queue, and its bindings.
    pub fn declare(&self, connection: &Connection) -> Pending<QueueDeclared> {
        connection.queue_declare(self)
    }

    /// Fetches one message, or `None` when it is empty now.
    pub fn get(&self, connection: &Connection) -> Pending<Option<Message>> {
        connection.get(self)
    }

    /// Removes its ready messages and returns how many there were.
    pub fn purge(&self, connection: &Connection) -> Pending<u32> {
        connection.queue_purge(self.name.clone())
    }

    /// Removes it with all its messages and returns how many there were; one that does not exist is no error.
    pub fn delete(&self, connection: &Connection) -> Pending<u32> {
        connection.queue_delete(QueueDelete { queue: self.name.clone(), ..QueueDelete::default() })
    }

    /// Removes it if it has no messages, and returns 0; one that does not exist is no error.
    ///
    /// Fails with `PreconditionFailed` when it has messages, which are kept, and with `Unsupported` where the transport does not do
    /// `delete_conditions`.
    pub fn delete_if_empty(&self, connection: &Connection) -> Pending<u32> {
        connection.queue_delete(QueueDelete { queue: self.name.clone(), if_empty: true, if_unused: false })
    }

    /// Removes it with all its messages if it has no consumers, and returns how many messages there were; one that does not exist
    /// is no error.
    ///
    /// Fails with `PreconditionFailed` when it has consumers, and with `Unsupported` where the transport does not do
    /// `delete_conditions`.
    pub fn delete_if_unused(&self, connection: &Connection) -> Pending<u32> {
        connection.queue_delete(QueueDelete { queue: self.name.clone(), if_empty: false, if_unused: true })
    }

    /// Ends the route from `exchange` with `routing_key`.
    pub fn unbind(
        &self,
        connection: &Connection,
        exchange: &Exchange,
        routing_key: impl Into<ShortStr>,
    ) -> Pending<()> {
        connection.queue_unbind(QueueBind {
            queue: self.name.clone(),
            exchange: exchange.name().clone(),
            routing_key: routing_key.into(),
            arguments: FieldTable::default(),
        })
    }

    /// Drops the bindings to `exchange` with `routing_key`, which somebody undid.
    pub(crate) fn is_passive(&self) -> bool {
        self.passive
    }

    /// Adds those bindings of `other` that it lacks.
    pub(crate) fn add_bindings(&mut self, other: &Queue) {
        let missing: Vec<_> =
            other.bindings.iter().filter(|binding| !self.bindings.contains(binding)).cloned().collect();
        self.bindings.extend(missing);
    }

    pub(crate) fn forget_bindings_to(&mut self, exchange: &str) {
        self.bindings.retain(|binding| binding.exchange().name().as_str() != exchange);
    }

    pub(crate) fn forget_binding(&mut self, exchange: &str, routing_key: &str) {
        self.bindings.retain(|binding| {
            binding.exchange().name().as_str() != exchange || binding.routing_key().as_str() != routing_key
        });
    }

    /// Returns the arguments of its `queue.declare`.
    pub fn to_method(&self) -> QueueDeclare {
        QueueDeclare {
            queue: self.name.clone(),
            passive: self.passive,
            durable: self.durable,
            exclusive: self.exclusive,
            auto_delete: self.auto_delete,
            arguments: self.arguments.clone(),
        }
    }

    /// Returns a copy under another name; what a server-named queue becomes once it has one.
    #[must_use]
    pub fn renamed(&self, name: ShortStr) -> Self {
        Queue { name, ..self.clone() }
    }
}

/// RabbitMQ counts in milliseconds.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Sealed for Queue {}

impl Entity for Queue {
    fn declare(&self, connection: &Connection) -> Pending<()> {
        self.declare(connection).map(|_| ())
    }
}
