//! Headers exchanges, bindings between exchanges and alternates: known to every process of ours, whoever declared them.

use std::sync::Arc;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDelete};
use kombu_core::{Confirmation, Envelope, ErrorKind, ExchangeKind, FieldTable, Result, Value};

use crate::common::{Rig, TestChannel, block_on, bodies, envelope, keys};

/// Connects as another process would: what this one remembers, it remembers by the server's name.
fn elsewhere(server: &RedisServer) -> Rig {
    Rig::at(&server.url().replace("127.0.0.1", "localhost"))
}

fn declare(channel: &TestChannel, exchange: &str, kind: ExchangeKind, arguments: FieldTable, internal: bool) {
    let method = ExchangeDeclare {
        exchange: exchange.into(),
        kind,
        passive: false,
        durable: true,
        auto_delete: false,
        internal,
        arguments,
    };
    channel.call(|channel| async move { channel.exchange_declare(method).await }).unwrap();
}

fn lead(channel: &TestChannel, source: &str, destination: &str, key: &str) -> ExchangeBind {
    let method = ExchangeBind {
        destination: destination.into(),
        source: source.into(),
        routing_key: key.into(),
        arguments: FieldTable::new(),
    };
    let bound = method.clone();
    channel.call(|channel| async move { channel.exchange_bind(bound).await }).unwrap();
    method
}

fn bind_by_headers(channel: &TestChannel, queue: &str, exchange: &str, arguments: FieldTable) -> Result<()> {
    let method = QueueBind { queue: queue.into(), exchange: exchange.into(), routing_key: "".into(), arguments };
    channel.call(|channel| async move { channel.queue_bind(method).await })
}

fn with_headers(exchange: &str, headers: FieldTable, body: &str) -> Arc<Envelope> {
    Arc::new(Envelope { headers: headers.into(), ..Envelope::clone(&envelope(exchange, "", body)) })
}

fn queues(channel: &TestChannel, envelope: Arc<Envelope>) -> Option<u32> {
    match block_on(channel.channel.basic_publish(BasicPublish::default(), envelope)).unwrap() {
        Confirmation::Confirmed { queues } => queues,
        other => panic!("not confirmed: {other:?}"),
    }
}

fn all(channel: &TestChannel, queue: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(delivery) = channel.get(queue) {
        channel.ack(delivery.tag).unwrap();
        found.extend(bodies(&[delivery]));
    }
    found
}

fn delete_queue(channel: &TestChannel, queue: &str) {
    let method = QueueDelete { queue: queue.into(), ..QueueDelete::default() };
    channel.call(|channel| async move { channel.queue_delete(method).await }).unwrap();
}

#[test]
fn a_publisher_that_declared_nothing_routes_by_headers() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let channel = one.channel();
    declare(&channel, "h", ExchangeKind::Headers, FieldTable::new(), false);
    let any = FieldTable::from([("x-match", Value::from("any")), ("a", 1.into()), ("b", "x".into())]);
    bind_by_headers(&channel, "any", "h", any).unwrap();
    bind_by_headers(&channel, "all", "h", FieldTable::from([("a", 1), ("c", 2)])).unwrap();
    let publisher = other.channel();
    let sent = |headers: FieldTable| queues(&publisher, with_headers("h", headers, "hello"));
    assert_eq!(sent(FieldTable::from([("a", 1)])), Some(1));
    assert_eq!(sent(FieldTable::from([("a", 1), ("c", 2)])), Some(2));
    assert_eq!(sent(FieldTable::from([("a", "1")])), Some(0));
    assert_eq!((all(&channel, "any").len(), all(&channel, "all").len()), (2, 1));
    // Whoever deletes the queue, what leads to it goes along.
    delete_queue(&publisher, "any");
    assert_eq!(sent(FieldTable::from([("a", 1)])), Some(0));
    assert!(
        !server.keys().iter().any(|key| key.contains("binding.h")),
        "Python knows nothing of it: {:?}",
        server.keys()
    );
    let error = bind_by_headers(&channel, "q", "h", FieldTable::from([("x-match", "most")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
}

#[test]
fn a_message_goes_from_exchange_to_exchange_once() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let channel = one.channel();
    for (exchange, kind) in [("a", ExchangeKind::Direct), ("b", ExchangeKind::Topic), ("c", ExchangeKind::Fanout)] {
        channel.exchange(exchange, kind);
    }
    channel.bind("q1", "a", "k.1");
    channel.bind("q1", "b", "k.#");
    channel.bind("q2", "b", "*.1");
    // A publisher that knows the routes already learns of the new one.
    let publisher = other.channel();
    assert_eq!(publisher.publish("a", "k.1", "before"), Some(1));
    lead(&channel, "a", "b", "k.1");
    let back = lead(&channel, "b", "a", "#");
    lead(&channel, "b", "c", "k.1");
    channel.bind("q3", "c", "k.1");
    let listener = channel.consume("q3");
    assert_eq!(publisher.publish("a", "k.1", "one"), Some(3));
    assert_eq!(bodies(&listener.take(1)), ["one"]);
    assert_eq!((all(&channel, "q1"), all(&channel, "q2")), (vec!["before".into(), "one".into()], vec!["one".into()]));
    assert_eq!(publisher.publish("b", "k.2", "two"), Some(1));
    assert_eq!(all(&channel, "q1"), ["two"]);
    channel.call(|channel| async move { channel.exchange_unbind(back).await }).unwrap();
    let method = ExchangeDelete { exchange: "b".into(), if_unused: true };
    let kept = other.channel().call(|channel| async move { channel.exchange_delete(method).await });
    assert_eq!(kept.unwrap_err().kind(), ErrorKind::PreconditionFailed);
    let method = ExchangeDelete { exchange: "b".into(), if_unused: false };
    publisher.call(|channel| async move { channel.exchange_delete(method).await }).unwrap();
    assert_eq!(publisher.publish("a", "k.1", "three"), Some(1));
    assert_eq!(all(&channel, "q2"), [""; 0]);
}

#[test]
fn a_fanout_exchange_leads_on_too() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let (channel, publisher) = (one.channel(), other.channel());
    channel.exchange("f", ExchangeKind::Fanout);
    channel.exchange("d", ExchangeKind::Direct);
    publisher.exchange("f", ExchangeKind::Fanout);
    channel.bind("heard", "f", "");
    channel.bind("q", "d", "");
    let listener = channel.consume("heard");
    assert_eq!(publisher.publish("f", "", "first"), Some(1));
    lead(&channel, "f", "d", "");
    assert_eq!(publisher.publish("f", "", "second"), Some(2));
    assert_eq!(bodies(&listener.take(2)), ["first", "second"]);
    assert_eq!(all(&channel, "q"), ["second"]);
}

