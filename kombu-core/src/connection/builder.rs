//! The options of a connection.

use std::sync::Arc;
use std::time::Duration;

use super::{Connection, FailoverStrategy, Inner, IoPlacement};
use crate::capability::Requirement;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::registry;
use crate::retry::RetryPolicy;
use crate::serialization::AcceptList;
use crate::short_str::ShortStr;
use crate::url::BrokerUrl;
use crate::{FieldTable, Value};

/// How a connection behaves. Every duration has a finite default: no operation waits for ever.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionOptions {
    pub(crate) connect_timeout: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) accept: AcceptList,
    pub(crate) delivery_limit: u32,
    pub(crate) required: Vec<Requirement>,
    pub(crate) transport: FieldTable,
    pub(crate) failover: FailoverStrategy,
    pub(crate) io_placement: IoPlacement,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Collects the options of a [`Connection`]; made by [`Connection::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `build`"]
pub struct ConnectionBuilder {
    url: String,
    options: ConnectionOptions,
}

impl ConnectionBuilder {
    pub(super) fn new(url: &str) -> Self {
        let options = ConnectionOptions {
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(30),
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
            accept: AcceptList::default(),
            delivery_limit: 20,
            required: Vec::new(),
            transport: FieldTable::default(),
            failover: FailoverStrategy::default(),
            io_placement: IoPlacement::default(),
            clock: Arc::new(SystemClock),
        };
        ConnectionBuilder { url: url.to_owned(), options }
    }

    /// Sets how long the first connection may take, all attempts together; default 5 s. A connection lost later is looked for
    /// until it is found.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Sets how long a declaration, a fetch or another request may take, from the call to the answer; default 30 s.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.options.operation_timeout = timeout;
        self
    }

    /// Sets how long a publish may take, from the call to the broker's confirmation; default 30 s.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.options.publish_timeout = timeout;
        self
    }

    /// Sets how long closing may take; default 5 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// Sets the waits between attempts to connect.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = policy;
        self
    }

    /// Sets the content types that [`Message::payload`](crate::Message::payload) decodes, unless a consumer says otherwise;
    /// default JSON, text and binary.
    pub fn accept(mut self, accept: AcceptList) -> Self {
        self.options.accept = accept;
        self
    }

    /// Sets how often a message that is dropped unsettled is given back before it is dead-lettered or set aside; default 20.
    ///
    /// Where the transport does not count (classic queues of RabbitMQ), this connection does: it knows the messages it dropped last,
    /// some thousands, by all they consist of. Messages alike in all of it count together, and drops by others are not known, so
    /// that one which goes round between several consumers is given back more often.
    pub fn delivery_limit(mut self, limit: u32) -> Self {
        self.options.delivery_limit = limit;
        self
    }

    /// Asks at every connect for something the program needs, such as the capability `"dead_letter"`; may be called for several. A
    /// broker that lacks any of them is not connected to, and the error lists all that it lacks.
    pub fn require(mut self, requirement: impl Into<Requirement>) -> Self {
        self.options.required.push(requirement.into());
        self
    }

    /// Sets one of the transport's own options, such as `visibility_timeout`. Options in the URL's query come first.
    pub fn transport_option(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.options.transport.insert(name.into(), value.into());
        self
    }

    /// Adds the URL of another broker to turn to when those before cannot be reached; like one more in a `;`-separated list.
    pub fn alternate(mut self, url: &str) -> Self {
        self.url = format!("{};{url}", self.url);
        self
    }

    /// Sets in which order several brokers are tried; default in the order of their URLs.
    pub fn failover_strategy(mut self, strategy: FailoverStrategy) -> Self {
        self.options.failover = strategy;
        self
    }

    /// Sets where the I/O runs when the connection is registered with a hub; default on that hub.
    pub fn io_placement(mut self, placement: IoPlacement) -> Self {
        self.options.io_placement = placement;
        self
    }

    /// Sets where time comes from; default the system's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.options.clock = clock;
        self
    }

    /// Makes the connection. Sends nothing.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a bad URL or option, `UnknownTransport` for an unknown scheme.
    pub fn build(self) -> Result<Connection> {
        let urls = BrokerUrl::parse_list(&self.url)?;
        let entries = urls.iter().map(|url| registry::find(url.scheme())).collect::<Result<Vec<_>>>()?;
        if let Some(other) = entries.iter().find(|entry| entry.name != entries[0].name) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the URLs of one connection are of two transports, `{}` and `{}`", entries[0].name, other.name),
            ));
        }
        let inner = Inner::new(entries[0], urls, self.options)?;
        Ok(Connection::from_inner(inner))
    }
}
