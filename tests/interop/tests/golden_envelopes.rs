//! What Kombu and Celery 5.7 wrote is delivered as they meant it, and what Rust writes for the same call is the same JSON.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::tagged::{base64, from_tagged};
use common::{Incoming, RedisServer, SEP, eventually, fixture, length, rust_end};
use kombu::serialization::{Body, encode};
use kombu::{AcceptList, Connection, DeliveryMode, Exchange, Message, Publish, Queue, Value};
use kombu_brokers::PATIENCE;
use serde_json::{Value as JsonValue, json};

/// A connection with the transport options of a recorded entry.
fn connection(server: &RedisServer, entry: &JsonValue) -> Connection {
    let accept = AcceptList::new(["json", "yaml", "msgpack", "text/plain", "application/data"]).unwrap();
    let mut builder = Connection::builder(&server.url());
    // The default admits every type without a decoder, such as `text/x-foo`; a list of one's own admits yaml and msgpack.
    if entry["raw"].as_str().is_some_and(|raw| raw.contains("yaml") || raw.contains("msgpack")) {
        builder = builder.accept(accept);
    }
    for (name, value) in entry["transport_options"].as_object().into_iter().flatten() {
        builder = builder.transport_option(name.as_str(), from_tagged(value));
    }
    builder.build().unwrap()
}

/// Puts a recorded envelope into its list and returns it as Rust delivers it.
fn delivered(server: &RedisServer, entry: &JsonValue) -> (Message, Connection) {
    let (key, raw) = (entry["redis_key"].as_str().unwrap(), entry["raw"].as_str().unwrap());
    let connection = connection(server, entry);
    server.command(&["LPUSH", key, raw]);
    let queue = key.trim_start_matches("pfx:").split([':', '\u{6}']).next().unwrap();
    let message = Incoming::start(&connection, &Queue::new(queue)).next();
    assert_eq!(message.queue(), queue);
    (message, connection)
}

/// Everything the message says is what the envelope says.
fn assert_says(message: &Message, raw: &str, name: &str) {
    let envelope = fixture::envelope(raw);
    let (properties, info) = (&envelope["properties"], &envelope["properties"]["delivery_info"]);
    let report = rust_end::report(message);
    assert_eq!(report["content_type"], envelope["content-type"], "{name}");
    assert_eq!(report["content_encoding"], envelope["content-encoding"], "{name}");
    assert_eq!(report["delivery_info"]["exchange"], info["exchange"], "{name}");
    assert_eq!(report["delivery_info"]["routing_key"], info["routing_key"], "{name}");
    let redelivered = envelope["redelivered"] == true || info["redelivered"] == true;
    assert_eq!(message.redelivered(), redelivered, "{name}");
    let expected = properties
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| !["delivery_info", "delivery_tag", "body_encoding"].contains(&name.as_str()));
    for (property, value) in expected {
        assert_eq!(&report["properties"][property], value, "{property} of {name}");
    }
    // Headers are compared as JSON text would be read: every one of Kombu's typed values has a type of its own.
    let headers: Value = kombu::serialization::json::read(envelope["headers"].to_string().as_bytes()).unwrap();
    assert_eq!(Value::Map(message.headers().table().clone()), headers, "{name}");
}

#[test]
fn recorded_envelopes_are_delivered_as_kombu_meant_them() {
    let server = RedisServer::start();
    for entry in fixture::entries("redis-envelopes") {
        let name = entry["name"].as_str().unwrap();
        let (message, connection) = delivered(&server, &entry);
        assert_says(&message, entry["raw"].as_str().unwrap(), name);
        let report = rust_end::report(&message);
        let bytes: String = entry["decompressed_body_hex"].as_str().unwrap().to_owned();
        assert_eq!(report["raw"], base64(&from_hex(&bytes)), "{name}");
        match (entry["payload_kind"].as_str().unwrap(), entry.get("payload")) {
            // Reading it would run the sender's code.
            _ if name == "pickle" => assert!(report["decode_error"].is_string()),
            ("str", Some(text)) => assert_eq!(report["body"]["value"], *text, "{name}"),
            ("bytes", None) => assert_eq!(report["body"], json!({"kind": "bytes", "value": report["raw"]}), "{name}"),
            (_, Some(payload)) => assert_eq!(report["body"], json!({"kind": "json", "value": payload}), "{name}"),
            // What JSON cannot show was recorded as Python's text of it.
            (_, None) => assert!(report["body"]["kind"] == "json", "{name}: {report}"),
        }
        message.ack().wait().unwrap();
        connection.close().wait().unwrap();
        assert_eq!(server.keys(), [] as [&str; 0], "after {name}");
    }
}

