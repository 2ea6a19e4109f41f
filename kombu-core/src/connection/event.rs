//! What happens to a connection without being asked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::inner::Inner;
use crate::answer::Returned;
use crate::channel::Malformed;
use crate::error::{Error, ErrorKind};
use crate::short_str::ShortStr;
use crate::url::BrokerUrl;

/// Something that happened to a connection without being asked; see [`Connection::on_event`](super::Connection::on_event).
#[non_exhaustive]
#[derive(Debug)]
pub enum ConnectionEvent {
    /// The broker was reached.
    Connected {
        /// Where.
        url: BrokerUrl,
    },
    /// An attempt to reach the broker failed; the next follows after the wait.
    ConnectFailed {
        /// Where.
        url: BrokerUrl,
        /// Why.
        error: Error,
        /// When the next attempt is made, from now; `None` when none is.
        retry_in: Option<Duration>,
    },
    /// The broker was lost; it is being looked for.
    Disconnected(Error),
    /// The transport found its broker again after [`Disconnected`](ConnectionEvent::Disconnected), with all deliveries intact.
    Resumed,
    /// Something in a queue is no message; it was set aside and can be looked at with
    /// [`Connection::malformed`](super::Connection::malformed).
    Malformed(Malformed),
    /// A mandatory message came back that could not be matched to its publish; all others are the publish's error.
    Returned(Returned),
    /// The broker stopped taking publishes, with its reason, or takes them again (`None`).
    Blocked(Option<ShortStr>),
    /// A settle failed: the broker may deliver the message again.
    SettleFailed(Error),
    /// The broker ended a consumer, or starting it again failed; it is tried again where that can help.
    ConsumerFailed(Error),
    /// Something that was declared before the connection was lost is refused now; the rest was declared.
    DeclareFailed(Error),
    /// A handler dropped a message unsettled, returned an error, or panicked: the message went back. Told once per consumer.
    HandlerFailed(Error),
    /// A message came back too often and was set aside, or dead-lettered where its queue was declared so.
    SetAside(Error),
    /// A declaration asks for what the transport does not do (context `capability`), and is no error because Kombu's programs ask
    /// for it on every broker: `exclusive` and `auto_delete`. Told once per connection and capability;
    /// [`Connection::require`](super::Connection::require) makes it an error.
    Ignored(Error),
    /// A publish matched no queue. Told once per exchange and routing key.
    Unroutable {
        /// The exchange.
        exchange: ShortStr,
        /// The routing key.
        routing_key: ShortStr,
    },
}

type Handler = Arc<dyn Fn(&ConnectionEvent) + Send + Sync>;

/// Where events go: to the application's handler, or into the log.
#[derive(Default)]
pub(crate) struct Events {
    handler: Mutex<Option<Handler>>,
    logged: Mutex<HashMap<LogKey, Instant>>,
    ignored: Mutex<HashSet<&'static str>>,
}

type LogKey = (&'static str, Option<ErrorKind>);

impl Events {
    pub(super) fn set_handler(&self, handler: Handler) {
        let old = self.handler.lock().unwrap_or_else(PoisonError::into_inner).replace(handler);
        drop(old);
    }

    pub(super) fn handler(&self) -> Option<Handler> {
        self.handler.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether this is the first time that `capability` is told to be ignored.
    pub(super) fn is_first_ignored(&self, capability: &'static str) -> bool {
        self.ignored.lock().unwrap_or_else(PoisonError::into_inner).insert(capability)
    }

    /// Writes an event to the log: at most one line per second and cause.
    pub(super) fn log(&self, event: &ConnectionEvent, now: Instant) {
        let key = event.log_key();
        {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.get(&key).is_some_and(|last| now.saturating_duration_since(*last) < Duration::from_secs(1)) {
                return;
            }
            logged.insert(key, now);
        }
        event.log();
    }
}

impl Inner {
    /// Tells that the declaration of `name` wants a capability that the transport has not, the first time.
    pub(crate) fn tell_ignored(&self, capability: &'static str, what: &'static str, name: &ShortStr) {
        if self.events.is_first_ignored(capability) {
            let text = format!("the transport does not do `{capability}`: what is declared so is declared without");
            let error = Error::new(ErrorKind::Unsupported, text).with("capability", capability).with(what, name);
            self.emit(ConnectionEvent::Ignored(error));
        }
    }
}

impl ConnectionEvent {
    fn log_key(&self) -> LogKey {
        match self {
            ConnectionEvent::Connected { .. } => ("connected", None),
            ConnectionEvent::ConnectFailed { error, .. } => ("connect failed", Some(error.kind())),
            ConnectionEvent::Disconnected(error) => ("disconnected", Some(error.kind())),
            ConnectionEvent::Resumed => ("resumed", None),
            ConnectionEvent::Malformed(_) => ("malformed", None),
            ConnectionEvent::Returned(_) => ("returned", None),
            ConnectionEvent::Blocked(reason) => (if reason.is_some() { "blocked" } else { "unblocked" }, None),
            ConnectionEvent::SettleFailed(error) => ("settle failed", Some(error.kind())),
            ConnectionEvent::ConsumerFailed(error) => ("consumer failed", Some(error.kind())),
            ConnectionEvent::DeclareFailed(error) => ("declare failed", Some(error.kind())),
            ConnectionEvent::HandlerFailed(error) => ("handler failed", Some(error.kind())),
            ConnectionEvent::SetAside(error) => ("set aside", Some(error.kind())),
            ConnectionEvent::Ignored(error) => ("ignored", Some(error.kind())),
            ConnectionEvent::Unroutable { .. } => ("unroutable", None),
        }
    }

    fn log(&self) {
        match self {
            ConnectionEvent::Connected { url } => tracing::info!(%url, "connected"),
            ConnectionEvent::ConnectFailed { error, retry_in: Some(wait), .. } => {
                tracing::warn!("{error}; trying again in {wait:?}");
            }
            ConnectionEvent::ConnectFailed { error, retry_in: None, .. } => {
                tracing::error!("{error}")
            }
            ConnectionEvent::Disconnected(error) => tracing::warn!("connection lost, looking for the broker: {error}"),
            ConnectionEvent::Resumed => tracing::info!("connection resumed"),
            ConnectionEvent::Malformed(malformed) => tracing::error!(
                queue = %malformed.queue, bytes = malformed.raw.len(), "set aside a malformed message: {}", malformed.reason
            ),
            ConnectionEvent::Returned(returned) => tracing::warn!(
                exchange = %returned.envelope.exchange, routing_key = %returned.envelope.routing_key, "message returned: {}", returned.text
            ),
            ConnectionEvent::Blocked(Some(reason)) => tracing::warn!("the broker takes no publishes: {reason}"),
            ConnectionEvent::Blocked(None) => tracing::info!("the broker takes publishes again"),
            ConnectionEvent::SettleFailed(error) => tracing::warn!("{error}"),
            ConnectionEvent::ConsumerFailed(error) => tracing::error!("consumer: {error}"),
            ConnectionEvent::DeclareFailed(error) => tracing::error!("declaring again: {error}"),
            ConnectionEvent::HandlerFailed(error) => tracing::warn!("{error}"),
            ConnectionEvent::SetAside(error) => tracing::error!("{error}"),
            ConnectionEvent::Ignored(error) => tracing::info!("{error}"),
            ConnectionEvent::Unroutable { exchange, routing_key } => {
                tracing::warn!(%exchange, %routing_key, "a publish matched no queue and is gone");
            }
        }
    }
}
