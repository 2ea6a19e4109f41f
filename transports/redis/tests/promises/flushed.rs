//! A server that has lost its data is told again what was declared, and nothing is said to be delivered that was not.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, ErrorKind, ExchangeKind};

use crate::common::{Rig, block_on, bodies, envelope, is_waiting, options};

/// Connects as another process would, which shares no declarations with those that use the server's number.
fn stranger(server: &RedisServer) -> Rig {
    Rig::at(&format!("redis://localhost:{}/0", server.port()))
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
    let rig = Rig::with(&server, options([("topology", "registry")]));
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
