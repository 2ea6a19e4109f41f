//! What the tests of both ends share: a broker with a Python and a Rust program on it, either of which publishes or consumes.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub mod fixture;
pub mod incoming;
pub mod rust_end;
pub mod tagged;

use std::collections::HashSet;

use kombu::{AcceptList, Connection};
use serde_json::{Value as JsonValue, json};

pub use incoming::Incoming;
pub use kombu_brokers::{ChildProcess, PATIENCE, RabbitServer, RabbitVhost, RedisServer, eventually};
pub use kombu_interop::Peer;
pub use rust_end::RustEnd;

/// Which program does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Python,
    Rust,
}

pub use Side::{Python, Rust};

/// Who publishes and who consumes.
pub const BOTH_WAYS: [(Side, Side); 2] = [(Python, Rust), (Rust, Python)];

/// A broker of its own, by default a Redis server, with a Python program and a Rust program on it. Both understand the same
/// requests, those of `python/peer.py`, and report messages in the same form.
pub struct Ends<S = RedisServer> {
    pub rust: RustEnd,
    pub python: Peer,
    pub server: S,
}

/// What both programs connect to.
pub trait Broker {
    fn url(&self) -> String;

    /// Names what still holds messages.
    fn messages_left(&self) -> Vec<String>;

    /// Whether Python's client makes text of bodies before Kombu sees them.
    fn decodes_text(&self) -> bool;
}

impl Broker for RedisServer {
    fn url(&self) -> String {
        self.url()
    }

    fn messages_left(&self) -> Vec<String> {
        messages_left(self)
    }

    fn decodes_text(&self) -> bool {
        false
    }
}

impl Broker for RabbitVhost<'static> {
    fn url(&self) -> String {
        self.url()
    }

    fn messages_left(&self) -> Vec<String> {
        self.queues().into_iter().filter(|queue| self.messages(queue) > 0).collect()
    }

    fn decodes_text(&self) -> bool {
        true
    }
}

/// Runs a body on Redis and then on RabbitMQ, with the two ends as `$ends`; Rust accepts the content types named, if any are.
#[macro_export]
macro_rules! on_each_broker {
    (|$ends:ident| $body:block) => {
        on_each_broker!(kombu::AcceptList::default(), |$ends| $body)
    };
    ($accept:expr, |$ends:ident| $body:block) => {{
        let mut $ends = Ends::build(kombu_brokers::RedisServer::start(), &[], $accept);
        $body
    }
    {
        let mut $ends = Ends::build(kombu_brokers::RabbitServer::shared().vhost(), &[], $accept);
        $body
    }};
}

impl Ends<RabbitVhost<'static>> {
    /// On a virtual host of RabbitMQ.
    pub fn amqp() -> Self {
        Self::build(RabbitServer::shared().vhost(), &[], AcceptList::default())
    }
}

impl Ends {
    pub fn new() -> Self {
        Self::with_options(&[])
    }

    /// Both with the same transport options, by Kombu's names.
    pub fn with_options(options: &[(&str, JsonValue)]) -> Self {
        Self::build(RedisServer::start(), options, AcceptList::default())
    }
}

impl<S: Broker> Ends<S> {
    /// Both on `server` with the same transport options; Rust accepts some content types only, Python accepts everything.
    pub fn build(server: S, options: &[(&str, JsonValue)], accept: AcceptList) -> Self {
        let mut python = Peer::start();
        let transport_options: serde_json::Map<_, _> =
            options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        python.ask(json!({"do": "connect", "url": server.url(), "transport_options": transport_options}));
        let mut builder = Connection::builder(&server.url()).accept(accept);
        for (name, value) in options {
            builder = builder.transport_option(*name, tagged::from_tagged(value));
        }
        Ends { rust: RustEnd::new(builder.build().unwrap()), python, server }
    }

    /// Declares, as the peer's request `declare` does.
    #[track_caller]
    pub fn declare(&mut self, side: Side, declaration: JsonValue) {
        match side {
            Python => drop(self.python.ask(with(declaration, "do", "declare"))),
            Rust => self.rust.declare(&declaration),
        }
    }

    /// Declares on both sides.
    #[track_caller]
    pub fn declare_on_both(&mut self, declaration: JsonValue) {
        self.declare(Python, declaration.clone());
        self.declare(Rust, declaration);
    }

    /// Declares the queue `name` on both sides, which on RabbitMQ must be before it is published to.
    #[track_caller]
    pub fn queue(&mut self, name: &str) {
        self.declare_on_both(json!({"queue": {"name": name}}));
    }

    /// Publishes, as the peer's request `publish` does.
    #[track_caller]
    pub fn publish(&mut self, side: Side, request: JsonValue) {
        match side {
            Python => drop(self.python.ask(with(request, "do", "publish"))),
            Rust => drop(self.rust.publish(&request)),
        }
    }

    /// Publishes `text` to `exchange`.
    #[track_caller]
    pub fn publish_text(&mut self, side: Side, exchange: &str, routing_key: &str, text: &str) {
        let body = json!({"kind": "text", "value": text});
        self.publish(side, json!({"exchange": exchange, "routing_key": routing_key, "body": body}));
    }

    /// Consumes `count` messages, acknowledges them, and returns their reports.
    #[track_caller]
    pub fn receive(&mut self, side: Side, queue: &str, count: usize) -> Vec<JsonValue> {
        let reports = match side {
            Python => {
                let answer = self.python.ask(json!({"do": "consume", "queue": queue, "count": count}));
                answer["messages"].as_array().unwrap().clone()
            }
            Rust => self.rust.receive(queue, count),
        };
        assert_eq!(reports.len(), count, "messages that reached {side:?}");
        reports
    }

    /// Consumes `count` messages and returns their texts.
    #[track_caller]
    pub fn receive_texts(&mut self, side: Side, queue: &str, count: usize) -> Vec<String> {
        texts(&self.receive(side, queue, count))
    }

    /// Fails unless no message is left anywhere: not in a queue, not unacknowledged, not set aside.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let mut left = vec![];
        let gone = eventually(PATIENCE, || {
            left = self.server.messages_left();
            left.is_empty()
        });
        assert!(gone, "left behind: {left:?}");
    }
}

/// Returns the keys that hold messages: all but bindings and what Rust clients keep about themselves.
pub fn messages_left(server: &RedisServer) -> Vec<String> {
    let is_message = |key: &String| !key.contains("_kombu.") || key.contains("_kombu.rs.malformed.");
    server.keys().into_iter().filter(is_message).collect()
}

/// Returns the texts of reported messages.
#[track_caller]
pub fn texts(reports: &[JsonValue]) -> Vec<String> {
    let text = |report: &JsonValue| match report["body"]["value"].as_str() {
        Some(text) => text.to_owned(),
        None => panic!("no text: {report}"),
    };
    reports.iter().map(text).collect()
}

/// Returns the number of elements of the list `key`.
pub fn length(server: &RedisServer, key: &str) -> i64 {
    server.command(&["LLEN", key]).int()
}

/// Returns the elements of the set `key`.
pub fn members(server: &RedisServer, key: &str) -> HashSet<String> {
    server.command(&["SMEMBERS", key]).texts().into_iter().map(str::to_owned).collect()
}

/// Returns `object` with one more field.
pub fn with(mut object: JsonValue, name: &str, value: impl Into<JsonValue>) -> JsonValue {
    object[name] = value.into();
    object
}

/// What separates the fields of a binding and a queue's name from its priority.
pub const SEP: &str = "\u{6}\u{16}";
