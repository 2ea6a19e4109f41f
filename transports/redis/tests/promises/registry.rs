//! With `topology=registry` what was declared is known everywhere, not only in the process that declared it.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{ExchangeDeclare, QueueDeclare, QueueDelete};
use kombu_core::{ErrorKind, ExchangeKind, Scope, Value};

use crate::common::{Rig, TestChannel, bodies, options};

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

/// Gives up soon those who say nothing.
fn short_lease() -> kombu_core::FieldTable {
    options([("topology", Value::from("registry")), ("lease", 2.into())])
}

fn delete(channel: &TestChannel, queue: &'static str) -> u32 {
    let method = QueueDelete { queue: queue.into(), ..QueueDelete::default() };
    channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap()
}

#[test]
fn what_was_held_of_a_deleted_queue_goes_into_no_other_of_its_name() {
    // A name whose JSON is not the name itself.
    let queue = "q \"é\"";
    let server = RedisServer::start();
    let (one, other) = (Rig::with(&server, short_lease()), Rig::with(&server, short_lease()));
    let (holding, channel) = (one.channel(), other.channel());
    let dying = QueueDeclare {
        queue: queue.into(),
        arguments: options([("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "dead")]),
        ..QueueDeclare::default()
    };
    channel.declare(dying.clone()).unwrap();
    channel.queue("dead");
    for number in 0..4 {
        assert_eq!(channel.publish("", queue, number.to_string()), Some(1));
    }
    let held: Vec<_> = (0..4).map(|_| holding.get(queue).unwrap()).collect();
    assert_eq!(delete(&channel, queue), 0);
    channel.declare(dying).unwrap();
    assert_eq!(channel.publish("", queue, "new"), Some(1));
    // Given back, rejected, acknowledged, and left behind by somebody who dies.
    holding.settle(holding.channel.basic_reject(held[0].tag, true)).unwrap();
    holding.settle(holding.channel.basic_reject(held[1].tag, false)).unwrap();
    holding.ack(held[2].tag).unwrap();
    let inbox = channel.consume(queue);
    let taken = inbox.take(1);
    channel.settle(channel.channel.basic_reject(taken[0].tag, true)).unwrap();
    let again = inbox.take(1);
    assert_eq!((bodies(&again), again[0].redelivered), (vec!["new".to_owned()], true), "what is its own comes back");
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 2);
    one.handle.stop();
    let forgotten = || server.command(&["HLEN", "unacked"]).int() == 1;
    assert!(eventually(4 * PATIENCE, forgotten), "{:?}", server.keys());
    channel.ack(again[0].tag).unwrap();
    assert_eq!((inbox.len(), channel.queue("dead").message_count), (0, 0));
    assert_eq!(server.command(&["EXISTS", "unacked", queue, "_kombu.rs.letters"]).int(), 0);
}

#[test]
fn a_queue_goes_with_its_dead_owner() {
    let server = RedisServer::start();
    let (owner, other) = (Rig::with(&server, short_lease()), elsewhere(&server));
    let owning = owner.channel();
    owning
        .declare(QueueDeclare { queue: "own".into(), exclusive: true, durable: false, ..QueueDeclare::default() })
        .unwrap();
    owning.exchange("x", ExchangeKind::Direct);
    owning.bind("own", "x", "k");
    assert_eq!(owning.publish("x", "k", "one"), Some(1));
    let locked = other.channel().call(|channel| async move { channel.queue_purge("own".into()).await }).unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::ResourceLocked);
    owner.handle.stop();
    // Who is not there to look after the dead finds nobody's queue, and no way to it.
    let survivor = Rig::with(&server, short_lease());
    let living = survivor.channel();
    living.queue("q");
    let _inbox = living.consume("q");
    let left = || server.command(&["EXISTS", "own", "_kombu.rs.queue.own", "_kombu.rs.bound.queue.own"]).int();
    assert!(eventually(4 * PATIENCE, || left() == 0), "{:?}", server.keys());
    assert_eq!(living.publish("x", "k", "two"), Some(0));
    let gone = living.call(|channel| async move { channel.queue_purge("own".into()).await }).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(server.command(&["EXISTS", "own"]).int(), 0);
}

#[test]
fn a_stored_queue_is_stored_no_more_when_it_is_deleted_or_unbound_elsewhere() {
    let server = RedisServer::start();
    let stored = || options([("topology", Value::from("registry")), ("fanout_stored", true.into())]);
    let there = Rig::try_at(&server.url().replace("127.0.0.1", "localhost"), stored()).unwrap();
    let here = Rig::with(&server, stored());
    let (one, other) = (here.channel(), there.channel());
    one.exchange("f", ExchangeKind::Fanout);
    for queue in ["deleted", "unbound", "kept"] {
        one.queue(queue);
        one.bind(queue, "f", "");
    }
    assert_eq!(one.publish("f", "", "one"), Some(3));
    assert_eq!(delete(&other, "deleted"), 1);
    other.unbind("unbound", "f", "");
    assert_eq!(one.publish("f", "", "two"), Some(1));
    one.queue("deleted");
    assert_eq!(one.publish("f", "", "three"), Some(1));
    let count = |queue| server.command(&["LLEN", queue]).int();
    assert_eq!((count("deleted"), count("unbound"), count("kept")), (0, 1, 3));
}
