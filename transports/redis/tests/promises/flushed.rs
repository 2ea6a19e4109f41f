//! A server that has lost its data is told again what was declared, and nothing is said to be delivered that was not.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicPublish, QueueDeclare, QueueDelete};
use kombu_core::{Confirmation, ErrorKind, ExchangeKind, FieldTable};

use crate::common::{Rig, TestChannel, block_on, bodies, envelope, is_waiting, options};

/// Connects as another process would, which shares no declarations with those that use the server's number.
fn stranger(server: &RedisServer) -> Rig {
    stranger_with(server, FieldTable::new())
}

fn stranger_with(server: &RedisServer, options: FieldTable) -> Rig {
    Rig::try_at(&format!("redis://localhost:{}/0", server.port()), options).unwrap()
}

fn registry() -> FieldTable {
    options([("topology", "registry")])
}

#[test]
fn whoever_bound_a_queue_binds_it_again_for_those_who_publish() {
    let server = RedisServer::start();
    let (consuming, publishing) = (Rig::new(&server), stranger(&server));
    let (consumer, publisher) = (consuming.channel(), publishing.channel());
    consumer.exchange("t", ExchangeKind::Topic);
    consumer.bind("q", "t", "a.#");
    consumer.declare(expiring("fleeting")).unwrap();
    consumer.bind("fleeting", "t", "b");
    let inbox = consumer.consume("q");
    publisher.exchange("t", ExchangeKind::Topic);
    assert_eq!(publisher.publish("t", "a.b", "before"), Some(1));
    consumer.ack(inbox.take(1)[0].tag).unwrap();
    for lost_scripts in [false, true] {
        assert!(eventually(PATIENCE, || is_waiting(&server)));
        if lost_scripts {
            server.command(&["SCRIPT", "FLUSH"]);
        }
        server.flushall();
        let table = || server.command(&["SCARD", "_kombu.binding.t"]).int();
        assert!(eventually(PATIENCE, || table() == 2), "{:?}", server.keys());
        assert_eq!(publisher.publish("t", "a.b", "after"), Some(1));
        let after = inbox.take(1);
        assert_eq!(bodies(&after), ["after"]);
        consumer.ack(after[0].tag).unwrap();
    }
}

fn expiring(queue: &str) -> kombu_core::method::QueueDeclare {
    kombu_core::method::QueueDeclare {
        queue: queue.into(),
        arguments: options([("x-expires", 60_000)]),
        ..Default::default()
    }
}

#[test]
fn a_server_that_comes_back_empty_is_told_again() {
    let mut server = RedisServer::start();
    let consuming = Rig::with(&server, options([("fanout_stored", true)]));
    let consumer = consuming.channel();
    consumer.exchange("e", ExchangeKind::Direct);
    consumer.bind("q", "e", "k");
    consumer.exchange("f", ExchangeKind::Fanout);
    consumer.bind("stored", "f", "");
    server.kill();
    server.restart();
    let known = || server.client().command(&["EXISTS", "_kombu.binding.e", "_kombu.rs.stored.f"]).int();
    assert!(eventually(PATIENCE, || known() == 2));
    let publishing = Rig::at(&format!("redis://localhost:{}/0", server.port()));
    let publisher = publishing.channel();
    publisher.exchange("f", ExchangeKind::Fanout);
    assert_eq!(publisher.publish("f", "", "kept"), Some(1));
    assert_eq!(publisher.publish("e", "k", "x"), Some(1));
    assert_eq!(bodies(&[consumer.get("stored").unwrap()]), ["kept"]);
}

#[test]
fn what_was_declared_is_kept_again() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, registry());
    let channel = rig.channel();
    channel.queue("q");
    channel.exchange("x", ExchangeKind::Topic);
    let kept = || server.command(&["EXISTS", "_kombu.rs.queue.q", "_kombu.rs.exchange.x"]).int();
    assert_eq!(kept(), 2);
    server.flushall();
    assert!(eventually(PATIENCE, || kept() == 2), "{:?}", server.keys());
}