#[test]
fn recorded_extended_types_are_delivered_as_kombu_meant_them() {
    let server = RedisServer::start();
    let entries = fixture::entries("redis-envelopes");
    let entry = entries.iter().find(|entry| entry["name"] == "json-extended-types").unwrap();
    let (message, _connection) = delivered(&server, entry);
    let report = rust_end::report(&message);
    let typed = |kind: &str, value: &str| json!({"$type": kind, "$value": value});
    let expected = json!({
        "dt": typed("datetime", "2020-01-02T03:04:05.000678"), "dtz": typed("datetime", "2020-01-02T03:04:05+00:00"),
        "d": typed("date", "2020-01-02"), "t": typed("time", "03:04:05"), "dec": typed("Decimal", "1.50"),
        "u": typed("UUID", "12345678-1234-5678-1234-567812345678"), "b": typed("bytes", "YWJj"),
        "b64": typed("bytes", "//4="),
    });
    assert_eq!(report["body"], json!({"kind": "json", "value": expected}));
    message.ack().wait().unwrap();
}

/// Every JSON text of the recorded types, in a body and in a header: read, published again, it is the same text.
#[test]
fn recorded_json_texts_pass_through_unchanged() {
    let server = RedisServer::start();
    let connection = Connection::new(&server.url()).unwrap();
    let incoming = Incoming::start(&connection, &Queue::new("in"));
    let producer = connection.producer().with_routing_key("out");
    let fixture = fixture::read("json-types");
    for entry in fixture["entries"].as_array().unwrap() {
        let text = entry["json_text"].as_str().unwrap();
        server.command(&["LPUSH", "in", &json_envelope(text)]);
        let message = incoming.next();
        let value = message.payload().unwrap();
        let header = message.headers().get("h").unwrap().clone();
        producer.publish(encode(&value, Some("json")).unwrap()).header("h", header).wait().unwrap();
        message.ack().wait().unwrap();
        let written = server.command(&["RPOP", "out"]).text().to_owned();
        assert!(written.contains(&format!("\"{}\"", base64(text.as_bytes()))), "the body of {text} in {written}");
        assert!(written.contains(&format!("\"headers\": {{\"h\": {text}}}")), "the header of {text} in {written}");
    }
    // What Kombu refuses to decode is delivered as bytes in a body, and is no message in a header.
    for odd in fixture["decode_only"].as_array().unwrap() {
        let text = odd["json_text"].as_str().unwrap();
        if text.is_empty() {
            continue;
        }
        server.command(&["LPUSH", "in", &json_envelope("null").replace("bnVsbA==", &base64(text.as_bytes()))]);
        let message = incoming.next();
        assert_eq!(message.payload().is_ok(), odd.get("error").is_none(), "{text}");
        message.ack().wait().unwrap();
        if odd.get("error").is_some() {
            server.command(&["LPUSH", "in", &json_envelope(text)]);
        }
    }
    let refused =
        fixture["decode_only"].as_array().unwrap().iter().filter(|odd| odd.get("error").is_some()).count() - 1;
    let aside = || connection.malformed("in", 100).wait().unwrap().len();
    assert!(eventually(PATIENCE, || aside() == refused), "{} of {refused}", aside());
}

fn json_envelope(text: &str) -> String {
    let body = base64(text.as_bytes());
    format!(
        "{{\"body\": \"{body}\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \"headers\": {{\"h\": \
         {text}}}, \"properties\": {{\"delivery_mode\": 2, \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"in\"}}, \
         \"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"8ba61977-80e5-4ab2-ac7e-c20559e644d2\"}}}}"
    )
}

#[test]
fn recorded_redelivered_envelopes_say_so() {
    let server = RedisServer::start();
    let plain = fixture::entries("redis-restored-plain").remove(0);
    let raw = plain["keys"]["q"]["value"][0].as_str().unwrap();
    let entry = json!({"redis_key": "q", "raw": raw});
    let (message, connection) = delivered(&server, &entry);
    assert!(message.redelivered());
    assert_eq!(message.payload().unwrap(), Value::Map([("z", 1)].into()));
    assert_says(&message, raw, "restored without emulation");
    message.ack().wait().unwrap();
    connection.close().wait().unwrap();

    // Every envelope of every stage, where the stage left it.
    for stage in fixture::entries("redis-unacked") {
        for (key, list) in stage["keys"].as_object().unwrap().iter().filter(|(_, value)| value["type"] == "list") {
            for raw in list["value"].as_array().unwrap() {
                let (message, connection) = delivered(&server, &json!({"redis_key": key, "raw": raw}));
                assert_says(&message, raw.as_str().unwrap(), key);
                message.ack().wait().unwrap();
                connection.close().wait().unwrap();
            }
        }
    }
}

