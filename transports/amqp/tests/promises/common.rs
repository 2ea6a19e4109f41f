//! Connections as applications hold them, and what happened to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kombu_brokers::{PATIENCE, eventually};
use kombu_core::{Connection, ConnectionEvent, Consumer, Message, Queue};

/// Makes a connection to `url`; transport and hub are linked.
pub(crate) fn connection(url: &str) -> Connection {
    link();
    Connection::new(url).unwrap()
}

/// Makes sure that transport and hub are linked.
pub(crate) fn link() {
    kombu_amqp::register();
    let _ = kombu_core::hub::set_hub_factory(&kombu_hub::HubThreads);
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    assert!(eventually(3 * PATIENCE, condition), "{what}");
}

/// Collects what happens to a connection, as text.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn of(connection: &Connection) -> Self {
        let diary = Diary::default();
        let writing = diary.clone();
        connection.on_event(move |event| writing.lock().push(describe(event)));
        diary
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        self.lock().iter().filter(|line| line.starts_with(start)).count()
    }

    pub(crate) fn text(&self) -> String {
        self.lock().join("\n")
    }
}

fn describe(event: &ConnectionEvent) -> String {
    match event {
        ConnectionEvent::Connected { url } => format!("connected {url}"),
        ConnectionEvent::Disconnected(error) => format!("disconnected {error}"),
        ConnectionEvent::Blocked(Some(reason)) => format!("blocked {reason}"),
        ConnectionEvent::Blocked(None) => "unblocked".to_owned(),
        ConnectionEvent::SettleFailed(error) => format!("settle failed {:?} {error}", error.kind()),
        ConnectionEvent::ConsumerFailed(error) => format!("consumer failed {:?} {error}", error.kind()),
        other => format!("{other:?}"),
    }
}

/// Consumes `queue`, acknowledging and collecting bodies; those that may be doubles are marked with `?`.
pub(crate) fn collect(connection: &Connection, queue: &Queue) -> (Consumer, Bodies) {
    let bodies = Bodies::default();
    let collecting = bodies.clone();
    let consumer = connection
        .consumer(queue)
        .on_message(move |message: Message| {
            let mark = if message.maybe_duplicate() { "?" } else { "" };
            collecting.lock().push(format!("{}{mark}", message.text().unwrap()));
            message.ack();
        })
        .consume()
        .wait()
        .unwrap();
    (consumer, bodies)
}

/// The bodies that came.
#[derive(Clone, Default)]
pub(crate) struct Bodies(Arc<Mutex<Vec<String>>>);

impl Bodies {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Waits until each of `expected` came, marked or not, and at most once unmarked.
    #[track_caller]
    pub(crate) fn expect(&self, expected: impl IntoIterator<Item = String>) {
        let expected: Vec<String> = expected.into_iter().collect();
        let has_all = || {
            let all = self.lock();
            let came: std::collections::HashSet<&str> = all.iter().map(|body| body.trim_end_matches('?')).collect();
            expected.iter().all(|body| came.contains(body.as_str()))
        };
        assert!(eventually(3 * PATIENCE, has_all), "{} of {} came", self.lock().len(), expected.len());
        for body in &expected {
            let unmarked = self.lock().iter().filter(|came| *came == body).count();
            assert!(unmarked <= 1, "{body} came {unmarked} times unmarked");
        }
    }
}