#[test]
fn nothing_is_said_to_be_delivered_that_was_not() {
    let server = RedisServer::start();
    let (consuming, publishing) = (stranger(&server), Rig::new(&server));
    let (consumer, publisher) = (consuming.channel(), publishing.channel());
    consumer.exchange("e", ExchangeKind::Direct);
    consumer.bind("q", "e", "k");
    publisher.exchange("e", ExchangeKind::Direct);
    assert_eq!(publisher.publish("e", "k", "x"), Some(1));
    // The one who bound the queue is gone, and its binding with the data.
    consuming.close().unwrap();
    drop(consumer);
    server.flushall();
    let mut delivered = 0;
    let found_out = eventually(PATIENCE, || {
        let method = BasicPublish { mandatory: true, ..BasicPublish::default() };
        let answer = block_on(publisher.channel.basic_publish(method, envelope("e", "k", "y"))).unwrap();
        // One that was on its way before the loss is known went by the routes there were.
        delivered += i64::from(matches!(answer, Confirmation::Confirmed { queues: Some(1) }));
        matches!(answer, Confirmation::Returned(_))
    });
    assert!(found_out, "the routes are lost and nobody says so");
    assert_eq!(publisher.publish("e", "k", "z"), Some(0));
    let error = block_on(publisher.send("never declared", "k", "z")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(server.command(&["LLEN", "q"]).int(), delivered, "what is said to be delivered is there");
}

#[test]
fn every_confirmed_message_that_came_after_the_last_flush_is_there() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.bind("q", "e", "k");
    for _ in 0..10 {
        let sent: Vec<_> = (0..40).map(|number| channel.send("e", "k", number.to_string())).collect();
        server.flushall();
        for confirm in sent {
            // Before the flush or after it, each had its queue.
            assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
        }
        server.flushall();
        assert_eq!(channel.publish("e", "k", "x"), Some(1));
        assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
    }
}

#[test]
fn a_queue_that_is_declared_again_is_what_it_was() {
    let server = RedisServer::start();
    let (rig, other) = (Rig::with(&server, registry()), stranger_with(&server, registry()));
    let (channel, elsewhere) = (rig.channel(), other.channel());
    channel.exchange("x", ExchangeKind::Direct);
    let own = QueueDeclare { queue: "own".into(), exclusive: true, durable: false, ..QueueDeclare::default() };
    channel.declare(own).unwrap();
    channel.declare(expiring("fleeting")).unwrap();
    let limited = options([("x-max-length", 1)]);
    channel.declare(QueueDeclare { queue: "limited".into(), arguments: limited, ..QueueDeclare::default() }).unwrap();
    for queue in ["own", "fleeting", "limited"] {
        channel.bind(queue, "x", "k");
    }
    let inbox = channel.consume("own");
    for body in ["first", "second"] {
        server.flushall();
        assert_eq!(channel.publish("x", "k", body), Some(3), "{body}: declared again before it was published");
        let taken = inbox.take(1);
        assert_eq!(bodies(&taken), [body]);
        channel.ack(taken[0].tag).unwrap();
        // Who has it, since when, for how long, and how much it holds.
        let purged = other.channel().call(|channel| async move { channel.queue_purge("own".into()).await });
        assert_eq!(purged.unwrap_err().kind(), ErrorKind::ResourceLocked);
        assert_eq!(server.command(&["HEXISTS", "_kombu.rs.queue.limited", "born"]).int(), 1);
        assert!((1..=60_000).contains(&server.command(&["PTTL", "_kombu.rs.queue.fleeting"]).int()));
        assert!((1..=60_000).contains(&server.command(&["PTTL", "fleeting"]).int()));
        assert_eq!(elsewhere.publish("", "limited", "too much"), Some(1));
        assert!(eventually(PATIENCE, || server.command(&["LLEN", "limited"]).int() == 1), "the limit is lost");
    }
    // Its bindings are known to whoever deletes it.
    delete(&elsewhere, "limited");
    assert_eq!(channel.publish("x", "k", "third"), Some(2));
}

fn delete(channel: &TestChannel, queue: &'static str) -> u32 {
    let method = QueueDelete { queue: queue.into(), ..QueueDelete::default() };
    channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap()
}

/// Waits until a connection has asked a server that was started what it has lost, and has done what follows from that.
#[track_caller]
fn settle(server: &RedisServer, channel: &TestChannel) {
    let asked = || {
        let fields = server.client().command(&["HKEYS", "_kombu.rs.history"]);
        fields.texts().iter().any(|field| field.starts_with("gap:"))
    };
    assert!(eventually(PATIENCE, asked), "{:?}", server.keys());
    // The first may be on its way before the question is answered; what follows from the answer comes before the last.
    for _ in 0..3 {
        channel.publish("", "somewhere", "x");
    }
}

