//! The Python end by itself: Python Kombu at both ends, so that a failure elsewhere is not its fault.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::time::Duration;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_interop::Peer;
use serde_json::{Value, json};

#[test]
fn every_kind_of_body_goes_from_python_to_python() {
    let server = RedisServer::start();
    let (mut left, mut right) = (Peer::connect(&server.url()), Peer::connect(&server.url()));
    let typed = json!({
        "datetime": {"$type": "datetime", "$value": "2026-01-02T03:04:05.000006+00:00"},
        "date": {"$type": "date", "$value": "2026-01-02"},
        "time": {"$type": "time", "$value": "03:04:05"},
        "Decimal": {"$type": "Decimal", "$value": "1.50"},
        "UUID": {"$type": "UUID", "$value": "12345678-1234-5678-1234-567812345678"},
        "bytes": {"$type": "bytes", "$value": "/wA="},
        "big": {"$type": "int", "$value": "123456789012345678901234567890"},
        "inf": {"$type": "float", "$value": "inf"},
        "lone": {"$type": "surrogates", "$value": "7aCA"},
        "plain": [1, -2.5, true, null, "grüße 🎉", {"a": {}}],
    });
    let plain = json!({"n": 1, "text": "grüße", "list": [null, true]});
    let cases = [
        (json!({"kind": "text", "value": "grüße"}), json!({})),
        (json!({"kind": "bytes", "value": "AAEC/w=="}), json!({})),
        (json!({"kind": "json", "value": typed}), json!({"serializer": "json"})),
        (json!({"kind": "json", "value": plain}), json!({"serializer": "yaml", "compression": "bzip2"})),
        (json!({"kind": "json", "value": plain}), json!({"serializer": "msgpack", "compression": "zstd"})),
        (json!({"kind": "json", "value": plain}), json!({"serializer": "pickle", "compression": "brotli"})),
        (json!({"kind": "json", "value": plain}), json!({"serializer": "json", "compression": "gzip"})),
        (json!({"kind": "json", "value": plain}), json!({"serializer": "json", "compression": "lzma"})),
    ];
    for (body, options) in &cases {
        left.ask(json!({"do": "publish", "routing_key": "q", "body": body, "options": options}));
    }
    let answer = right.ask(json!({"do": "consume", "queue": "q", "count": cases.len()}));
    let messages = answer["messages"].as_array().unwrap();
    assert_eq!(messages.len(), cases.len());
    for (message, (body, options)) in messages.iter().zip(&cases) {
        assert_eq!(&message["body"], body, "{options}");
        assert_eq!(message["redelivered"], false);
    }
    assert_eq!(server.keys(), [] as [&str; 0], "everything is acknowledged");
}

#[test]
fn options_headers_and_properties_arrive() {
    let server = RedisServer::start();
    let mut peer = Peer::connect(&server.url());
    peer.ask(json!({"do": "declare", "exchange": {"name": "ex", "type": "topic"},
        "queue": {"name": "q", "bindings": [{"exchange": "ex", "routing_key": "a.*"}]}}));
    let options = json!({
        "headers": {"h": [1, {"$type": "bytes", "$value": "/w=="}]}, "priority": 7, "expiration": 5.5,
        "correlation_id": "c", "reply_to": "r", "message_id": "m", "delivery_mode": 1, "content_type": "image/png",
        "content_encoding": "binary",
    });
    let body = json!({"kind": "bytes", "value": "AAEC/w=="});
    peer.ask(json!({"do": "publish", "exchange": "ex", "routing_key": "a.b", "body": body, "options": options}));
    let message = peer.ask(json!({"do": "get", "queue": "q"}))["message"].take();
    assert_eq!((&message["body"], &message["raw"]), (&body, &body["value"]));
    assert_eq!(message["headers"], options["headers"]);
    assert_eq!((&message["content_type"], &message["content_encoding"]), (&json!("image/png"), &json!("binary")));
    assert_eq!(message["delivery_info"], json!({"exchange": "ex", "routing_key": "a.b"}));
    let expected = [
        ("priority", json!(7)),
        ("expiration", json!("5500")),
        ("correlation_id", json!("c")),
        ("reply_to", json!("r")),
        ("message_id", json!("m")),
        ("delivery_mode", json!(1)),
    ];
    for (name, value) in expected {
        assert_eq!(message["properties"][name], value, "{name}");
    }
    assert_eq!(peer.ask(json!({"do": "get", "queue": "q"}))["message"], Value::Null);
}

