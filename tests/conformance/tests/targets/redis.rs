//! redis, on real servers.

use kombu_brokers::{FaultProxy, RedisServer};
use kombu_conformance::{Broker, Hook, Suite};

/// How long a message of a killed process may stay away: short, so that the check need not wait long.
const LEASE: &str = "visibility_timeout=3&unacked_restore_interval=1&unacked_restore_throttle=1&unacked_mutex_expire=2";

/// redis as it is by default: on Kombu's keys, beside clients that know nothing of ours.
pub(crate) fn suite() -> kombu_core::Result<Suite> {
    kombu_redis::register();
    let suite = Suite::of("redis")?
        .broker(|| Server::start().map(|server| Box::new(server) as Box<dyn Broker>))
        .known_failure(
            "fanout_ignores_key",
            "Kombu's `fanout_patterns`: a keyed publish reaches the queues bound by that key",
        )
        .known_failure("body_over_limit_refused", "`max_body` is declared and not enforced");
    Ok(suite)
}

/// A server behind a proxy that can cut its links.
struct Server {
    server: RedisServer,
    proxy: FaultProxy,
}

impl Server {
    fn start() -> Result<Self, String> {
        let server = RedisServer::options().appendonly().requirepass(PASSWORD).start();
        let proxy = FaultProxy::start(server.addr());
        Ok(Server { server, proxy })
    }
}

const PASSWORD: &str = "open-sesame";

impl Broker for Server {
    fn url(&self) -> String {
        format!("{}?{LEASE}", self.server.url_at(self.proxy.addr()))
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
