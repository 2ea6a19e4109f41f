//! Exchanges.

use std::fmt;
use std::str::FromStr;

use super::sealed::Sealed;
use super::{Binding, Entity};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::method::{ExchangeDeclare, ExchangeDelete};
use crate::pending::Pending;
use crate::properties::DeliveryMode;
use crate::short_str::ShortStr;
use crate::{FieldTable, Value};

/// How an exchange routes (AMQP 0-9-1 §3.1.3).
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExchangeKind {
    /// To the queues bound with exactly the routing key.
    #[default]
    Direct,
    /// To the queues bound with a pattern that matches: words separated by dots, `*` is one word, `#` zero or more.
    Topic,
    /// To every bound queue, whatever the key.
    Fanout,
    /// By the message's headers.
    Headers,
    /// A kind the broker knows by this name, such as `x-delayed-message`.
    Other(ShortStr),
}

impl ExchangeKind {
    /// Returns AMQP's name of the kind.
    pub fn as_str(&self) -> &str {
        match self {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Headers => "headers",
            ExchangeKind::Other(name) => name,
        }
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ExchangeKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "direct" => ExchangeKind::Direct,
            "topic" => ExchangeKind::Topic,
            "fanout" => ExchangeKind::Fanout,
            "headers" => ExchangeKind::Headers,
            "" => return Err(Error::new(ErrorKind::InvalidArgument, "the kind of an exchange is empty")),
            other => ExchangeKind::Other(other.into()),
        })
    }
}

/// A routing point: publishers publish to it, queues are bound to it (AMQP 0-9-1 §3.1.1).
///
/// Making one declares nothing; [`declare`](Exchange::declare) does, as does the first use by a
/// [`Producer`](crate::Producer) or [`Queue`](crate::Queue). Durable unless said otherwise, as in Kombu.
///
/// ```
/// use kombu_core::{Exchange, ExchangeKind};
///
/// let media = Exchange::topic("media").transient();
/// assert_eq!(media.kind(), &ExchangeKind::Topic);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    name: ShortStr,
    kind: ExchangeKind,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    passive: bool,
    no_declare: bool,
    delivery_mode: DeliveryMode,
    arguments: FieldTable,
}

impl Exchange {
    /// Makes an exchange of `kind`.
    pub fn new(name: impl Into<ShortStr>, kind: ExchangeKind) -> Self {
        Exchange {
            name: name.into(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            passive: false,
            no_declare: false,
            delivery_mode: DeliveryMode::Persistent,
            arguments: FieldTable::default(),
        }
    }

    /// Makes a direct exchange.
    pub fn direct(name: impl Into<ShortStr>) -> Self {
        Exchange::new(name, ExchangeKind::Direct)
    }

    /// Makes a topic exchange.
    pub fn topic(name: impl Into<ShortStr>) -> Self {
        Exchange::new(name, ExchangeKind::Topic)
    }

    /// Makes a fanout exchange.
    pub fn fanout(name: impl Into<ShortStr>) -> Self {
        Exchange::new(name, ExchangeKind::Fanout)
    }

    /// Makes a headers exchange.
    pub fn headers(name: impl Into<ShortStr>) -> Self {
        Exchange::new(name, ExchangeKind::Headers)
    }

    /// Returns the default exchange, which routes to the queue named by the routing key and is never declared.
    pub fn default_exchange() -> Self {
        Exchange::direct("")
    }

    /// Lets it go with the broker's restart.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.durable = false;
        self
    }

    /// Lets it go with its last binding.
    #[must_use]
    pub fn auto_delete(mut self) -> Self {
        self.auto_delete = true;
        self
    }

