//! Task messages, remote control and events as Celery 5.7 published them are delivered as what they are.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::tagged::to_tagged;
use common::{Incoming, RedisServer, eventually, fixture};
use kombu::{AcceptList, Connection, Exchange, Message, Queue, Value};
use kombu_brokers::PATIENCE;
use serde_json::{Value as JsonValue, json};

fn connect(server: &RedisServer) -> Connection {
    let accept = AcceptList::new(["json", "yaml"]).unwrap();
    Connection::builder(&server.url()).accept(accept).build().unwrap()
}

/// What Kombu's JSON reader makes of this, in the form of the reports.
fn as_read(value: &JsonValue) -> JsonValue {
    to_tagged(&kombu::serialization::json::read(value.to_string().as_bytes()).unwrap())
}

fn assert_envelope(message: &Message, raw: &str, name: &str) {
    let envelope = fixture::envelope(raw);
    let properties = &envelope["properties"];
    let headers = kombu::serialization::json::read(envelope["headers"].to_string().as_bytes()).unwrap();
    assert_eq!(Value::Map(message.headers().table().clone()), headers, "{name}");
    assert_eq!(message.content_type(), envelope["content-type"], "{name}");
    assert_eq!(message.exchange().as_str(), properties["delivery_info"]["exchange"], "{name}");
    assert_eq!(message.routing_key().as_str(), properties["delivery_info"]["routing_key"], "{name}");
    assert_eq!(message.properties().correlation_id(), properties["correlation_id"].as_str(), "{name}");
    assert_eq!(message.properties().reply_to(), properties["reply_to"].as_str(), "{name}");
    assert_eq!(json!(message.properties().delivery_mode.number()), properties["delivery_mode"], "{name}");
    let expiration = message.properties().expiration().map(|expiration| expiration.as_millis().to_string());
    assert_eq!(expiration.as_deref(), properties["expiration"].as_str(), "{name}");
}

#[test]
fn recorded_tasks_are_delivered() {
    let server = RedisServer::start();
    let connection = connect(&server);
    for entry in fixture::entries("celery-redis") {
        let name = entry["name"].as_str().unwrap();
        let (key, raw) = (entry["redis_key"].as_str().unwrap(), entry["raw"].as_str().unwrap());
        server.command(&["LPUSH", key, raw]);
        let incoming = Incoming::start(&connection, &Queue::new(key.split('\u{6}').next().unwrap()));
        let message = incoming.next();
        assert_envelope(&message, raw, name);
        let payload = to_tagged(&message.payload().unwrap());
        // YAML was recorded as bytes only.
        if let Some(body) = entry.get("body_json") {
            assert_eq!(payload, as_read(body), "{name}");
        }
        // Protocol 2 names the task in a header, protocol 1 in the body.
        let task = message.headers().get("task").map_or_else(|| payload["task"].clone(), to_tagged);
        assert!(task.as_str().unwrap().starts_with("proj."), "{name}: {task}");
        message.ack().wait().unwrap();
        incoming.cancel();
    }
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked", "celery"]).int() == 0));
}

/// Publishes the recorded payloads on their channels, as Celery does, and compares what a Rust subscriber gets.
fn assert_broadcast(server: &RedisServer, recorded: &[JsonValue], name: &str) {
    let connection = connect(server);
    for published in recorded {
        let (channel, raw) = (published["channel"].as_str().unwrap(), published["payload"].as_str().unwrap());
        let info = &fixture::envelope(raw)["properties"]["delivery_info"];
        let exchange = Exchange::fanout(info["exchange"].as_str().unwrap());
        let key = info["routing_key"].as_str().unwrap();
        let queue = Queue::new("listener").bind(&exchange, key).auto_delete();
        let incoming = Incoming::start(&connection, &queue);
        assert_eq!(
            server.command(&["PUBLISH", channel, raw]).int(),
            1,
            "{name}: who consumes has subscribed to {channel}"
        );
        let message = incoming.next();
        assert_envelope(&message, raw, name);
        assert_eq!(to_tagged(&message.payload().unwrap()), as_read(&published["body_json"]), "{name}");
        message.ack().wait().unwrap();
        incoming.cancel();
    }
}

#[test]
fn recorded_remote_control_and_events_are_delivered() {
    let server = RedisServer::start();
    for entry in fixture::entries("celery-control-redis") {
        assert_broadcast(&server, entry["published"].as_array().unwrap(), entry["name"].as_str().unwrap());
    }
}

#[test]
fn recorded_mailbox_requests_and_replies_are_delivered() {
    let server = RedisServer::start();
    let connection = connect(&server);
    for entry in fixture::entries("pidbox-redis") {
        let name = entry["name"].as_str().unwrap();
        assert_broadcast(&server, entry["request"].as_array().unwrap(), name);
        for reply in entry["replies"].as_array().unwrap() {
            let (key, raw) = (reply["key"].as_str().unwrap(), reply["raw"].as_str().unwrap());
            server.command(&["LPUSH", key, raw]);
            let message = Queue::new(key).get(&connection).wait().unwrap().unwrap();
            assert_envelope(&message, raw, name);
            assert_eq!(to_tagged(&message.payload().unwrap()), as_read(&reply["body_json"]), "{name}");
            message.ack().wait().unwrap();
        }
    }
}
