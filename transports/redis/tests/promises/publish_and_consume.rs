//! What is published arrives: by every kind of exchange, in order, once.

use crate::common::{Rig, block_on, bodies, envelope, keys};
use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicConsume, BasicPublish, QueueDelete};
use kombu_core::{Confirmation, DeliveryTag, ErrorKind, ExchangeKind, Outcome};

#[test]
fn a_thousand_messages_come_in_order_and_acks_remove_them() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    let inbox = channel.consume("q");
    let confirms: Vec<_> = (0..1000).map(|number| channel.send("e", "k", number.to_string())).collect();
    for confirm in confirms {
        assert_eq!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) });
    }
    let mut got = Vec::new();
    while got.len() < 1000 {
        let deliveries = inbox.take(1);
        for delivery in &deliveries {
            drop(channel.channel.basic_ack(delivery.tag, false));
        }
        got.extend(deliveries);
    }
    assert_eq!(bodies(&got), (0..1000).map(|number: i32| number.to_string()).collect::<Vec<_>>());
    assert_eq!(got.iter().map(|one| one.tag.0).collect::<Vec<_>>(), (1..=1000).collect::<Vec<u64>>());
    assert!(got.iter().all(|one| !one.redelivered));
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
    assert_eq!(server.command(&["ZCARD", "unacked_index"]).int(), 0);
}

#[test]
fn the_default_exchange_makes_the_list() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    assert_eq!(channel.publish("", "q", "hello"), Some(1));
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
    let delivery = channel.get("q").unwrap();
    assert_eq!(&delivery.envelope.body[..], b"hello");
    assert_eq!((delivery.envelope.exchange.as_str(), delivery.envelope.routing_key.as_str()), ("", "q"));
    channel.ack(delivery.tag).unwrap();
    assert!(channel.get("q").is_none());
}

#[test]
fn order_is_kept_across_exchanges_of_one_channel() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.exchange("t", ExchangeKind::Topic);
    channel.queue("q");
    channel.bind("q", "e", "k");
    channel.bind("q", "t", "a.#");
    let inbox = channel.consume("q");
    let ways = [("", "q"), ("e", "k"), ("t", "a.b"), ("t", "a")];
    let confirms: Vec<_> =
        (0..200).map(|number| channel.send(ways[number % 4].0, ways[number % 4].1, number.to_string())).collect();
    for confirm in confirms {
        assert_eq!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) });
    }
    assert_eq!(bodies(&inbox.take(200)), (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn every_queue_gets_a_copy_of_its_own() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    for queue in ["a", "b"] {
        channel.queue(queue);
        channel.bind(queue, "e", "k");
    }
    assert_eq!(channel.publish("e", "k", "x"), Some(2));
    let (a, b) = (channel.get("a").unwrap(), channel.get("b").unwrap());
    channel.ack(a.tag).unwrap();
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 1);
    channel.ack(b.tag).unwrap();
}

#[test]
fn a_fresh_binding_is_seen_by_the_next_publish() {
    let server = RedisServer::start();
    let (rig, other) = (Rig::new(&server), Rig::new(&server));
    let (channel, binder) = (rig.channel(), other.channel());
    binder.exchange("e", ExchangeKind::Direct);
    binder.queue("q");
    for round in 0..20 {
        let key = format!("k{round}");
        binder.bind("q", "e", &key);
        assert_eq!(channel.publish("e", &key, "x"), Some(1), "round {round}");
        binder.unbind("q", "e", &key);
        assert_eq!(channel.publish("e", &key, "x"), Some(0), "round {round}");
    }
}

#[test]
fn an_exchange_nobody_declared_is_not_found() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let error = block_on(rig.channel().send("missing", "k", "x")).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotFound, Some(Outcome::NotSent)));
}

#[test]
fn consumers_of_one_queue_share_fairly() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (one, two) = (rig.channel(), rig.channel());
    let (first, second) = (one.consume("q"), two.consume("q"));
    for number in 0..20 {
        one.publish("", "q", number.to_string());
    }
    assert!(eventually(PATIENCE, || first.len() + second.len() == 20));
    assert!((8..=12).contains(&first.len()), "{} and {}", first.len(), second.len());
}

#[test]
fn a_consumer_without_acknowledgement_leaves_nothing_behind() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let method = BasicConsume { queue: "q".into(), no_ack: true, ..BasicConsume::default() };
    let inbox = channel.try_consume(method).unwrap();
    for number in 0..50 {
        channel.publish("", "q", number.to_string());
    }
    let deliveries = inbox.take(50);
    assert_eq!(bodies(&deliveries), (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(eventually(PATIENCE, || keys(&server).is_empty()), "{:?}", keys(&server));
    let error = channel.ack(deliveries[0].tag).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
}

#[test]
fn a_bad_tag_ends_its_channel_and_no_other() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (channel, sibling) = (rig.channel(), rig.channel());
    channel.publish("", "q", "x");
    let held = channel.get("q").unwrap();
    assert_eq!(channel.ack(DeliveryTag(7)).unwrap_err().kind(), ErrorKind::PreconditionFailed);
    assert!(eventually(PATIENCE, || !channel.events.closed.lock().unwrap().is_empty()));
    assert_eq!(channel.ack(held.tag).unwrap_err().kind(), ErrorKind::ChannelGone);
    // What it held is back, marked.
    let again = sibling.get("q").unwrap();
    assert!(again.redelivered);
    sibling.ack(again.tag).unwrap();
    assert_eq!(sibling.ack(again.tag).unwrap_err().kind(), ErrorKind::PreconditionFailed);
}

#[test]
fn a_duplicate_consumer_tag_is_refused() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let method = || BasicConsume { queue: "q".into(), consumer_tag: "me".into(), ..BasicConsume::default() };
    channel.try_consume(method()).unwrap();
    assert_eq!(channel.try_consume(method()).err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_deleted_queue_ends_its_consumers_and_bindings() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Topic);
    channel.queue("q");
    channel.bind("q", "e", "a.*");
    let inbox = channel.consume("q");
    let method = QueueDelete { queue: "q".into(), ..QueueDelete::default() };
    channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap();
    assert_eq!(inbox.cancelled().kind(), ErrorKind::NotFound);
    assert!(eventually(PATIENCE, || keys(&server).is_empty()), "{:?}", keys(&server));
}

#[test]
fn a_publish_that_cannot_be_sent_in_time_was_not_sent() {
    let mut server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    server.kill();
    assert!(eventually(PATIENCE, || !channel.events.disturbed.lock().unwrap().is_empty()));
    let method = BasicPublish { timeout: Some(std::time::Duration::from_millis(50)), ..BasicPublish::default() };
    let error = block_on(channel.channel.basic_publish(method, envelope("", "q", "x"))).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Some(Outcome::NotSent)));
}

#[test]
fn large_and_odd_bodies_come_back_byte_for_byte() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let all: Vec<u8> = (0..=255).collect();
    for body in [Vec::new(), all.clone(), all.repeat(16 * 1024)] {
        channel.publish("", "q", &body);
        let delivery = channel.get("q").unwrap();
        assert!(delivery.envelope.body == body, "{} bytes", body.len());
        channel.ack(delivery.tag).unwrap();
    }
}