#[test]
fn what_another_has_deleted_does_not_come_back_with_a_server_that_has_lost_nothing() {
    for topology in ["kombu", "registry"] {
        let mut server = RedisServer::options().appendonly().start();
        let with = || options([("topology", topology)]);
        let (rig, other) = (Rig::with(&server, with()), stranger_with(&server, with()));
        let (channel, elsewhere) = (rig.channel(), other.channel());
        for one in [&channel, &elsewhere] {
            one.exchange("x", ExchangeKind::Direct);
        }
        let dying = options([("x-dead-letter-exchange", "x")]);
        for queue in ["kept", "unbound", "deleted"] {
            let arguments = dying.clone();
            channel.declare(QueueDeclare { queue: queue.into(), arguments, ..QueueDeclare::default() }).unwrap();
            channel.bind(queue, "x", "k");
        }
        elsewhere.unbind("unbound", "x", "k");
        elsewhere.unbind("deleted", "x", "k");
        delete(&elsewhere, "deleted");
        assert_eq!(channel.publish("x", "k", "before"), Some(1));
        // The answer to the count comes before the next.
        assert!(eventually(PATIENCE, || server.command(&["EXISTS", "_kombu.rs.history"]).int() == 1));
        channel.publish("", "somewhere", "x");
        server.kill();
        server.restart();
        settle(&server, &channel);
        assert_eq!(channel.publish("x", "k", "after"), Some(1), "{topology}");
        let left = server.command(&["EXISTS", "_kombu.rs.queue.deleted"]).int();
        let known = server.command(&["HEXISTS", "_kombu.rs.policies", "deleted"]).int();
        assert_eq!((left, known), (0, 0), "{topology}");
        assert_eq!(server.command(&["LLEN", "kept"]).int(), 2);
    }
}

#[test]
fn what_a_server_has_lost_with_its_last_writes_is_declared_again() {
    for topology in ["kombu", "registry"] {
        let mut server = RedisServer::start();
        let rig = Rig::with(&server, options([("topology", topology)]));
        let channel = rig.channel();
        channel.exchange("x", ExchangeKind::Direct);
        channel.queue("early");
        channel.bind("early", "x", "k");
        assert!(eventually(PATIENCE, || server.command(&["EXISTS", "_kombu.rs.history"]).int() == 1));
        server.command(&["SAVE"]);
        let limited = options([("x-max-length", 9)]);
        channel.declare(QueueDeclare { queue: "late".into(), arguments: limited, ..QueueDeclare::default() }).unwrap();
        channel.bind("late", "x", "k");
        assert_eq!(channel.publish("x", "k", "before"), Some(2));
        server.kill();
        server.restart();
        let known = || server.client().command(&["EXISTS", "_kombu.rs.queue.late"]).int();
        assert!(eventually(PATIENCE, || known() == 1), "{topology}: {:?}", server.keys());
        settle(&server, &channel);
        assert_eq!(channel.publish("x", "k", "after"), Some(2), "{topology}");
        assert_eq!(server.command(&["HEXISTS", "_kombu.rs.policies", "late"]).int(), 1);
    }
}

#[test]
fn a_queue_that_another_has_deleted_stays_deleted_when_the_server_loses_everything() {
    let server = RedisServer::start();
    let (rig, other) = (Rig::with(&server, registry()), stranger_with(&server, registry()));
    let (channel, elsewhere) = (rig.channel(), other.channel());
    for queue in ["kept", "published", "consumed"] {
        channel.queue(queue);
    }
    let inbox = channel.consume("consumed");
    for queue in ["published", "consumed"] {
        delete(&elsewhere, queue);
    }
    assert_eq!(inbox.cancelled().kind(), ErrorKind::NotFound);
    // Whoever finds it missing asks whether the server has lost it; the answer comes before that of the next but one.
    for _ in 0..3 {
        assert_eq!(channel.publish("", "published", "x"), Some(0));
    }
    server.flushall();
    assert_eq!(channel.publish("", "kept", "x"), Some(1));
    let queues = server.keys().into_iter().filter(|key| key.starts_with("_kombu.rs.queue.")).collect::<Vec<_>>();
    assert_eq!(queues, ["_kombu.rs.queue.kept"]);
}
