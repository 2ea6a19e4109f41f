//! A message given back goes to its place, marked and counted.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::DeliveryTag;

use crate::common::{Rig, bodies, keys};

#[test]
fn a_requeued_message_comes_next_and_is_marked() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for body in ["a", "b", "c"] {
        channel.publish("", "q", body);
    }
    let first = channel.get("q").unwrap();
    assert!(!first.redelivered);
    assert_eq!(first.delivery_count.unwrap_or(0), 0);
    channel.settle(channel.channel.basic_reject(first.tag, true)).unwrap();
    for count in 1..4 {
        let again = channel.get("q").unwrap();
        assert_eq!(bodies(std::slice::from_ref(&again)), ["a"]);
        assert!(again.redelivered);
        assert_eq!(again.delivery_count, Some(count));
        channel.settle(channel.channel.basic_reject(again.tag, true)).unwrap();
    }
    assert_eq!(server.command(&["LLEN", "q"]).int(), 3);
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
}

#[test]
fn several_given_back_at_once_keep_their_order() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (channel, other) = (rig.channel(), rig.channel());
    for number in 0..10 {
        channel.publish("", "q", number.to_string());
    }
    let inbox = channel.consume("q");
    let deliveries = inbox.take(10);
    channel.cancel(&inbox);
    // A window that is full of nothing: nobody consumes now.
    channel.settle(channel.channel.basic_nack(deliveries[4].tag, true, true)).unwrap();
    channel.settle(channel.channel.basic_nack(DeliveryTag(0), true, true)).unwrap();
    let again: Vec<_> = (0..10).map(|_| other.get("q").unwrap()).collect();
    assert_eq!(bodies(&again), ["5", "6", "7", "8", "9", "0", "1", "2", "3", "4"]);
    assert!(again.iter().all(|one| one.redelivered));
}

#[test]
fn an_active_consumer_gets_a_requeued_message_again() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "x");
    for count in 0..3 {
        let delivery = inbox.take(1).remove(0);
        assert_eq!(delivery.delivery_count.unwrap_or(0), count);
        channel.settle(channel.channel.basic_reject(delivery.tag, true)).unwrap();
    }
    let last = inbox.take(1).remove(0);
    channel.ack(last.tag).unwrap();
    assert!(eventually(PATIENCE, || keys(&server).is_empty()), "{:?}", keys(&server));
}

#[test]
fn multiple_settles_up_to_the_tag_and_no_further() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    for number in 0..5 {
        channel.publish("", "q", number.to_string());
    }
    let deliveries = inbox.take(5);
    channel.settle(channel.channel.basic_ack(deliveries[2].tag, true)).unwrap();
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 2);
    channel.settle(channel.channel.basic_ack(deliveries[3].tag, false)).unwrap();
    channel.settle(channel.channel.basic_nack(deliveries[4].tag, false, false)).unwrap();
    assert!(eventually(PATIENCE, || keys(&server).is_empty()));
}

#[test]
fn recover_gives_back_everything() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for number in 0..3 {
        channel.publish("", "q", number.to_string());
    }
    for _ in 0..3 {
        channel.get("q").unwrap();
    }
    channel.call(|channel| async move { channel.basic_recover().await }).unwrap();
    let again: Vec<_> = (0..3).map(|_| channel.get("q").unwrap()).collect();
    assert_eq!(bodies(&again), ["0", "1", "2"]);
    assert!(again.iter().all(|one| one.redelivered));
}