    /// Lets it take messages from other exchanges only.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// Makes a declaration only ask whether it exists.
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.passive = true;
        self
    }

    /// Keeps it from ever being declared: somebody else does that.
    #[must_use]
    pub fn no_declare(mut self) -> Self {
        self.no_declare = true;
        self
    }

    /// Sets the delivery mode of messages published to it, unless the publish says otherwise; default persistent.
    #[must_use]
    pub fn with_delivery_mode(mut self, mode: DeliveryMode) -> Self {
        self.delivery_mode = mode;
        self
    }

    /// Lets it hold messages back that ask for it by [`delay`](crate::Publish::delay), and route them then as it would have: its kind
    /// becomes `x-delayed-message`, that of RabbitMQ's delayed-message plugin.
    #[must_use]
    pub fn delayed(mut self) -> Self {
        let kind = std::mem::replace(&mut self.kind, ExchangeKind::Other("x-delayed-message".into()));
        self.argument("x-delayed-type", kind.as_str())
    }

    /// Sends what matches none of its bindings to another exchange (`alternate-exchange`).
    #[must_use]
    pub fn alternate(self, exchange: impl Into<ShortStr>) -> Self {
        self.argument("alternate-exchange", exchange.into())
    }

    /// Adds a declaration argument, such as `alternate-exchange`.
    #[must_use]
    pub fn argument(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }

    /// Returns the name; empty for the default exchange.
    pub fn name(&self) -> &ShortStr {
        &self.name
    }

    /// Returns how it routes.
    pub fn kind(&self) -> &ExchangeKind {
        &self.kind
    }

    /// Returns the delivery mode of messages published to it.
    pub fn delivery_mode(&self) -> DeliveryMode {
        self.delivery_mode
    }

    /// Says whether a declaration would be sent: not for the default exchange, names starting `amq.`, and
    /// [`no_declare`](Exchange::no_declare).
    pub fn is_declarable(&self) -> bool {
        !self.no_declare && !self.name.is_empty() && !self.name.starts_with("amq.")
    }

    /// Makes a binding to this exchange.
    pub fn binding(&self, routing_key: impl Into<ShortStr>) -> Binding {
        Binding::new(self, routing_key)
    }

    /// Declares it on the broker; declaring it again with the same properties is no error.
    pub fn declare(&self, connection: &Connection) -> Pending<()> {
        connection.exchange_declare(self)
    }

    /// Binds it to another exchange, so that it gets what that one routes to it, and declares both; a binding that exists is no
    /// error.
    ///
    /// ```no_run
    /// use kombu_core::{Connection, Exchange};
    ///
    /// let connection = Connection::new("memory://")?;
    /// let (all, errors) = (Exchange::topic("logs"), Exchange::fanout("errors"));
    /// errors.bind_to(&connection, &all.binding("*.error")).wait()?;
    /// # Ok::<(), kombu_core::Error>(())
    /// ```
    pub fn bind_to(&self, connection: &Connection, binding: &Binding) -> Pending<()> {
        connection.exchange_bind(self, binding)
    }

    /// Ends a binding to another exchange; one that does not exist is no error.
    pub fn unbind_from(&self, connection: &Connection, binding: &Binding) -> Pending<()> {
        connection.exchange_unbind(binding.to_exchange_method(&self.name))
    }

    /// Removes it from the broker; one that does not exist is no error.
    pub fn delete(&self, connection: &Connection) -> Pending<()> {
        connection.exchange_delete(ExchangeDelete { exchange: self.name.clone(), if_unused: false })
    }

    /// Removes it if nothing is bound to it; one that does not exist is no error.
    ///
    /// Fails with `PreconditionFailed` when something is, and with `Unsupported` where the transport does not do
    /// `delete_conditions`.
    pub fn delete_if_unused(&self, connection: &Connection) -> Pending<()> {
        connection.exchange_delete(ExchangeDelete { exchange: self.name.clone(), if_unused: true })
    }

    pub(crate) fn is_passive(&self) -> bool {
        self.passive
    }

    /// Returns the arguments of its `exchange.declare`.
    pub fn to_method(&self) -> ExchangeDeclare {
        ExchangeDeclare {
            exchange: self.name.clone(),
            kind: self.kind.clone(),
            passive: self.passive,
            durable: self.durable,
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: self.arguments.clone(),
        }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Exchange::default_exchange()
    }
}

impl Sealed for Exchange {}

impl Entity for Exchange {
    fn declare(&self, connection: &Connection) -> Pending<()> {
        self.declare(connection)
    }
}