#[test]
fn what_matches_nothing_goes_to_the_alternate() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let channel = one.channel();
    declare(&channel, "x", ExchangeKind::Direct, FieldTable::from([("alternate-exchange", "y")]), false);
    declare(&channel, "inner", ExchangeKind::Direct, FieldTable::new(), true);
    let publisher = other.channel();
    assert_eq!(publisher.publish("x", "k", "nowhere yet"), Some(0));
    channel.exchange("y", ExchangeKind::Fanout);
    channel.exchange("z", ExchangeKind::Topic);
    lead(&channel, "y", "z", "");
    channel.bind("q", "x", "k");
    channel.bind("rest", "z", "#");
    assert_eq!(publisher.publish("x", "k", "routed"), Some(1));
    assert_eq!(publisher.publish("x", "other", "unrouted"), Some(1));
    assert_eq!((all(&channel, "q"), all(&channel, "rest")), (vec!["routed".into()], vec!["unrouted".into()]));
    let refused = block_on(publisher.send("inner", "k", "x")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessRefused);
}

#[test]
fn what_was_declared_is_declared_again_after_a_flush() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "h", ExchangeKind::Headers, FieldTable::from([("alternate-exchange", "d")]), false);
    channel.exchange("d", ExchangeKind::Direct);
    channel.exchange("e", ExchangeKind::Direct);
    bind_by_headers(&channel, "q", "h", FieldTable::from([("a", 1)])).unwrap();
    lead(&channel, "d", "e", "");
    channel.bind("rest", "e", "");
    let kept = keys(&server);
    server.flushall();
    assert!(eventually(PATIENCE, || keys(&server) == kept), "{kept:?} but {:?}", server.keys());
    assert_eq!(queues(&channel, with_headers("h", FieldTable::from([("a", 1)]), "x")), Some(1));
    assert_eq!(queues(&channel, with_headers("h", FieldTable::new(), "y")), Some(1));
    assert_eq!((all(&channel, "q"), all(&channel, "rest")), (vec!["x".into()], vec!["y".into()]));
    // And so that others know it again.
    let publisher = elsewhere(&server);
    assert_eq!(queues(&publisher.channel(), with_headers("h", FieldTable::from([("a", 1)]), "x")), Some(1));
}

#[test]
fn what_several_ways_lead_to_gets_one_copy() {
    for stored in [true, false] {
        let server = RedisServer::start();
        let url = format!("{}?fanout_patterns=false&fanout_stored={stored}", server.url());
        let (rig, other) = (Rig::at(&url), Rig::at(&url.replace("127.0.0.1", "localhost")));
        let channel = rig.channel();
        channel.exchange("d", ExchangeKind::Direct);
        for fanout in ["f", "g"] {
            channel.exchange(fanout, ExchangeKind::Fanout);
            lead(&channel, "d", fanout, "k");
        }
        for queue in ["both", "all"] {
            channel.queue(queue);
            channel.bind(queue, "f", "");
        }
        channel.bind("all", "d", "k");
        if stored {
            // Who only listens cannot be told from whom it has heard a message before.
            channel.bind("both", "g", "");
            channel.bind("all", "g", "");
        }
        let inboxes = ["both", "all"].map(|queue| channel.consume(queue));
        let publisher = other.channel();
        for number in 0..3 {
            assert!(publisher.publish("d", "k", number.to_string()) >= Some(2));
        }
        publisher.publish("d", "elsewhere", "nobody's");
        publisher.publish("f", "", "last");
        for inbox in &inboxes {
            let taken = inbox.take(4);
            // What is heard and what is taken off a list come by different sockets.
            let mut came = bodies(&taken);
            came.sort_unstable();
            assert_eq!(came, ["0", "1", "2", "last"], "stored: {stored}");
            taken.iter().for_each(|delivery| channel.ack(delivery.tag).unwrap());
        }
    }
}
