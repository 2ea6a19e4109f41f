//! What an application holds: a connection on the check's hub.

use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::{Connection, ConnectionBuilder, Message, Pending};

use crate::bench::Bench;
use crate::failure::{Failure, Verdict};

/// A connection registered with the check's hub.
pub(crate) struct User<'b> {
    bench: &'b Bench,
    pub(crate) connection: Connection,
    events: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// Makes a connection to the check's broker.
    pub(crate) fn user(&self) -> Verdict<User<'_>> {
        self.user_with(&self.url.clone(), |builder| builder)
    }

    /// Makes a connection with options.
    pub(crate) fn user_with(
        &self,
        url: &str,
        options: impl FnOnce(ConnectionBuilder) -> ConnectionBuilder,
    ) -> Verdict<User<'_>> {
        // A machine that is busy with other things must not look like a broker that does not answer.
        let patience = self.patience();
        let mut builder = Connection::builder(url)
            .clock(Arc::clone(&self.clock))
            .operation_timeout(patience)
            .publish_timeout(patience)
            .close_timeout(patience);
        for (name, value) in self.ground.options.iter() {
            builder = builder.transport_option(name, value.clone());
        }
        let connection = options(builder).build()?;
        connection.register_with_event_loop(&*self.hub)?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        connection.on_event(move |event| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{event:?}"));
        });
        Ok(User { bench: self, connection, events })
    }
}

impl User<'_> {
    /// Waits for an answer while the hub is turned.
    pub(crate) fn answer<T: Send + 'static>(&self, pending: Pending<T>) -> Verdict<T> {
        self.bench.settle("the answer of an operation", pending)?.map_err(Failure::from)
    }

    /// Returns the events of the connection so far, as text.
    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an event of that name.
    pub(crate) fn wait_event(&self, name: &str) -> Verdict {
        let seen = || self.events().iter().any(|event| event.starts_with(name));
        self.bench
            .wait_until(&format!("the event {name}"), seen)
            .map_err(|failure| failure.during(format!("heard only {:?}", self.events())))
    }
}

/// Returns a message's body as text.
pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// A list that handlers write into.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
