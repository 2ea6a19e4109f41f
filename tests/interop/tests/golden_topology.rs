//! Bindings and broadcast channels are written and read as Kombu 5.7 does, and what one end undoes is undone for the other.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{Ends, Incoming, PATIENCE, Python, RedisServer, Rust, SEP, eventually, fixture, length, members};
use kombu::{Connection, Exchange, Queue};
use serde_json::{Value as JsonValue, json};

/// Declares what the recorded Kombu did.
fn declare_as_recorded(connection: &Connection) {
    let (direct, topic, fanout) = (Exchange::direct("dx"), Exchange::topic("tx"), Exchange::fanout("fx"));
    let expiring = Queue::new("eq").expires(Duration::from_secs(7200));
    for queue in [
        Queue::new("dq").bind(&direct, "rk"),
        Queue::new("dq2").bind(&direct, ""),
        Queue::new("tq").bind(&topic, "a.*.c"),
        Queue::new("tq2").bind(&topic, "#"),
        Queue::new("tq3").bind(&topic, "a-b_c.#"),
        Queue::new("fq").bind(&fanout, ""),
        Queue::new("fq2").bind(&fanout, "a.#"),
        expiring.bind(&direct, "exp"),
    ] {
        queue.declare(connection).wait().unwrap();
    }
}

/// Every key of the database is the recorded one, but for points in time.
fn assert_keys(server: &RedisServer, recorded: &JsonValue) {
    let recorded = recorded["keys"].as_object().unwrap();
    let ours: HashSet<String> = server.keys().into_iter().filter(|key| !key.contains("_kombu.rs.")).collect();
    assert_eq!(ours, recorded.keys().cloned().collect());
    for (key, stored) in recorded {
        let values = stored["value"].as_array().unwrap().iter();
        if stored["type"] == "set" {
            assert_eq!(
                members(server, key),
                values.map(|member| member.as_str().unwrap().to_owned()).collect(),
                "{key}"
            );
        } else {
            let names: Vec<&str> = values.map(|pair| pair[0].as_str().unwrap()).collect();
            assert_eq!(server.command(&["ZRANGE", key, "0", "-1"]).texts(), names, "{key}");
        }
    }
}

#[test]
fn bindings_are_stored_as_recorded() {
    let server = RedisServer::start();
    let connection = Connection::new(&server.url()).unwrap();
    declare_as_recorded(&connection);
    assert_keys(&server, &fixture::entries("redis-bindings")[0]);
    // Twice the expiry of the queue, and at least an hour, from now on: in milliseconds of the server's clock.
    let deadline: f64 = server.command(&["ZSCORE", "_kombu.binding_deadlines", "dx"]).text().parse().unwrap();
    let now: f64 = server.command(&["TIME"]).texts()[0].parse().unwrap();
    let left = deadline / 1000.0 - now;
    assert!((14_000.0..=14_401.0).contains(&left), "{left} s");

    // It would make its bindings again on a server that has lost them.
    connection.close().wait().unwrap();
    server.flushall();
    let options = &fixture::entries("redis-bindings")[1];
    let connection = Connection::builder(&server.url())
        .transport_option("global_keyprefix", "pfx:")
        .transport_option("sep", "|")
        .build()
        .unwrap();
    let direct = Exchange::direct("dx");
    Queue::new("dq").bind(&direct, "k").declare(&connection).wait().unwrap();
    Queue::new("eq").expires(Duration::from_secs(10)).bind(&direct, "k").declare(&connection).wait().unwrap();
    assert_keys(&server, options);
}

#[test]
fn recorded_bindings_route() {
    let server = RedisServer::start();
    for (key, stored) in fixture::entries("redis-bindings")[0]["keys"].as_object().unwrap() {
        for member in stored["value"].as_array().unwrap().iter().filter(|_| stored["type"] == "set") {
            server.command(&["SADD", key, member.as_str().unwrap()]);
        }
    }
    // Bound by nobody in this process.
    let connection = Connection::new(&server.url()).unwrap();
    let (direct, topic) = (Exchange::direct("dx"), Exchange::topic("tx"));
    let producer = connection.producer();
    let queues = |exchange: &Exchange, key: &str| {
        producer.publish("x").exchange(exchange).routing_key(key).wait().unwrap().queues
    };
    assert_eq!([queues(&direct, "rk"), queues(&direct, ""), queues(&direct, "exp")], [Some(1); 3]);
    assert_eq!(queues(&topic, "a.b.c"), Some(2));
    assert_eq!(queues(&topic, "a-b_c.d"), Some(2));
    let lengths = ["dq", "dq2", "eq", "tq", "tq2", "tq3"].map(|queue| length(&server, queue));
    assert_eq!(lengths, [1, 1, 1, 1, 2, 1]);
}

