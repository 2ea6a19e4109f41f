//! A broadcast reaches everybody who listens, once per queue.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::ExchangeKind;

use crate::common::{Rig, TestChannel, bodies};

fn listener(rig: &Rig, queue: &str, key: &str) -> (TestChannel, crate::common::Inbox) {
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue(queue);
    channel.bind(queue, "f", key);
    let inbox = channel.consume(queue);
    (channel, inbox)
}

#[test]
fn every_listening_queue_gets_it_and_the_receivers_are_counted() {
    let server = RedisServer::start();
    let (one, two) = (Rig::new(&server), Rig::new(&server));
    let (publisher, first) = listener(&one, "a", "");
    let (_second_channel, second) = listener(&two, "b", "");
    for number in 0..100 {
        assert_eq!(publisher.publish("f", "", number.to_string()), Some(2));
    }
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let got = first.take(100);
    assert_eq!(bodies(&got), expected);
    assert_eq!(bodies(&second.take(100)), expected);
    for delivery in got {
        publisher.ack(delivery.tag).unwrap();
    }
}

#[test]
fn a_queue_bound_twice_gets_it_once() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (channel, inbox) = listener(&rig, "a", "x.*");
    channel.bind("a", "f", "*.y");
    channel.publish("f", "x.y", "both");
    channel.publish("f", "z.y", "one");
    assert_eq!(bodies(&inbox.take(2)), ["both", "one"]);
}

#[test]
fn two_queues_on_one_connection_get_a_copy_each_and_two_consumers_of_one_share() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (channel, a) = listener(&rig, "a", "");
    let (_channel_b, b) = listener(&rig, "b", "");
    let also_a = channel.consume("a");
    for number in 0..10 {
        channel.publish("f", "", number.to_string());
    }
    b.wait(10);
    assert!(eventually(PATIENCE, || a.len() + also_a.len() == 10));
    assert_eq!(a.len(), 5);
}

#[test]
fn nobody_listening_is_no_receiver() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (channel, inbox) = listener(&rig, "a", "");
    channel.cancel(&inbox);
    assert!(eventually(PATIENCE, || channel.publish("f", "", "x") == Some(0)));
}

#[test]
fn a_rejected_broadcast_comes_again_marked_and_the_window_holds() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(1, false);
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue("a");
    channel.bind("a", "f", "");
    let inbox = channel.consume("a");
    channel.publish("f", "", "1");
    channel.publish("f", "", "2");
    let first = inbox.take(1);
    assert_eq!(bodies(&first), ["1"]);
    channel.settle(channel.channel.basic_reject(first[0].tag, true)).unwrap();
    let again = inbox.take(1);
    assert_eq!(bodies(&again), ["1"]);
    assert!(again[0].redelivered);
    assert_eq!(again[0].delivery_count, Some(1));
    channel.ack(again[0].tag).unwrap();
    assert_eq!(bodies(&inbox.take(1)), ["2"]);
}
