//! With `topology=registry` what was declared is known everywhere, not only in the process that declared it.

use kombu_brokers::RedisServer;
use kombu_core::method::{ExchangeDeclare, QueueDeclare};
use kombu_core::{ErrorKind, ExchangeKind, Scope};

use crate::common::{Rig, options};

/// Connects as another process would: what this one remembers, it remembers by the server's name.
fn elsewhere(server: &RedisServer) -> Rig {
    Rig::try_at(&server.url().replace("127.0.0.1", "localhost"), registry()).unwrap()
}

fn registry() -> kombu_core::FieldTable {
    options([("topology", "registry")])
}

#[test]
fn what_differs_is_refused_elsewhere() {
    let server = RedisServer::start();
    let (one, other) = (Rig::with(&server, registry()), elsewhere(&server));
    one.channel().queue("q");
    one.channel().exchange("x", ExchangeKind::Topic);
    let error = other
        .channel()
        .declare(QueueDeclare { queue: "q".into(), durable: false, ..QueueDeclare::default() })
        .unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::PreconditionFailed, Scope::Channel));
    assert_eq!(error.context("argument"), Some("durable"));
    let error = other.channel().try_exchange("x", ExchangeKind::Direct).unwrap_err();
    assert_eq!((error.kind(), error.context("argument")), (ErrorKind::PreconditionFailed, Some("type")));
    other.channel().queue("q");
    other.channel().exchange("x", ExchangeKind::Topic);
}

#[test]
fn plain_declarations_leave_no_key_without_it() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for kind in [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Fanout] {
        channel.exchange(kind.as_str(), kind.clone());
    }
    channel.queue("q");
    channel.declare(QueueDeclare { queue: "auto".into(), auto_delete: true, ..QueueDeclare::default() }).unwrap();
    assert!(server.keys().is_empty(), "{:?}", server.keys());
    let method = ExchangeDeclare {
        exchange: "inner".into(),
        kind: ExchangeKind::Direct,
        passive: false,
        durable: true,
        auto_delete: false,
        internal: true,
        arguments: kombu_core::FieldTable::new(),
    };
    channel.call(|channel| async move { channel.exchange_declare(method).await }).unwrap();
    assert_eq!(server.keys(), ["_kombu.rs.exchange.inner"]);
}
