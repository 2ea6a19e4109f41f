//! With the option `fanout_stored` a queue keeps broadcast messages while nobody consumes, and its consumers get each once.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicPublish, QueueDeclare};
use kombu_core::{ErrorKind, ExchangeKind, FieldTable, Outcome, Support};

use crate::common::{Rig, TestChannel, block_on, bodies, options, prioritised};

fn storing(server: &RedisServer) -> Rig {
    Rig::with(server, options([("fanout_stored", true)]))
}

fn declare(channel: &TestChannel, queue: &str, key: &str) {
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue(queue);
    channel.bind(queue, "f", key);
}

/// A publisher that knows of the exchange and nothing else.
fn publisher(server: &RedisServer) -> (Rig, TestChannel) {
    let rig = Rig::new(server);
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    (rig, channel)
}

#[test]
fn messages_wait_for_a_consumer_that_is_away() {
    let server = RedisServer::start();
    let rig = storing(&server);
    assert_eq!(rig.transport.capabilities().fanout_stored, Support::Emulated);
    declare(&rig.channel(), "q", "");
    rig.close().unwrap();
    let (_other, from) = publisher(&server);
    assert_eq!(_other.transport.capabilities().fanout_stored, Support::No);
    for number in 0..3 {
        assert_eq!(from.publish("f", "", format!("{number}")), Some(1));
    }
    let urgent = prioritised("f", "", "late", Some(9));
    block_on(from.channel.basic_publish(BasicPublish::default(), urgent)).unwrap();
    let rig = storing(&server);
    let channel = rig.channel();
    declare(&channel, "q", "");
    let inbox = channel.consume("q");
    let deliveries = inbox.take(4);
    assert_eq!(bodies(&deliveries), ["0", "1", "2", "late"]);
    assert_eq!(deliveries[0].envelope.exchange, "f");
    channel.settle(channel.channel.basic_reject(deliveries[3].tag, true)).unwrap();
    let again = inbox.take(1);
    assert!(again[0].redelivered);
    assert_eq!(bodies(&again), ["late"]);
}

#[test]
fn a_consumer_that_listens_gets_each_message_once() {
    let server = RedisServer::start();
    let rig = storing(&server);
    let channel = rig.channel();
    declare(&channel, "q", "");
    let inbox = channel.consume("q");
    let (other, from) = publisher(&server);
    let plain = other.channel();
    declare(&plain, "listens", "");
    let listening = plain.consume("listens");
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for body in &expected {
        assert_eq!(from.publish("f", "", body), Some(2));
    }
    let mut got = Vec::new();
    while got.len() < 200 {
        for delivery in inbox.take(1) {
            got.extend(bodies(std::slice::from_ref(&delivery)));
            channel.ack(delivery.tag).unwrap();
        }
    }
    assert_eq!(got, expected);
    assert_eq!(bodies(&listening.take(200)), expected);
    // Whatever came twice would have come before this.
    from.publish("f", "", "last");
    assert_eq!(bodies(&inbox.take(1)), ["last"]);
    assert_eq!(bodies(&listening.take(1)), ["last"]);
    assert_eq!(server.command(&["EXISTS", "listens"]).int(), 0, "nobody asked to store there");
}

#[test]
fn what_others_publish_is_heard() {
    let server = RedisServer::start();
    let rig = storing(&server);
    let channel = rig.channel();
    declare(&channel, "q", "");
    let inbox = channel.consume("q");
    // As Python Kombu publishes it.
    let message = r#"{"body": "aGk=", "content-type": "text/plain", "content-encoding": "utf-8", "headers": {}, "properties": {"delivery_tag": "t", "delivery_mode": 2, "delivery_info": {"exchange": "f", "routing_key": ""}, "priority": 0, "body_encoding": "base64"}}"#;
    assert_eq!(server.command(&["PUBLISH", "/0.f", message]).int(), 1);
    assert_eq!(bodies(&inbox.take(1)), ["hi"]);
}

#[test]
fn the_copy_that_is_heard_stays_readable_and_says_where_others_lie() {
    let server = RedisServer::start();
    let rig = storing(&server);
    declare(&rig.channel(), "q", "");
    let mut subscriber = server.client();
    subscriber.command(&["SUBSCRIBE", "/0.f"]);
    let (_other, from) = publisher(&server);
    from.publish("f", "", "x");
    let heard = subscriber.recv().unwrap();
    let heard: serde_json::Value = serde_json::from_str(heard.texts()[2]).unwrap();
    let stored = server.command(&["LINDEX", "q", "0"]);
    let stored: serde_json::Value = serde_json::from_str(stored.text()).unwrap();
    // SHA-1 of "q".
    assert_eq!(heard["stored"], "22ea1c649c82946aa6e479e1ffd321e4a318b1b0");
    assert!(stored["stored"].is_null());
    assert_eq!(heard["properties"], stored["properties"]);
}

