//! amqp, on real RabbitMQ nodes: the judge of the checks.

use std::time::Duration;

use kombu_brokers::{FaultProxy, RabbitServer};
use kombu_conformance::{Broker, Hook, Suite};

pub(crate) fn suite() -> kombu_core::Result<Suite> {
    kombu_amqp::register();
    let suite = Suite::of("amqp")?.broker(|| Ok(Box::new(Node::start()))).patience(Duration::from_secs(60));
    Ok(suite.reason(
        "delayed",
        "RabbitMQ has it by a plugin, `rabbitmq_delayed_message_exchange`, which is not installed here",
    ))
}

/// A node behind a proxy that can cut its links.
struct Node {
    node: RabbitServer,
    proxy: FaultProxy,
}

impl Node {
    fn start() -> Self {
        let node = RabbitServer::start();
        let proxy = FaultProxy::start(node.addr());
        node.add_user(USER, PASSWORD);
        node.set_permissions(USER, "/", ".*", ".*", ".*");
        Node { node, proxy }
    }
}

const USER: &str = "suite";
const PASSWORD: &str = "open-sesame";

impl Broker for Node {
    fn url(&self) -> String {
        format!("amqp://{USER}:{PASSWORD}@{}/", self.proxy.addr())
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Restart, Hook::Cut, Hook::Password, Hook::Block]
    }

    fn stop(&mut self) {
        self.node.kill();
        self.proxy.cut();
    }

    fn start(&mut self) {
        self.node.restart();
    }

    fn cut(&mut self) {
        self.proxy.cut();
    }

    fn block(&mut self, is_blocked: bool) {
        if is_blocked {
            self.node.block_publishers();
        } else {
            self.node.unblock_publishers();
        }
    }

    fn password(&self) -> Option<String> {
        Some(PASSWORD.to_owned())
    }
}
