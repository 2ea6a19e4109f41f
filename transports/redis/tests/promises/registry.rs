//! With `topology=registry` what was declared is known everywhere, not only in the process that declared it.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicPublish, ExchangeDeclare, QueueDeclare, QueueDelete};
use kombu_core::{Confirmation, Envelope, ErrorKind, ExchangeKind, Outcome, Scope, Value};

use crate::common::{Rig, TestChannel, block_on, bodies, envelope, keys, options};

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
    assert_eq!(keys(&server), ["_kombu.rs.exchange.inner"]);
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

#[test]
fn what_lives_by_a_policy_or_expires_goes_into_no_queue_that_is_gone() {
    let server = RedisServer::start();
    let (one, other) = (Rig::with(&server, registry()), elsewhere(&server));
    let (declaring, publishing) = (one.channel(), other.channel());
    declaring
        .declare(QueueDeclare {
            queue: "limited".into(),
            arguments: options([("x-max-length", 5)]),
            ..QueueDeclare::default()
        })
        .unwrap();
    declaring.queue("plain");
    declaring.exchange("x", ExchangeKind::Direct);
    for queue in ["limited", "plain"] {
        declaring.bind(queue, "x", "k");
    }
    let mut fleeting = Envelope::clone(&envelope("x", "k", "fleeting"));
    fleeting.properties.set_expiration(std::time::Duration::from_secs(600));
    let publish = || {
        let sent = publishing.channel.basic_publish(BasicPublish::default(), std::sync::Arc::new(fleeting.clone()));
        match block_on(sent).unwrap() {
            Confirmation::Confirmed { queues } => queues,
            other => panic!("not confirmed: {other:?}"),
        }
    };
    assert_eq!((publish(), publishing.publish("x", "k", "one")), (Some(2), Some(2)));
    // The queue goes, and the way to it stays, as when it expires.
    server.command(&["DEL", "_kombu.rs.queue.limited", "limited"]);
    assert_eq!((publish(), publishing.publish("x", "k", "two")), (Some(1), Some(1)));
    assert_eq!(publishing.publish("", "limited", "three"), Some(0));
    let count = |queue| server.command(&["LLEN", queue]).int();
    assert_eq!((count("limited"), count("plain")), (0, 4));
}

#[test]
fn a_message_that_one_of_its_queues_cannot_take_is_in_none() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, registry());
    let channel = rig.channel();
    channel.exchange("x", ExchangeKind::Direct);
    for queue in ["a", "b", "c"] {
        channel.queue(queue);
        channel.bind(queue, "x", "k");
    }
    for bad in ["a", "b", "c"] {
        server.command(&["SET", bad, "a string"]);
        let error = block_on(channel.send("x", "k", "x")).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::PreconditionFailed, Some(Outcome::NotSent)), "{error}");
        server.command(&["DEL", bad]);
        assert_eq!(server.command(&["EXISTS", "a", "b", "c"]).int(), 0, "with {bad} a string");
    }
    assert_eq!(channel.publish("x", "k", "y"), Some(3));
}

#[test]
fn a_condition_is_asked_and_kept_in_one_step() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, registry());
    let channel = rig.channel();
    channel.queue("q");
    let mut monitor = server.monitor();
    let method = QueueDelete { queue: "q".into(), if_unused: true, if_empty: true };
    channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap();
    // Whoever declares a queue of that name a moment later has another.
    let deletes = |command: &kombu_brokers::MonitoredCommand| {
        let words = command.texts();
        command.name() == "EVALSHA" && words.iter().any(|word| word == "_kombu.rs.bound.queue.q")
    };
    server.command(&["PING"]);
    assert_eq!(monitor.take().iter().filter(|command| deletes(command)).count(), 1);
    let method = QueueDelete { queue: "q".into(), if_empty: true, ..QueueDelete::default() };
    channel.queue("q");
    assert_eq!(channel.publish("", "q", "x"), Some(1));
    let kept = channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap_err();
    assert_eq!((kept.kind(), kept.scope()), (ErrorKind::PreconditionFailed, Scope::Channel));
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
}