/// The whole database as Kombu left it with two messages delivered and not acknowledged: Rust's sweep restores them.
#[test]
fn recorded_unacked_entries_are_restored() {
    let server = RedisServer::start();
    let stage = fixture::entries("redis-unacked").remove(1);
    for (key, stored) in stage["keys"].as_object().unwrap() {
        let value = &stored["value"];
        let text = |value: &JsonValue| value.as_str().unwrap().to_owned();
        match stored["type"].as_str().unwrap() {
            "set" => {
                value.as_array().unwrap().iter().for_each(|member| drop(server.command(&["SADD", key, &text(member)])))
            }
            "list" => {
                value.as_array().unwrap().iter().for_each(|raw| drop(server.command(&["RPUSH", key, &text(raw)])))
            }
            "hash" => {
                for (field, raw) in value.as_object().unwrap() {
                    server.command(&["HSET", key, field, &text(raw)]);
                }
            }
            // The scores as recorded may lie in the future of the clock here.
            _ => value
                .as_array()
                .unwrap()
                .iter()
                .for_each(|pair| drop(server.command(&["ZADD", key, "1000000000", &text(&pair[0])]))),
        }
    }
    let url = format!("{}?visibility_timeout=1&unacked_restore_interval=0.2&unacked_restore_throttle=1", server.url());
    let connection = Connection::new(&url).unwrap();
    let incoming = Incoming::start(&connection, &Queue::new("uq"));
    let mut arrived: Vec<(String, bool)> = incoming
        .take(3)
        .into_iter()
        .map(|message| {
            let said = (message.text().unwrap().to_owned(), message.redelivered());
            message.ack().wait().unwrap();
            said
        })
        .collect();
    arrived.sort();
    assert_eq!(arrived, [("m1".to_owned(), true), ("m2".to_owned(), true), ("m3".to_owned(), false)]);
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked", "unacked_index", "uq"]).int() == 0));
    assert_eq!(length(&server, &format!("uq{SEP}3")), 0);
}

#[test]
fn what_rust_publishes_is_what_kombu_would_have() {
    let server = RedisServer::start();
    let mut compared = 0;
    for entry in fixture::entries("redis-envelopes") {
        let name = entry["name"].as_str().unwrap();
        let connection = connection(&server, &entry);
        publish_as(&connection, name, &entry);
        let key = entry["redis_key"].as_str().unwrap();
        let written = server.command(&["RPOP", key]);
        assert!(!written.is_nil(), "{name} is not in `{key}`: {:?}", server.keys());
        let mut written = fixture::envelope(written.text());
        let mut recorded = fixture::envelope(entry["raw"].as_str().unwrap());
        for envelope in [&mut written, &mut recorded] {
            let tag = envelope["properties"]["delivery_tag"].take();
            assert_eq!(tag.as_str().unwrap().len(), 36, "a UUID as text");
        }
        if name.starts_with("compressed") {
            // Two programs may compress to different bytes; what is inside is compared by the exchange of bodies.
            written["body"].take();
            recorded["body"].take();
        }
        if let Some(stamp) = written.as_object_mut().unwrap().remove("expires_at") {
            // Beside what Kombu writes, and unread there: the time at which ours lets the message expire.
            assert!(recorded["properties"]["expiration"].is_string() && stamp.is_u64(), "{name}: {stamp}");
        }
        assert_eq!(written, recorded, "{name}");
        compared += 1;
        server.flushall();
    }
    assert_eq!(compared, 38);
}

