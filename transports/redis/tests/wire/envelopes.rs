//! Every envelope Kombu wrote is read, and written alike.

use bytes::Bytes;
use kombu_core::{DeliveryMode, Value};
use serde_json::Value as Json;

use super::{bytes, entries, options, recording, text};
use crate::envelope::{Limits, Prepared, read};
use crate::keys::Keys;

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn plain_body(name: &str) -> Vec<u8> {
    match name {
        "body-encoding-utf8-json" => br#"{"a": "\u00e9"}"#.to_vec(),
        "body-encoding-utf8-text" => "h\u{e9}llo".into(),
        "body-encoding-utf8-binary" => vec![0, 255],
        other => panic!("{other}"),
    }
}

fn without_tag(envelope: &[u8]) -> Json {
    let mut envelope: Json = serde_json::from_slice(envelope).unwrap();
    envelope["properties"].as_object_mut().unwrap().remove("delivery_tag").unwrap();
    envelope
}

#[test]
fn all_are_read_and_written_back_alike() {
    let entries = entries(recording!("redis-envelopes"));
    assert_eq!(entries.len(), 38);
    for entry in &entries {
        let name = text(&entry["name"]);
        let raw = bytes(&entry["raw"]);
        let received = read(&raw, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        match entry["body_hex"].as_str() {
            Some(hex) => assert_eq!(received.envelope.body, from_hex(hex), "{name}"),
            // Not in base64: what the consumer decoded tells the body.
            None => assert_eq!(received.envelope.body, plain_body(name), "{name}"),
        }
        assert!(!received.redelivered && received.delivery_count.is_none(), "{name}");
        assert_eq!(received.delivery_tag.len(), 36, "{name}");

        let options = options(entry);
        let written = Prepared::new(&received.envelope, options.body_encoding).unwrap();
        let written = written.to_vec("3f2b7c1e-0000-4000-8000-000000000000");
        assert!(written.is_ascii() && !written.contains(&b'\n'), "{name}");
        assert_eq!(without_tag(&written), without_tag(&raw), "{name}");

        // What is written is read again as the same message.
        let again = read(&Bytes::from(written), &Limits::default()).unwrap();
        assert_eq!(again.envelope, received.envelope, "{name}");
        assert_eq!(again.delivery_tag, "3f2b7c1e-0000-4000-8000-000000000000", "{name}");
    }
}

#[test]
fn headers_are_written_alike_whether_they_were_looked_at_or_changed() {
    for entry in entries(recording!("redis-envelopes")) {
        let raw = bytes(&entry["raw"]);
        let mut received = read(&raw, &Limits::default()).unwrap();
        received.envelope.headers.table_mut();
        let written = Prepared::new(&received.envelope, options(&entry).body_encoding).unwrap().to_vec("x");
        assert_eq!(without_tag(&written), without_tag(&raw), "{}", entry["name"]);
    }
}

#[test]
fn each_is_found_in_the_list_of_its_priority() {
    for entry in entries(recording!("redis-envelopes")) {
        let keys = Keys::new(&options(&entry));
        let received = read(&bytes(&entry["raw"]), &Limits::default()).unwrap();
        let key = text(&entry["redis_key"]);
        let queue = keys.queue_of(key);
        assert!(["q", "dq", "tq"].contains(&queue), "{queue}");
        assert_eq!(keys.list_for(queue, received.list_priority), key, "{}", entry["name"]);
    }
}

#[test]
fn properties_are_found_where_amqp_has_them() {
    let entries = entries(recording!("redis-envelopes"));
    let entry = |name: &str| {
        let entry = entries.iter().find(|entry| entry["name"] == name).unwrap();
        read(&bytes(&entry["raw"]), &Limits::default()).unwrap().envelope
    };
    let properties = entry("all-properties").properties;
    assert_eq!(properties.correlation_id(), Some("cid"));
    assert_eq!(properties.kind(), Some("ty"));
    assert_eq!(properties.timestamp(), Some(1_700_000_000));
    assert_eq!(properties.priority, Some(9));
    assert_eq!(properties.rare().unwrap().other.get("custom"), Some(&Value::from("x")));
    assert_eq!(entry("expiration").properties.expiration().unwrap().as_millis(), 5500);
    assert_eq!(entry("transient").properties.delivery_mode, DeliveryMode::Transient);
    assert_eq!(entry("topic-exchange").exchange, "tx");
    assert_eq!(entry("topic-exchange").routing_key, "a.b.c");
    assert_eq!(entry("compressed-zlib").headers.get("compression"), Some(&Value::from("application/x-gzip")));
    assert!(matches!(entry("headers").headers.get("u"), Some(Value::Uuid(_))));
    assert_eq!(entry("json-dict").properties.content_type(), Some("application/json"));
    // Outside AMQP's range: kept as it was, and 0 to choose the list.
    let odd = entry("priority--5");
    assert_eq!(odd.properties.priority, None);
    assert_eq!(odd.properties.rare().unwrap().other.get("priority"), Some(&Value::Int(-5)));
}

#[test]
fn every_copy_has_its_own_tag_and_the_announced_length() {
    let entry = &entries(recording!("redis-envelopes"))[0];
    let received = read(&bytes(&entry["raw"]), &Limits::default()).unwrap();
    let prepared = Prepared::new(&received.envelope, options(entry).body_encoding).unwrap();
    let mut out = b"$".to_vec();
    for tag in ["tag-1", "another"] {
        let start = out.len();
        prepared.write(tag, &mut out);
        assert_eq!(out.len() - start, prepared.len(tag.len()));
        assert_eq!(read(&Bytes::copy_from_slice(&out[start..]), &Limits::default()).unwrap().delivery_tag, tag);
    }
}

#[test]
fn small_headers_of_large_messages_do_not_keep_the_body() {
    let mut envelope = kombu_core::Envelope { body: vec![7; 100_000].into(), ..Default::default() };
    envelope.properties.priority = Some(0);
    envelope.headers.table_mut().insert("id", 1);
    let text = Bytes::from(Prepared::new(&envelope, crate::options::BodyEncoding::Base64).unwrap().to_vec("x"));
    let received = read(&text, &Limits::default()).unwrap();
    let headers = received.envelope.headers.json_text().unwrap();
    assert!(!text.as_ptr_range().contains(&headers.as_ptr()));
    assert!(received.envelope == envelope);
}

#[test]
fn unknown_members_come_back_as_properties() {
    let text = br#"{"trace": [1e2, NaN, "\ud800"], "priority": 5, "body": null, "properties": {"delivery_tag": 17, "x\ud801": {"__type__": "uuid", "__value__": {"int": 5}}, "delivery_info": {"exchange": null, "routing_key": "k", "via": "y"}}}"#;
    let received = read(&Bytes::from_static(text), &Limits::default()).unwrap();
    assert_eq!(received.delivery_tag, "17");
    assert!(received.envelope.body.is_empty() && received.envelope.headers.is_empty());
    let other = &received.envelope.properties.rare().unwrap().other;
    assert_eq!(other.len(), 3, "{other:?}");
    let written = Prepared::new(&received.envelope, crate::options::BodyEncoding::Base64).unwrap().to_vec("t");
    let written = String::from_utf8(written).unwrap();
    for part in [
        r#""trace": [100.0, NaN, "\ud800"]"#,
        r#""x\ud801": {"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000005"}}"#,
        r#""delivery_info": {"exchange": "", "routing_key": "k", "via": "y"}"#,
        r#""priority": 0"#,
    ] {
        assert!(written.contains(part), "{part} in {written}");
    }
    let again = read(&Bytes::from(written), &Limits::default()).unwrap();
    assert_eq!(again.envelope.properties.rare().unwrap().other.len(), 3);
}

#[test]
fn typed_fields_go_before_what_did_not_fit_them() {
    let text = br#"{"properties": {"delivery_tag": "t", "priority": null, "correlation_id": 7, "expiration": "soon", "timestamp": 1.5, "delivery_mode": "2", "delivery_info": {"exchange": "", "routing_key": "k"}}}"#;
    let mut envelope = read(&Bytes::from_static(text), &Limits::default()).unwrap().envelope;
    assert_eq!((envelope.properties.priority, envelope.properties.correlation_id()), (None, None));
    let write = |envelope: &kombu_core::Envelope| {
        without_tag(&Prepared::new(envelope, crate::options::BodyEncoding::Base64).unwrap().to_vec("t"))["properties"]
            .clone()
    };
    let before = write(&envelope);
    for (name, value) in [
        ("priority", Json::Null),
        ("correlation_id", 7.into()),
        ("expiration", "soon".into()),
        ("timestamp", 1.5.into()),
        ("delivery_mode", "2".into()),
    ] {
        assert_eq!(before[name], value, "{name}");
    }
    envelope.properties.priority = Some(3);
    envelope.properties.set_correlation_id("c");
    envelope.properties.set_timestamp(5);
    let after = write(&envelope);
    for (name, value) in [("priority", Json::from(3)), ("correlation_id", "c".into()), ("timestamp", 5.into())] {
        assert_eq!(after[name], value, "{name}");
    }
}
