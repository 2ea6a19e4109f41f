//! Closing gives back what is unsettled, sends what is queued, and leaves nothing behind.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicConsume, QueueDeclare};
use kombu_core::{ErrorKind, Outcome};

use crate::common::{Rig, block_on, bodies, keys};

#[test]
fn a_closed_channel_gives_back_in_order_and_its_siblings_go_on() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (channel, sibling) = (rig.channel(), rig.channel());
    for number in 0..10 {
        channel.publish("", "q", number.to_string());
    }
    let inbox = channel.consume("q");
    channel.ack(inbox.take(10)[0].tag).unwrap();
    channel.close().unwrap();
    channel.close().unwrap();
    let again: Vec<_> = (1..10).map(|_| sibling.get("q").unwrap()).collect();
    assert_eq!(bodies(&again), (1..10).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(again.iter().all(|one| one.redelivered));
    let error = block_on(channel.send("", "q", "x")).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Some(Outcome::NotSent)));
}

#[test]
fn a_closed_connection_gives_back_and_leaves() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    for number in 0..5 {
        channel.publish("", "q", number.to_string());
    }
    inbox.wait(5);
    rig.close().unwrap();
    rig.close().unwrap();
    assert_eq!(server.command(&["LLEN", "q"]).int(), 5);
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
    assert!(eventually(PATIENCE, || server.command(&["CLIENT", "LIST"]).text().lines().count() == 1));
}

#[test]
fn queued_publishes_and_acks_go_out_before_the_close() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.publish("", "held", "x");
    let delivery = channel.get("held").unwrap();
    drop(channel.channel.basic_ack(delivery.tag, false));
    for number in 0..500 {
        drop(channel.send("", "q", number.to_string()));
    }
    channel.close().unwrap();
    assert_eq!(server.command(&["LLEN", "q"]).int(), 500);
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
    assert_eq!(server.command(&["LLEN", "held"]).int(), 0);
}

#[test]
fn what_arrives_for_a_cancelled_consumer_stays_in_the_queue() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for round in 0..20 {
        let inbox = channel.consume("q");
        let confirm = channel.send("", "q", round.to_string());
        channel.cancel(&inbox);
        let delivered = inbox.len();
        block_on(confirm).unwrap();
        // Settled or back in the queue: one of the two, and no delivery after the cancel.
        let waits = || server.command(&["LLEN", "q"]).int() as usize;
        assert!(eventually(PATIENCE, || waits() + delivered == 1), "round {round}: {} and {delivered}", waits());
        assert_eq!(inbox.len(), delivered);
        for delivery in inbox.take(delivered) {
            channel.ack(delivery.tag).unwrap();
        }
        server.command(&["DEL", "q"]);
    }
}

#[test]
fn a_closed_channel_loses_nothing_that_counts_as_acknowledged() {
    const COUNT: usize = 20_000;
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.publish("", "q", "x");
    let text = server.command(&["RPOP", "q"]).text().to_owned();
    let script = "for _ = 1, ARGV[2] do redis.call('LPUSH', KEYS[1], ARGV[1]) end";
    server.command(&["EVAL", script, "1", "q", &text, &COUNT.to_string()]);
    let consume = |queue: &str| {
        let method = BasicConsume { queue: queue.into(), no_ack: true, ..BasicConsume::default() };
        channel.try_consume(method).unwrap()
    };
    let _others = ["a", "b", "c"].map(consume);
    let inbox = consume("q");
    inbox.wait(1);
    channel.close().unwrap();
    assert_eq!(inbox.len() + server.command(&["LLEN", "q"]).int() as usize, COUNT);
}

#[test]
fn a_declaration_waits_for_no_publish_that_comes_after_it() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", kombu_core::ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(channel.send("e", "k", "x"));
                }
            });
        }
        (0..10).for_each(|_| drop(channel.queue("q")));
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn every_publish_that_meets_the_end_is_answered() {
    for _ in 0..10 {
        let server = RedisServer::start();
        let rig = Rig::new(&server);
        let channel = rig.channel();
        channel.exchange("e", kombu_core::ExchangeKind::Direct);
        channel.queue("q");
        channel.bind("q", "e", "k");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let confirms: Vec<_> = (0..50).map(|_| channel.send("e", "k", "x")).collect();
                        let ended = confirms.into_iter().map(block_on).filter(Result::is_err).count() > 0;
                        if ended {
                            break;
                        }
                    }
                });
            }
            rig.close().unwrap();
        });
    }
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.declare(QueueDeclare { queue: "q".into(), auto_delete: true, ..QueueDeclare::default() }).unwrap();
    channel.publish("", "q", "x");
    let (one, two) = (channel.consume("q"), channel.consume("q"));
    channel.cancel(&one);
    channel.publish("", "q", "y");
    channel.cancel(&two);
    assert_eq!(server.command(&["LLEN", "q"]).int(), 0);
}

#[test]
fn an_exclusive_queue_goes_with_its_connection() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", kombu_core::ExchangeKind::Direct);
    channel.declare(QueueDeclare { queue: "q".into(), exclusive: true, ..QueueDeclare::default() }).unwrap();
    channel.bind("q", "e", "k");
    channel.publish("e", "k", "x");
    rig.close().unwrap();
    assert!(keys(&server).is_empty(), "{:?}", server.keys());
}