/// Publishes what Python's call of this name did.
fn publish_as(connection: &Connection, name: &str, entry: &JsonValue) {
    let plain = json!({"a": [1, 2.5, null, true, "é"], "b": {"c": "d"}});
    let typed = |kind: &str, value: &str| json!({"$type": kind, "$value": value});
    let (body, serializer) = match name {
        "json-dict" => (plain, Some("json")),
        "yaml" => (plain, Some("yaml")),
        "msgpack" => {
            (json!({"a": [1, 2.5, null, true, "é"], "b": {"c": "d"}, "bin": typed("bytes", "AP8=")}), Some("msgpack"))
        }
        "json-string-forced" => (json!("héllo"), Some("json")),
        "json-null" => (json!(null), None),
        "json-number" => (json!(42), None),
        "text" | "body-encoding-utf8-text" => (json!("héllo"), None),
        "text-empty" => (json!(""), None),
        "binary" => (typed("bytes", "AP8Q"), None),
        "body-encoding-utf8-binary" => (typed("bytes", "AP8="), None),
        "raw-text" => (json!("héllo"), Some("raw")),
        "raw-binary" => (typed("bytes", "AP8="), Some("raw")),
        "body-encoding-utf8-json" => (json!({"a": "é"}), None),
        "json-extended-types" => {
            let fields = [
                ("dt", typed("datetime", "2020-01-02T03:04:05.000678")),
                ("dtz", typed("datetime", "2020-01-02T03:04:05+00:00")),
                ("d", typed("date", "2020-01-02")),
                ("t", typed("time", "03:04:05")),
                ("dec", typed("Decimal", "1.50")),
                ("u", typed("UUID", "12345678-1234-5678-1234-567812345678")),
                ("b", typed("bytes", "YWJj")),
                ("b64", typed("bytes", "//4=")),
            ];
            let table = fields.iter().map(|(name, value)| (*name, from_tagged(value))).collect();
            return send(connection.producer().publish(Value::Map(table)).routing_key("q"));
        }
        "compressed-text-gzip" => (json!("text"), None),
        _ if name.starts_with("compressed") => (json!({"k": "x".repeat(64)}), None),
        "direct-exchange" | "topic-exchange" => (json!({"a": 1}), None),
        "headers" => (json!("h"), None),
        "expiration" => (json!("e"), None),
        "transient" => (json!("t"), None),
        "custom-content-type" => {
            let body = Body::from_text("text/x-foo", "latin-1", "stré").unwrap();
            return send(connection.producer().publish(body).routing_key("q"));
        }
        "custom-content-type-bytes" => {
            let body = Body::new("application/x-foo", "binary", &b"abc"[..]);
            return send(connection.producer().publish(body).routing_key("q"));
        }
        // Only Python writes pickle; bytes of that type pass all the same.
        "pickle" => {
            let bytes = from_hex(entry["body_hex"].as_str().unwrap());
            let body = Body::new("application/x-python-serialize", "binary", bytes);
            return send(connection.producer().publish(body).routing_key("q"));
        }
        _ => (json!("p"), None),
    };
    let producer = connection.producer();
    let mut publish = producer.publish(encode(&from_tagged(&body), serializer).unwrap()).routing_key("q");
    let recorded = fixture::envelope(entry["raw"].as_str().unwrap());
    publish = match recorded["properties"]["priority"].as_i64().unwrap() {
        odd @ ..0 => publish.property("priority", odd),
        priority => publish.priority(priority.try_into().unwrap()),
    };
    let (direct, topic) = (Exchange::direct("ex"), Exchange::topic("tx"));
    match name {
        "direct-exchange" => {
            Queue::new("dq").bind(&direct, "rk").declare(connection).wait().unwrap();
            send(publish.exchange(&direct).routing_key("rk"))
        }
        "topic-exchange" => {
            Queue::new("tq").bind(&topic, "a.#").declare(connection).wait().unwrap();
            send(publish.exchange(&topic).routing_key("a.b.c"))
        }
        "headers" => {
            let headers = kombu::serialization::json::read(recorded["headers"].to_string().as_bytes()).unwrap();
            send(publish.headers(headers.as_map().unwrap().clone()))
        }
        "expiration" => send(publish.expiration(std::time::Duration::from_millis(5500))),
        "all-properties" => send(
            publish
                .correlation_id("cid")
                .reply_to("rq")
                .message_id("m1")
                .timestamp(1_700_000_000)
                .kind("ty")
                .user_id("u")
                .app_id("a")
                .cluster_id("c")
                .property("custom", "x"),
        ),
        "transient" => send(publish.delivery_mode(DeliveryMode::Transient)),
        "compressed-text-gzip" => send(publish.compression("gzip")),
        _ => match name.strip_prefix("compressed-") {
            Some(method) => send(publish.compression(method)),
            None => send(publish),
        },
    }
}

fn send(publish: Publish<'_>) {
    publish.wait().unwrap();
}

#[test]
fn a_property_with_a_method_of_its_own_is_refused_by_name() {
    let connection = Connection::new("memory://").unwrap();
    let error = connection.producer().publish("p").routing_key("q").property("reply_to", "r").wait().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kombu::ErrorKind::InvalidArgument, Some(kombu::Outcome::NotSent)));
    assert!(error.to_string().contains("`reply_to`"), "{error}");
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
