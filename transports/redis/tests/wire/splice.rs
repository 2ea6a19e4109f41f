//! What is given back differs from what was published in the flags, and in nothing else.

use bytes::Bytes;
use kombu_core::serialization::json;
use kombu_core::{FieldTable, Value};

use super::server::Server;
use super::{Dice, bytes, entries, recording};
use crate::envelope::{Limits, Prepared, Unacked, read};
use crate::options::BodyEncoding;
use crate::scripts::{Copy, GivenBack, Requeue, Requeued};

/// Gives `envelope` back and returns what is in the list then.
fn give_back(server: &mut Server, envelope: &str, delivery_tag: Option<&str>) -> String {
    let _: i64 = server.command(&["HSET", "unacked", "t", &format!("[{envelope},\"\",\"q\"]")]);
    let _: i64 = server.command(&["ZADD", "unacked_index", "1", "t"]);
    let keys = server.keys.clone();
    let copies = vec![Copy { list: "q", delivery_tag: delivery_tag.map(str::to_owned) }];
    let messages = [GivenBack { tag: "t", delivered: true, copies }];
    let requeue = Requeue { keys: &keys, not_after: None, messages: &messages };
    let outcomes = Requeue::read(server.run(&requeue.command().unwrap())).unwrap();
    assert_eq!(outcomes, [Requeued::Done], "{envelope}");
    server.command(&["RPOP", "q"])
}

fn table<'a>(value: &'a mut FieldTable, name: &str) -> Option<&'a mut FieldTable> {
    value.get_mut(name).and_then(Value::as_map_mut)
}

/// What must come of an envelope, computed on values instead of text.
fn expected(envelope: &str, delivery_tag: Option<&str>) -> Value {
    let mut value = json::read(envelope.as_bytes()).unwrap();
    let members = value.as_map_mut().unwrap();
    if members.get("headers").is_none_or(Value::is_null) {
        members.insert("headers", FieldTable::new());
    }
    if let Some(headers) = table(members, "headers") {
        let count = headers.get("x-delivery-count").and_then(Value::as_i64).unwrap_or(0);
        headers.insert("redelivered", true);
        headers.insert("x-delivery-count", count + 1);
    }
    if let Some(properties) = table(members, "properties") {
        if let Some(info) = table(properties, "delivery_info") {
            info.insert("redelivered", true);
        }
        if let Some(tag) = delivery_tag {
            properties.insert("delivery_tag", tag);
        }
    }
    value
}

/// Values as text, so that NaN equals itself.
fn assert_same(left: &Value, right: &Value, envelope: &str) {
    assert_eq!(sorted(left), sorted(right), "{envelope}");
}

