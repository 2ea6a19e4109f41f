//! A broadcast reaches everybody who listens, once per queue.

use kombu_brokers::{FaultProxy, PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicConsume, QueueBind};
use kombu_core::{ErrorKind, ExchangeKind, FieldTable};

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

/// A user who may listen to the patterns of no exchange but `ok`.
fn restricted() -> (RedisServer, Rig) {
    let server = RedisServer::start();
    let user = ["ACL", "SETUSER", "me", "on", ">pw", "~*", "+@all", "resetchannels", "&/0.ok"];
    assert!(server.command(&user).error().is_none());
    let rig = Rig::at(&format!("redis://me:pw@{}/0", server.addr()));
    (server, rig)
}

fn consume(queue: &str) -> BasicConsume {
    BasicConsume { queue: queue.into(), ..BasicConsume::default() }
}

#[test]
fn a_refused_subscription_is_an_error_and_harms_no_other() {
    let (server, rig) = restricted();
    let channel = rig.channel();
    channel.exchange("ok", ExchangeKind::Fanout);
    channel.queue("b");
    channel.bind("b", "ok", "");
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue("a");
    channel.bind("a", "f", "");
    let Err(error) = channel.try_consume(consume("a")) else { panic!("nobody may listen to `f`") };
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    assert_eq!(channel.queue("a").consumer_count, 0);
    let other = channel.consume("b");
    assert_eq!(channel.try_consume(consume("a")).err().map(|error| error.kind()), Some(ErrorKind::AccessRefused));
    server.command(&["PUBLISH", "/0.ok", MESSAGE]);
    other.wait(1);
    server.command(&["ACL", "SETUSER", "me", "allchannels"]);
    let inbox = channel.consume("a");
    assert_eq!(channel.publish("f", "", "x"), Some(1));
    assert_eq!(bodies(&inbox.take(1)), ["x"]);
}

#[test]
fn a_binding_nobody_may_listen_to_is_refused_and_removed() {
    let (server, rig) = restricted();
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue("a");
    let inbox = channel.consume("a");
    let bind = || {
        let method =
            QueueBind { queue: "a".into(), exchange: "f".into(), routing_key: "".into(), arguments: FieldTable::new() };
        channel.call(|channel| async move { channel.queue_bind(method).await })
    };
    assert_eq!(bind().map_err(|error| error.kind()), Err(ErrorKind::AccessRefused));
    assert_eq!(server.command(&["EXISTS", "_kombu.binding.f"]).int(), 0);
    // The consumer goes on with what it may have.
    channel.publish("", "a", "x");
    assert_eq!(bodies(&inbox.take(1)), ["x"]);
    server.command(&["ACL", "SETUSER", "me", "allchannels"]);
    bind().unwrap();
    assert_eq!(channel.publish("f", "", "y"), Some(1));
    assert_eq!(bodies(&inbox.take(1)), ["y"]);
}

#[test]
fn who_waits_for_a_subscription_learns_that_the_channel_closed() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue("a");
    channel.bind("a", "f", "");
    // What there is goes on; the listener's socket cannot be made.
    proxy.refuse();
    let waiting = std::thread::spawn({
        let channel = channel.clone();
        move || channel.try_consume(consume("a")).map(drop).map_err(|error| error.kind())
    });
    assert!(eventually(PATIENCE, || channel.queue("a").consumer_count == 1));
    channel.close().unwrap();
    assert_eq!(waiting.join().unwrap(), Err(ErrorKind::Closed));
}

const MESSAGE: &str = r#"{"body": "eA==", "content-encoding": "utf-8", "content-type": "text/plain", "headers": {}, "properties": {"delivery_info": {"exchange": "ok", "routing_key": ""}, "priority": 0, "body_encoding": "base64", "delivery_tag": "t-1"}}"#;