#[test]
fn keys_decide_as_they_do_for_who_listens() {
    let server = RedisServer::start();
    let rig = storing(&server);
    let channel = rig.channel();
    for (queue, key) in [("all", "#"), ("some", "a.*"), ("one", "a+b"), ("none", "")] {
        declare(&channel, queue, key);
    }
    channel.bind("some", "f", "*.b");
    let (_other, from) = publisher(&server);
    let count = |queue: &str| server.command(&["LLEN", queue]).int();
    from.publish("f", "a.b", "x");
    assert_eq!([count("all"), count("some"), count("one"), count("none")], [1, 1, 0, 0]);
    from.publish("f", "a+b", "x");
    assert_eq!([count("all"), count("some"), count("one"), count("none")], [2, 1, 1, 0]);
    from.publish("f", "", "x");
    assert_eq!([count("all"), count("some"), count("one"), count("none")], [2, 1, 1, 1]);
    channel.unbind("one", "f", "a+b");
    from.publish("f", "a+b", "x");
    assert_eq!([count("all"), count("one")], [3, 1]);
}

#[test]
fn queues_that_go_with_their_consumers_store_nothing() {
    let server = RedisServer::start();
    let rig = storing(&server);
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    let expiring = options([("x-expires", 60_000)]);
    for method in [
        QueueDeclare { queue: "auto".into(), auto_delete: true, ..QueueDeclare::default() },
        QueueDeclare { queue: "mine".into(), exclusive: true, ..QueueDeclare::default() },
        QueueDeclare { queue: "brief".into(), arguments: expiring, ..QueueDeclare::default() },
    ] {
        let queue = method.queue.clone();
        channel.declare(method).unwrap();
        channel.bind(&queue, "f", "");
    }
    let (_other, from) = publisher(&server);
    assert_eq!(from.publish("f", "", "x"), Some(0));
    assert!(!server.keys().iter().any(|key| key.contains("stored")), "{:?}", server.keys());
}

#[test]
fn deleting_ends_the_storing() {
    let server = RedisServer::start();
    let rig = storing(&server);
    let channel = rig.channel();
    declare(&channel, "q", "");
    declare(&channel, "r", "");
    let (_other, from) = publisher(&server);
    assert_eq!(from.publish("f", "", "x"), Some(2));
    let method = kombu_core::method::QueueDelete { queue: "q".into(), if_unused: false, if_empty: false };
    channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap();
    assert_eq!(from.publish("f", "", "x"), Some(1));
    let method = kombu_core::method::ExchangeDelete { exchange: "f".into(), if_unused: false };
    channel.call(|channel| async move { channel.exchange_delete(method).await }).unwrap();
    assert!(!server.keys().iter().any(|key| key.contains("stored")), "{:?}", server.keys());
    assert_eq!(server.command(&["LLEN", "r"]).int(), 2);
}

#[test]
fn a_server_that_lost_its_scripts_gets_them_again() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, FieldTable::from([("fanout_stored", true)]));
    let channel = rig.channel();
    declare(&channel, "q", "");
    server.command(&["SCRIPT", "FLUSH"]);
    let sent: Vec<_> = (0..10).map(|number| channel.send("f", "", format!("{number}"))).collect();
    for confirm in sent {
        block_on(confirm).unwrap();
    }
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "q"]).int() == 10));
    let delivery = channel.get("q").unwrap();
    assert_eq!(delivery.envelope.headers.get("x-republished"), None, "nothing was done twice");
}

#[test]
fn a_broadcast_that_one_of_its_queues_cannot_take_reaches_nobody() {
    let server = RedisServer::start();
    let rig = storing(&server);
    let channel = rig.channel();
    for queue in ["a", "b", "c"] {
        declare(&channel, queue, "");
    }
    let inbox = channel.consume("a");
    let (_other, from) = publisher(&server);
    for bad in ["b", "c"] {
        server.command(&["SET", bad, "a string"]);
        let error = block_on(from.send("f", "", "never")).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::PreconditionFailed, Some(Outcome::NotSent)), "{error}");
        server.command(&["DEL", bad]);
        assert_eq!(server.command(&["EXISTS", "a", "b", "c"]).int(), 0, "with {bad} a string");
    }
    assert_eq!(from.publish("f", "", "heard"), Some(3));
    assert_eq!(bodies(&inbox.take(1)), ["heard"], "what was refused was heard by nobody");
}