fn sorted(value: &Value) -> String {
    match value {
        Value::Map(table) => {
            let mut entries: Vec<String> =
                table.iter().map(|(name, value)| format!("{name}={}", sorted(value))).collect();
            entries.sort();
            format!("{entries:?}")
        }
        Value::List(items) => format!("{:?}", items.iter().map(sorted).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

#[test]
fn kombus_envelopes_come_back_with_their_flags() {
    let mut server = Server::start();
    for entry in entries(recording!("redis-envelopes")) {
        let raw = String::from_utf8(bytes(&entry["raw"]).to_vec()).unwrap();
        let once = give_back(&mut server, &raw, None);
        assert_same(&json::read(once.as_bytes()).unwrap(), &expected(&raw, None), &raw);
        let twice = give_back(&mut server, &once, Some("another"));
        let received = read(&Bytes::from(twice), &Limits::default()).unwrap();
        assert!(received.redelivered);
        assert_eq!((received.delivery_count, &*received.delivery_tag), (Some(2), "another"));
        assert_eq!(received.envelope.body, read(&bytes(&entry["raw"]), &Limits::default()).unwrap().envelope.body);
    }
}

#[test]
fn pythons_entries_come_back_as_kombu_would_write_them() {
    let mut server = Server::start();
    let stages = entries(recording!("redis-unacked"));
    let value = bytes(stages[1]["keys"]["unacked"]["value"].as_object().unwrap().values().next().unwrap());
    let entry = Unacked::read(&value, &Limits::default()).unwrap();
    let back = give_back(&mut server, std::str::from_utf8(&entry.text).unwrap(), None);
    assert!(back.contains("\"headers\": {\"redelivered\": true, \"x-delivery-count\": 1, \"id\": "), "{back}");
    assert!(
        back.contains("\"delivery_info\": {\"redelivered\": true, \"exchange\": \"ux\", \"routing_key\": \"k\"}"),
        "{back}"
    );
}

#[test]
fn nothing_else_changes() {
    let mut server = Server::start();
    for (envelope, back) in [
        // What cjson would not bring back alike.
        (
            "{\"big\": 1000000000000000000000000000001, \"e\": [], \"n\": NaN, \"f\": 1.10, \"s\":\"\\ud800\\/\", \"headers\":{ }}",
            "{\"big\": 1000000000000000000000000000001, \"e\": [], \"n\": NaN, \"f\": 1.10, \"s\":\"\\ud800\\/\", \"headers\":{\"redelivered\": true, \"x-delivery-count\": 1 }}",
        ),
        // Flags that are there are replaced where they are.
        (
            "{\"headers\": {\"redelivered\" :false , \"x-delivery-count\": 41}}",
            "{\"headers\": {\"redelivered\" :true , \"x-delivery-count\": 42}}",
        ),
        (
            "{\"headers\": {\"x-delivery-count\": \"many\"}}",
            "{\"headers\": {\"redelivered\": true, \"x-delivery-count\": 1}}",
        ),
        (
            "{\"headers\": {\"x-delivery-count\": -7}}",
            "{\"headers\": {\"redelivered\": true, \"x-delivery-count\": 1}}",
        ),
        // Names are looked for where they belong, and not in texts.
        (
            "{\"a\": {\"headers\": {}}, \"b\": \"\\\"headers\\\": {}\\\\\", \"headers\": {\"headers\": {\"redelivered\": 1}}}",
            "{\"a\": {\"headers\": {}}, \"b\": \"\\\"headers\\\": {}\\\\\", \"headers\": {\"redelivered\": true, \"x-delivery-count\": 1, \"headers\": {\"redelivered\": 1}}}",
        ),
        // Of members with the same name the last counts.
        (
            "{\"headers\": 1, \"headers\": {}}",
            "{\"headers\": 1, \"headers\": {\"redelivered\": true, \"x-delivery-count\": 1}}",
        ),
        // Kombu skips the flags where there is no place for them; the count needs one.
        ("{}", "{\"headers\": {\"redelivered\": true, \"x-delivery-count\": 1}}"),
        ("{\"headers\": null}", "{\"headers\": {\"redelivered\": true, \"x-delivery-count\": 1}}"),
        ("{\"headers\": [], \"properties\": []}", "{\"headers\": [], \"properties\": []}"),
        (
            "{\"properties\": {\"delivery_info\": null}, \"headers\": {}}",
            "{\"properties\": {\"delivery_info\": null}, \"headers\": {\"redelivered\": true, \"x-delivery-count\": 1}}",
        ),
    ] {
        assert_eq!(give_back(&mut server, envelope, None), back);
    }
}

#[test]
fn envelopes_of_all_shapes_come_back_right() {
    let mut server = Server::start();
    let mut dice = Dice(3);
    for _ in 0..1500 {
        let envelope = random_object(&mut dice, &["headers", "properties", "body", "x"], 0);
        let tag = [None, Some("fresh")][dice.roll(2)];
        let back = give_back(&mut server, &envelope, tag);
        assert_same(&json::read(back.as_bytes()).unwrap(), &expected(&envelope, tag), &envelope);
    }
}

fn random_object(dice: &mut Dice, names: &[&str], depth: usize) -> String {
    let mut members = Vec::new();
    for name in names {
        if dice.roll(4) == 0 {
            continue;
        }
        let value = match *name {
            "headers" if dice.roll(4) > 0 => {
                random_object(dice, &["redelivered", "x-delivery-count", "id", "redelivered"], depth + 1)
            }
            "properties" if dice.roll(4) > 0 => {
                random_object(dice, &["delivery_tag", "delivery_info", "priority"], depth + 1)
            }
            "delivery_info" if dice.roll(4) > 0 => {
                random_object(dice, &["exchange", "redelivered", "routing_key"], depth + 1)
            }
            "x-delivery-count" => dice.roll(50).to_string(),
            _ => random_value(dice, depth + 1),
        };
        let at = dice.roll(members.len() + 1);
        members.insert(at, format!("{}\"{name}\"{}:{}{value}", space(dice), space(dice), space(dice)));
    }
    format!("{{{}{}}}", members.join(&format!("{},", space(dice))), space(dice))
}

fn random_value(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth > 4 { 8 } else { 10 }) {
        0 => "null".into(),
        1 => "true".into(),
        2 => "-1.5e+10".into(),
        3 => "NaN".into(),
        4 => "\"\\\"\\\\\"".into(),
        5 => "\"{[,:]}\\\\\\\"}\"".into(),
        6 => "\"日本 \\ud800\"".into(),
        7 => "[ ]".into(),
        8 => format!("[{} ,{}]", random_value(dice, depth + 1), random_value(dice, depth + 1)),
        _ => random_object(dice, &["headers", "redelivered", "a\\\"b"], depth + 1),
    }
}

fn space(dice: &mut Dice) -> &'static str {
    ["", " ", "\n\t", "", ""][dice.roll(5)]
}

#[test]
fn a_large_body_is_no_burden() {
    let mut server = Server::start();
    // Every backslash is doubled in the second, so the text is one long run of them.
    for (byte, size, encoding) in [(b'x', 8 << 20, BodyEncoding::Base64), (b'\\', 1 << 20, BodyEncoding::Utf8)] {
        let envelope = kombu_core::Envelope { body: vec![byte; size].into(), ..Default::default() };
        let text = String::from_utf8(Prepared::new(&envelope, encoding).unwrap().to_vec("t")).unwrap();
        let back = give_back(&mut server, &text, Some("u"));
        assert_eq!(read(&back.into(), &Limits::default()).unwrap().envelope.body.len(), size);
    }
}
