//! redis, on real servers.

use std::time::Duration;

use kombu_brokers::{FaultProxy, RedisServer};
use kombu_conformance::{Broker, Hook, Suite};

/// How long a message of a killed process may stay away: short, so that the check need not wait long.
const LEASE: &str = "visibility_timeout=3&unacked_restore_interval=1&unacked_restore_throttle=1&unacked_mutex_expire=2";

/// redis as it is by default: on Kombu's keys, beside clients that know nothing of ours.
#[allow(dead_code, reason = "the target of another test program")]
pub(crate) fn suite() -> kombu_core::Result<Suite> {
    let suite = on("")?
        .reason(
            "topology_registry",
            "on Kombu's keys an empty queue and an exchange leave nothing, and a push must make the list",
        )
        .reason("exclusive", "programs that know nothing of our keys cannot be kept out")
        .reason(
            "auto_delete",
            "on Kombu's keys a queue without messages is no queue; its end cannot be told from its being empty",
        )
        .reason(
            "fanout_stored",
            "Kombu's fanout is PUB/SUB, by key; the option `fanout_stored` keeps messages as AMQP does",
        );
    Ok(suite)
}

/// redis with those options on that need every program to be ours.
#[allow(dead_code, reason = "the target of another test program")]
pub(crate) fn suite_with_options() -> kombu_core::Result<Suite> {
    let suite = on("&topology=registry&fanout_stored=true&fanout_patterns=false&priority_order=high_first")?
        .named("redis+options");
    Ok(suite)
}

fn on(options: &'static str) -> kombu_core::Result<Suite> {
    kombu_redis::register();
    let suite = Suite::of("redis")?
        .broker(move || Ok(Box::new(Server::start(options)) as Box<dyn Broker>))
        .patience(Duration::from_secs(60))
        .jobs(4);
    Ok(suite)
}

/// A server behind a proxy that can cut its links.
struct Server {
    server: RedisServer,
    proxy: FaultProxy,
    options: &'static str,
}

impl Server {
    fn start(options: &'static str) -> Self {
        let server = RedisServer::options().appendonly().requirepass(PASSWORD).start();
        let proxy = FaultProxy::start(server.addr());
        Server { server, proxy, options }
    }
}

const PASSWORD: &str = "open-sesame";

impl Broker for Server {
    fn url(&self) -> String {
        format!("{}?{LEASE}{}", self.server.url_at(self.proxy.addr()), self.options)
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Restart, Hook::Cut, Hook::Password, Hook::Block]
    }

    fn stop(&mut self) {
        self.server.kill();
        self.proxy.cut();
    }

    fn start(&mut self) {
        self.server.restart();
    }

    fn cut(&mut self) {
        self.proxy.cut();
    }

    fn block(&mut self, is_blocked: bool) {
        let most = if is_blocked { "1mb" } else { "0" };
        self.server.command(&["CONFIG", "SET", "maxmemory", most]);
    }

    fn password(&self) -> Option<String> {
        Some(PASSWORD.to_owned())
    }
}
