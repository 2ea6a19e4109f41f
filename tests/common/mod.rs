//! What the tests of the facade share: brokers to run on, names nobody else has, and patience.
#![allow(dead_code, unused_imports, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken setup should stop the test")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kombu::prelude::*;
use kombu_brokers::{RabbitServer, RabbitVhost, RedisServer};

pub(crate) use kombu_brokers::{PATIENCE, eventually};

/// A broker for one test, gone with it.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    _server: Option<RedisServer>,
    _vhost: Option<RabbitVhost<'static>>,
}

/// Runs `body` once on every broker.
pub(crate) fn on_each_broker(body: impl Fn(&Broker)) {
    for broker in [memory(), redis(), amqp()] {
        eprintln!("on {}", broker.name);
        body(&broker);
    }
}

/// A namespace of its own inside this process.
pub(crate) fn memory() -> Broker {
    Broker { name: "memory", url: format!("memory://{}", unique("broker")), _server: None, _vhost: None }
}

/// A Redis server of its own.
pub(crate) fn redis() -> Broker {
    let server = RedisServer::start();
    Broker { name: "redis", url: server.url(), _server: Some(server), _vhost: None }
}

/// A virtual host of its own on the RabbitMQ node of this process.
pub(crate) fn amqp() -> Broker {
    let vhost = RabbitServer::shared().vhost();
    Broker { name: "amqp", url: vhost.url(), _server: None, _vhost: Some(vhost) }
}

/// A name no other test uses.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Broker {
    /// What a confirmation says of a message that reached `count` queues: RabbitMQ does not tell how many.
    pub(crate) fn reached(&self, count: u32) -> Option<u32> {
        (self.name != "amqp").then_some(count)
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::new(&self.url).unwrap()
    }

    /// A hub with a connection registered on it.
    pub(crate) fn hub(&self) -> (Hub, Connection) {
        let hub = Hub::new().unwrap();
        let connection = self.connection();
        connection.register_with_event_loop(&hub).unwrap();
        (hub, connection)
    }
}

/// Turns `hub` until `condition` holds.
#[track_caller]
pub(crate) fn turn_until(hub: &Hub, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not happen within {PATIENCE:?}");
        hub.run_once(Some(Duration::from_millis(50))).unwrap();
    }
}