#[test]
fn each_message_is_settled_as_asked() {
    let server = RedisServer::start();
    let mut peer = Peer::connect(&server.url());
    publish(&mut peer, 4);
    let settle = ["ack", "reject", "requeue", "leave"];
    let first = json!({"do": "consume", "queue": "q", "count": 4, "settle": settle, "channel": "c", "prefetch": 10});
    let answer = peer.ask(first);
    assert_eq!(ids(&answer), [0, 1, 2, 3]);
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 1);
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);

    let tag = &answer["messages"][3]["delivery_tag"];
    peer.ask(json!({"do": "settle", "channel": "c", "delivery_tag": tag, "how": "requeue"}));
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
    let again = json!({"do": "consume", "channel": "c", "count": 2, "settle": "leave"});
    let answer = peer.ask(again);
    assert_eq!(HashSet::from_iter(ids(&answer)), HashSet::from([2, 3]));
    assert!(answer["messages"].as_array().unwrap().iter().all(|message| message["redelivered"] == true));
    peer.ask(json!({"do": "close_channel", "channel": "c"}));
    assert_eq!(server.command(&["LLEN", "q"]).int(), 2, "closing gives back what was left");

    assert_eq!(ids(&peer.ask(json!({"do": "consume", "queue": "q", "count": 2, "settle": "leave"}))).len(), 2);
    assert_eq!(server.command(&["LLEN", "q"]).int(), 2, "so does a consume without a channel of its own");
    assert_eq!(peer.ask(json!({"do": "size", "queue": "q"}))["messages"], 2);
    assert_eq!(peer.ask(json!({"do": "purge", "queue": "q"}))["purged"], 2);
}

#[test]
fn consume_ends_with_its_patience_and_prefetch_holds() {
    let server = RedisServer::start();
    let mut peer = Peer::connect(&server.url());
    publish(&mut peer, 5);
    peer.ask(json!({"do": "subscribe", "queue": "q", "prefetch": 2, "channel": "c"}));
    let answer = peer.ask(json!({"do": "consume", "channel": "c", "count": 2, "settle": "leave"}));
    assert_eq!(ids(&answer), [0, 1]);
    let answer = peer.ask(json!({"do": "consume", "channel": "c", "patience": 0.3}));
    assert_eq!(ids(&answer), [] as [i64; 0], "the window is full");
    peer.ask(json!({"do": "close_channel", "channel": "c"}));
    let answer = peer.ask(json!({"do": "consume", "queue": "q", "count": 5, "no_ack": true}));
    assert_eq!(ids(&answer).len(), 5);
    assert_eq!(server.keys(), [] as [&str; 0]);
}

#[test]
fn fanout_reaches_every_subscriber() {
    let server = RedisServer::start();
    let (mut left, mut right) = (Peer::connect(&server.url()), Peer::connect(&server.url()));
    for (peer, queue) in [(&mut left, "l"), (&mut right, "r")] {
        let exchange = json!({"name": "news", "type": "fanout"});
        peer.ask(json!({"do": "declare", "exchange": exchange, "queue": {"name": queue, "auto_delete": true}}));
        peer.ask(json!({"do": "subscribe", "queue": queue, "channel": "f"}));
    }
    let body = json!({"kind": "text", "value": "hello"});
    left.ask(json!({"do": "publish", "exchange": "news", "body": body}));
    for peer in [&mut left, &mut right] {
        let answer = peer.ask(json!({"do": "consume", "channel": "f"}));
        assert_eq!(answer["messages"][0]["body"], body);
    }
}

#[test]
fn a_killed_peers_messages_stay_until_the_sweep() {
    let server = RedisServer::start();
    let (mut victim, mut other) = (Peer::connect(&server.url()), Peer::connect(&server.url()));
    let exchange = json!({"name": "ex", "type": "direct"});
    let queue = json!({"name": "q", "routing_key": "k"});
    for peer in [&mut victim, &mut other] {
        peer.ask(json!({"do": "declare", "exchange": exchange, "queue": queue}));
    }
    let body = json!({"kind": "text", "value": "x"});
    other.ask(json!({"do": "publish", "exchange": "ex", "routing_key": "k", "body": body, "count": 3}));
    victim.ask(json!({"do": "consume", "queue": "q", "count": 3, "settle": "leave", "channel": "c"}));
    victim.kill();
    assert_eq!(server.command(&["ZCARD", "unacked_index"]).int(), 3);
    assert_eq!(other.ask(json!({"do": "sweep", "visibility_timeout": 3600}))["left"], 3);
    assert_eq!(other.ask(json!({"do": "sweep", "visibility_timeout": 0, "fresh": true}))["left"], 0);
    let answer = other.ask(json!({"do": "consume", "queue": "q", "count": 3}));
    assert!(answer["messages"].as_array().unwrap().iter().all(|message| message["redelivered"] == true));
}

