//! One opaque [`Error`]: what happened, how much died, what to do about it, and where.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::short_str::ShortStr;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, in one opaque type.
///
/// [`kind`](Error::kind) says what happened, [`scope`](Error::scope) how much died with it, [`recovery`](Error::recovery)
/// what helps. The text names the operation and the things involved (`queue=orders`, `broker=redis://host:6379/0`);
/// passwords never appear in it.
///
/// # Example
///
/// ```
/// use kombu_core::{Error, ErrorKind, Scope};
///
/// let error = Error::new(ErrorKind::NotFound, "no queue of that name")
///     .during("queue.declare")
///     .with("queue", "orders")
///     .in_scope(Scope::Channel);
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "queue.declare: no queue of that name (queue=orders)");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    scope: Scope,
    recovery: Recovery,
    outcome: Option<Outcome>,
    operation: Option<&'static str>,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A URL, option, name or argument that cannot be used; nothing was sent.
    InvalidArgument,
    /// The object is not in a state that allows the operation (closed twice, registered twice, …).
    InvalidState,
    /// No transport of that scheme is compiled in or registered.
    UnknownTransport,
    /// The transport does not declare the capability the operation needs.
    Unsupported,
    /// The queue, exchange or message does not exist (AMQP 404).
    NotFound,
    /// The entity exists with other properties, or a delivery tag is unknown (AMQP 406).
    PreconditionFailed,
    /// Another connection holds the entity exclusively (AMQP 405).
    ResourceLocked,
    /// The broker refuses: credentials, permissions or a reserved name (AMQP 403).
    AccessRefused,
    /// No connection could be made, or the one there was is lost.
    ConnectionLost,
    /// What was used is closed.
    Closed,
    /// The channel a delivery came from is gone; the broker gives the message to somebody else.
    ChannelGone,
    /// The lease of a delivery ran out; the broker may have given the message to somebody else.
    LeaseLost,
    /// The answer did not come by the deadline.
    Timeout,
    /// The broker or a buffer is full; nothing was taken.
    Overloaded,
    /// The broker refused a publish with a negative acknowledgement.
    Nacked,
    /// A mandatory message matched no queue and came back.
    Returned,
    /// A body or value cannot be written in the wanted content type.
    Encode,
    /// A body, envelope or header cannot be read.
    Decode,
    /// The content type of a message is not in the `accept` list.
    ContentDisallowed,
    /// The other end broke the protocol (not a Redis server, a malformed frame, …).
    Protocol,
    /// A blocking operation of the hub was called from inside one of its callbacks.
    Reentrant,
    /// A callback panicked.
    Panicked,
    /// Something this library should have prevented; please report it.
    Internal,
}

/// How much died with the error.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Only this operation; the channel goes on.
    Operation,
    /// The channel; the next use opens a fresh one.
    Channel,
    /// The broker connection.
    Connection,
}

/// What helps.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// Repeating it gives the same error.
    Never,
    /// Repeating it may work.
    Retry,
    /// Repeating it may work after this long.
    RetryAfter(Duration),
    /// A fresh channel may work.
    ReopenChannel,
    /// A fresh connection may work.
    Reconnect,
}

/// What is known about a publish that did not succeed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The broker never saw the message: publishing it again makes no double.
    NotSent,
    /// The broker may or may not have the message.
    Unknown,
}

impl Error {
    /// Makes an error of `kind` that says `message`; scope [`Scope::Operation`], recovery [`Recovery::Never`].
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let recovery = match kind {
            ErrorKind::ConnectionLost => Recovery::Reconnect,
            ErrorKind::Overloaded | ErrorKind::Timeout => Recovery::Retry,
            ErrorKind::ChannelGone => Recovery::ReopenChannel,
            _ => Recovery::Never,
        };
        Error(Box::new(Inner {
            kind,
            scope: Scope::Operation,
            recovery,
            outcome: None,
            operation: None,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns how much died with it.
    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// Returns what helps.
    pub fn recovery(&self) -> Recovery {
        self.0.recovery
    }

    /// Returns what is known about the publish this error answers; `None` for every other operation.
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.outcome
    }

    /// Returns the operation that failed, in AMQP's words where it has one (`queue.declare`).
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// Returns the value noted under `key`, such as `queue` or `broker`.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.0.context.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    /// Names the operation, unless one is named already.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Notes a thing involved, such as `queue`, unless that key is noted already.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if self.context(key).is_none() {
            self.0.context.push((key, value.to_string()));
        }
        self
    }

    /// Sets how much died.
    #[must_use]
    pub fn in_scope(mut self, scope: Scope) -> Self {
        self.0.scope = scope;
        self
    }

    /// Sets what helps.
    #[must_use]
    pub fn recoverable_by(mut self, recovery: Recovery) -> Self {
        self.0.recovery = recovery;
        self
    }

    /// Sets what is known about the publish.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = Some(outcome);
        self
    }

    /// Sets the error behind this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns a copy for another waiter of the same event: everything but the source object, whose text is kept.
    pub fn duplicate(&self) -> Self {
        let inner = &self.0;
        let mut message = inner.message.to_string();
        if let Some(source) = &inner.source {
            message = format!("{message}: {source}");
        }
        Error(Box::new(Inner {
            kind: inner.kind,
            scope: inner.scope,
            recovery: inner.recovery,
            outcome: inner.outcome,
            operation: inner.operation,
            message: message.into(),
            context: inner.context.clone(),
            source: None,
        }))
    }

    /// Makes the error of a name that is too long for an AMQP short string.
    pub(crate) fn name_too_long(what: &'static str, length: usize) -> Self {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{what} of {length} bytes is longer than the {} an AMQP short string holds", ShortStr::MAX_LEN),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        for (index, (key, value)) in inner.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { " (" } else { ", " })?;
        }
        if !inner.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &inner.kind).field("scope", &inner.scope).field("recovery", &inner.recovery);
        if let Some(outcome) = &inner.outcome {
            debug.field("outcome", outcome);
        }
        debug.field("text", &self.to_string()).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