#[test]
fn broadcasts_use_the_recorded_channels() {
    for entry in fixture::entries("redis-fanout") {
        let name = entry["name"].as_str().unwrap();
        let server = RedisServer::start();
        let url = format!("redis://{}/{}", server.addr(), entry["db"]);
        let mut builder = Connection::builder(&url);
        for (option, value) in entry["transport_options"].as_object().unwrap() {
            builder = builder.transport_option(option.as_str(), common::tagged::from_tagged(value));
        }
        let connection = builder.build().unwrap();
        let exchange = Exchange::fanout("fx");
        let queue = Queue::new("fq").bind(&exchange, entry["binding_key"].as_str().unwrap());
        let incoming = Incoming::start(&connection, &queue);

        // What Kombu sent, to whoever Kombu delivered it.
        let (channel, payload) = (entry["channel"].as_str().unwrap(), entry["payload"].as_str().unwrap());
        let reached = server.command(&["PUBLISH", channel, payload]).int();
        assert_eq!(reached, i64::from(entry["delivered"] == true), "{name}");
        let body = fixture::envelope(payload)["body"].as_str().unwrap().to_owned();
        if entry["delivered"] == true {
            let message = incoming.next();
            assert_eq!(common::tagged::base64(message.body()), body, "{name}");
            message.ack().wait().unwrap();
        }

        // And Rust sends the same, on the same channel.
        let mut subscriber = server.client();
        assert_eq!(subscriber.command(&["SUBSCRIBE", channel]).items().len(), 3);
        let value = kombu::serialization::json::read(&common::tagged::from_base64(&body)).unwrap();
        let key = entry["publish_routing_key"].as_str().unwrap();
        connection.producer().publish(value).exchange(&exchange).routing_key(key).wait().unwrap();
        let pushed = subscriber.recv().unwrap();
        assert_eq!(pushed.items()[1].text(), channel, "{name}");
        let mut written = fixture::envelope(pushed.items()[2].text());
        let mut recorded = fixture::envelope(payload);
        for envelope in [&mut written, &mut recorded] {
            envelope["properties"]["delivery_tag"].take();
        }
        assert_eq!(written, recorded, "{name}");
    }
}

#[test]
fn bindings_of_expiring_queues_are_seen_by_both() {
    let mut ends = Ends::new();
    ends.declare_on_both(json!({"exchange": {"name": "ex", "type": "direct"}}));
    let bindings = json!([{"exchange": "ex", "routing_key": "k"}]);
    ends.declare(Rust, json!({"queue": {"name": "rs", "expires": 600.0, "bindings": bindings}}));
    ends.declare(Python, json!({"queue": {"name": "py", "expires": 600.0, "bindings": bindings}}));
    assert_eq!(ends.server.command(&["EXISTS", "_kombu.binding_permanent.ex"]).int(), 0);
    for from in [Python, Rust] {
        ends.publish_text(from, "ex", "k", &format!("{from:?}"));
    }
    // Kombu lets the list of a queue it knows to expire go with its messages; so does Rust.
    for (queue, publisher) in [("rs", "Rust"), ("py", "Python")] {
        let left = ends.server.command(&["PTTL", queue]).int();
        assert!((1..=600_000).contains(&left), "{queue}, which {publisher} declared, expires in {left} ms");
    }
    assert_eq!(ends.receive_texts(Python, "rs", 2), ["Python", "Rust"]);
    assert_eq!(ends.receive_texts(Rust, "py", 2), ["Python", "Rust"]);
    ends.assert_nothing_left();
}

#[test]
fn what_one_end_undoes_is_undone_for_the_other() {
    let mut ends = Ends::new();
    let bindings = json!([{"exchange": "ex", "routing_key": "k"}, {"exchange": "ex", "routing_key": "k2"}]);
    for queue in ["rs", "py", "both"] {
        ends.declare_on_both(json!({"exchange": {"name": "ex", "type": "topic"}}));
        ends.declare_on_both(json!({"queue": {"name": queue, "bindings": bindings}}));
    }
    let table = |ends: &Ends| members(&ends.server, "_kombu.binding.ex");
    assert_eq!(table(&ends).len(), 6);

    let exchange = ends.rust.exchange("ex");
    ends.rust.queue("rs").unbind(&ends.rust.connection, &exchange, "k").wait().unwrap();
    assert!(!table(&ends).contains(&format!("k{SEP}^k${SEP}rs")));
    ends.publish_text(Python, "ex", "k", "x");
    assert_eq!(["rs", "py", "both"].map(|queue| length(&ends.server, queue)), [0, 1, 1]);

    // A deleted queue is unbound and empty, whoever deletes it.
    ends.python.ask(json!({"do": "delete", "queue": "py"}));
    ends.rust.queue("both").delete(&ends.rust.connection).wait().unwrap();
    assert_eq!(table(&ends), HashSet::from([format!("k2{SEP}^k2${SEP}rs")]));
    for from in [Python, Rust] {
        ends.publish_text(from, "ex", "k", "gone");
        ends.publish_text(from, "ex", "k2", "x");
    }
    assert_eq!(["rs", "py", "both"].map(|queue| length(&ends.server, queue)), [2, 0, 0]);

    // An exchange of Rust's is deleted with its table; Python then routes nothing.
    exchange.delete(&ends.rust.connection).wait().unwrap();
    assert!(table(&ends).is_empty());
    ends.publish_text(Python, "ex", "k2", "gone");
    assert_eq!(length(&ends.server, "rs"), 2);
    // Purging is told in numbers by both.
    assert_eq!(ends.python.ask(json!({"do": "purge", "queue": "rs"}))["purged"], 2);
}

#[test]
fn either_end_binds_while_the_other_publishes() {
    let mut ends = Ends::new();
    ends.declare_on_both(json!({"exchange": {"name": "ex", "type": "topic"}}));
    for (number, binder) in [Python, Rust, Python, Rust].into_iter().enumerate() {
        let queue = format!("q{number}");
        let bindings = json!([{"exchange": "ex", "routing_key": format!("k{number}.#")}]);
        ends.declare(binder, json!({"queue": {"name": queue, "bindings": bindings}}));
        for from in [Python, Rust] {
            // What was bound before the publish is routed to, at once.
            ends.publish_text(from, "ex", &format!("k{number}.x"), "x");
        }
        assert_eq!(length(&ends.server, &queue), 2, "{binder:?} bound {queue}");
    }
    assert!(eventually(PATIENCE, || (0..4).all(|number| length(&ends.server, &format!("q{number}")) == 2)));
}