#[test]
fn stress_consume_reports_every_message_and_stops() {
    let server = RedisServer::start();
    let (mut consumer, mut publisher) = (Peer::connect(&server.url()), Peer::connect(&server.url()));
    consumer.send(&json!({"do": "stress_consume", "queue": "q", "id": 7}));
    assert_eq!(consumer.recv()["event"], "consuming");
    publish(&mut publisher, 300);
    assert!(eventually(PATIENCE, || server.keys().iter().all(|key| key != "q" && key != "unacked")));
    let said = consumer.stop();
    let of = |event: &str| -> Vec<i64> {
        said.iter().filter(|line| line["event"] == event).map(|line| line["id"].as_i64().unwrap()).collect()
    };
    let all: Vec<i64> = (0..300).collect();
    assert_eq!((of("received"), of("settled")), (all.clone(), all));
    assert_eq!(*said.last().unwrap(), json!({"ok": true, "id": 7, "received": 300, "stopped": true}));
    assert_eq!(consumer.ask(json!({"do": "versions"}))["kombu"].as_str().map(|text| &text[..3]), Some("5.7"));
}

#[test]
fn errors_are_answers() {
    let mut peer = Peer::start();
    let error = peer.ask_error(json!({"do": "get", "queue": "q"}));
    assert!(error["message"].as_str().unwrap().contains("not connected"), "{error}");
    assert!(peer.ask_error(json!({"do": "dance"}))["message"].as_str().unwrap().contains("no request is called dance"));
    assert!(peer.ask_error(json!({"do": "_lane"}))["message"].as_str().unwrap().contains("no request is called _lane"));
    peer.process().send_line("no JSON");
    assert_eq!(peer.recv()["error"]["type"], "json.decoder.JSONDecodeError");
    assert_eq!(peer.ask_error(json!({"do": "get", "nonsense": 1}))["type"], "builtins.TypeError");
    let unreachable = json!({"do": "connect", "url": format!("redis://127.0.0.1:{}/0", kombu_brokers::free_port())});
    assert_eq!(peer.ask_error(unreachable)["type"], "kombu.exceptions.OperationalError");
    let server = RedisServer::start();
    peer.ask(json!({"do": "connect", "url": server.url()}));
    let body = json!({"kind": "json", "value": {"$type": "set", "$value": [1]}});
    assert_eq!(
        peer.ask_error(json!({"do": "publish", "routing_key": "q", "body": body}))["type"],
        "kombu.exceptions.EncodeError"
    );
    // A body that cannot be read is reported with its reason, and settled like any other.
    let options = json!({"content_type": "application/json", "content_encoding": "utf-8"});
    let broken = json!({"kind": "bytes", "value": "ew=="});
    peer.ask(json!({"do": "publish", "routing_key": "q", "body": broken, "options": options}));
    let message = peer.ask(json!({"do": "consume", "queue": "q"}))["messages"][0].take();
    assert_eq!((&message["body"], &message["raw"]), (&Value::Null, &json!("ew==")));
    assert_eq!(message["decode_error"]["type"], "kombu.exceptions.DecodeError");
}

#[test]
fn a_request_that_hangs_is_answered_and_ends_the_peer() {
    let server = RedisServer::start();
    let mut peer = Peer::connect(&server.url());
    server.pause();
    let answer = peer.ask_error(json!({"do": "publish", "routing_key": "q", "deadline": 0.2,
        "body": {"kind": "text", "value": "x"}}));
    assert_eq!(answer["type"], "Deadline");
    assert!(answer["traceback"].as_str().unwrap().contains("basic_publish"), "{answer}");
    assert_eq!(peer.process().wait(PATIENCE).code(), Some(4));
}

#[test]
fn the_peer_ends_with_its_input() {
    let mut peer = Peer::start();
    peer.process().close_stdin();
    assert!(peer.process().wait(PATIENCE).success());
}

#[test]
fn a_batch_is_published_whole() {
    let server = RedisServer::start();
    let mut peer = Peer::connect(&server.url());
    let body = json!({"kind": "text", "value": "x"});
    peer.ask(json!({"do": "publish", "routing_key": "q", "body": body, "count": 25, "batch": 10, "numbered": true}));
    assert!(eventually(Duration::ZERO, || server.command(&["LLEN", "q"]).int() == 25));
}

fn publish(peer: &mut Peer, count: usize) {
    let body = json!({"kind": "text", "value": "x"});
    peer.ask(json!({"do": "publish", "routing_key": "q", "body": body, "count": count, "numbered": true}));
}

fn ids(answer: &Value) -> Vec<i64> {
    let messages = answer["messages"].as_array().unwrap();
    messages.iter().map(|message| message["headers"]["id"].as_i64().unwrap()).collect()
}
