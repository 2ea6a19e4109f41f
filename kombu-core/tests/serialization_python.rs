//! What Python wrote is read as Python reads it, and written back to the byte.
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

#[path = "support/python.rs"]
mod python;

use std::str;

use kombu_core::serialization::{AcceptList, Body, decode, encode, json};
use kombu_core::{ErrorKind, FieldTable, Value};

const JSON_TYPES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/kombu-5.7/json-types.json"));
const ENVELOPES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/kombu-5.7/redis-envelopes.json"));

fn entries(fixture: &str, list: &str) -> Vec<FieldTable> {
    let fixture: FieldTable = json::from_slice(fixture.as_bytes()).unwrap();
    let list = fixture.get(list).and_then(Value::as_list).unwrap();
    list.iter().map(|entry| entry.as_map().unwrap().clone()).collect()
}

fn text<'a>(entry: &'a FieldTable, key: &str) -> Option<&'a str> {
    entry.get(key).and_then(Value::as_str)
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn extended_types_are_read_and_written_back() {
    let entries = entries(JSON_TYPES, "entries");
    assert_eq!(entries.len(), 29);
    for entry in &entries {
        let json_text = text(entry, "json_text").unwrap();
        let value = json::read(json_text.as_bytes()).unwrap();
        assert_eq!(python::repr(&value), text(entry, "decodes_to").unwrap());
        assert_eq!(json::to_string(&value).unwrap(), json_text);

        let also: Value = json::from_slice(json_text.as_bytes()).unwrap();
        assert_eq!(json::to_string(&also).unwrap(), json_text, "by serde");
        let again: Value = value.deserialize_as().unwrap();
        assert_eq!(json::to_string(&again).unwrap(), json_text, "from a value");
    }
}

#[test]
fn odd_texts_are_read_or_refused_as_python_does() {
    for entry in entries(JSON_TYPES, "decode_only") {
        let json_text = text(&entry, "json_text").unwrap();
        let value = json::read(json_text.as_bytes());
        match text(&entry, "result") {
            Some(result) => assert_eq!(python::repr(&value.unwrap()), result),
            None => assert_eq!(value.unwrap_err().kind(), ErrorKind::Decode, "{json_text}"),
        }
    }
}

#[test]
fn an_unknown_type_is_named() {
    let error = json::read(br#"[{"__type__": "nope", "__value__": 1}]"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "json: unknown __type__ `nope`; known: base64, bytes, date, datetime, decimal, time, uuid at byte 1"
    );
}

/// The body of an envelope as the store holds it, and what the envelope says about it.
struct Stored {
    name: String,
    #[cfg_attr(not(feature = "compression"), allow(dead_code))]
    body: Vec<u8>,
    plain: Vec<u8>,
    content_type: String,
    content_encoding: String,
    #[cfg_attr(not(feature = "compression"), allow(dead_code))]
    compression: Option<String>,
    payload: String,
}

fn stored() -> Vec<Stored> {
    let entries = entries(ENVELOPES, "entries");
    assert_eq!(entries.len(), 38);
    let stored = entries.iter().map(|entry| {
        let envelope = json::read(text(entry, "raw").unwrap().as_bytes()).unwrap();
        let envelope = envelope.as_map().unwrap();
        let plain = unhex(text(entry, "decompressed_body_hex").unwrap());
        Stored {
            name: text(entry, "name").unwrap().into(),
            body: text(entry, "body_hex").map_or_else(|| plain.clone(), unhex),
            plain,
            content_type: text(envelope, "content-type").unwrap().into(),
            content_encoding: text(envelope, "content-encoding").unwrap().into(),
            compression: envelope
                .get("headers")
                .and_then(Value::as_map)
                .and_then(|headers| text(headers, "compression"))
                .map(Into::into),
            payload: text(entry, "payload_repr")
                .map_or_else(|| python::repr(entry.get("payload").unwrap()), Into::into),
        }
    });
    stored.collect()
}

fn serializer(content_type: &str) -> Option<&'static str> {
    match content_type {
        "application/json" => Some("json"),
        "application/data" => Some("raw"),
        "application/x-msgpack" if cfg!(feature = "msgpack") => Some("msgpack"),
        "application/x-yaml" if cfg!(feature = "yaml") => Some("yaml"),
        "text/plain" => Some("text"),
        _ => None,
    }
}

#[test]
fn every_stored_body_is_decoded_and_encoded_to_the_same_bytes() {
    let accept = AcceptList::new(["json", "msgpack", "yaml", "text/plain", "text/x-foo", "application/x-foo"]).unwrap();
    for stored in stored() {
        let body = stored.plain.clone().into();
        let value = decode(&body, Some(&stored.content_type), Some(&stored.content_encoding), &accept);
        match stored.content_type.as_str() {
            "application/x-python-serialize" => {
                assert_eq!(value.unwrap_err().kind(), ErrorKind::ContentDisallowed);
                continue;
            }
            "application/x-msgpack" | "application/x-yaml" if serializer(&stored.content_type).is_none() => {
                assert_eq!(value.unwrap_err().kind(), ErrorKind::Unsupported);
                continue;
            }
            _ => {}
        }
        let value = value.unwrap();
        assert_eq!(python::repr(&value), stored.payload, "{}", stored.name);

        let expected = Body::new(stored.content_type.clone(), stored.content_encoding.clone(), stored.plain);
        let encoded = match (&value, serializer(&stored.content_type)) {
            (_, None) if value.as_bytes().is_some() => continue,
            (Value::Text(text), None) => Body::from_text(stored.content_type, stored.content_encoding, text).unwrap(),
            // An empty body arrives as bytes, so it cannot be told from empty text.
            _ if stored.name == "text-empty" => encode(&Value::from(""), None).unwrap(),
            (value, serializer) => encode(value, serializer).unwrap(),
        };
        assert_eq!(encoded, expected, "{}", stored.name);
    }
}

#[cfg(feature = "compression")]
#[test]
fn every_compressed_body_is_decompressed_and_compressed_under_the_same_name() {
    use kombu_core::compression::{DEFAULT_LIMIT, compress, decompress};

    let mut methods = std::collections::BTreeSet::new();
    for stored in stored() {
        let Some(method) = stored.compression else {
            assert_eq!(stored.body, stored.plain, "{}", stored.name);
            continue;
        };
        assert_eq!(decompress(&method, &stored.body, DEFAULT_LIMIT).unwrap(), stored.plain, "{}", stored.name);
        let (header, body) = compress(&method, &stored.plain).unwrap();
        assert_eq!(header, method.as_str());
        assert_eq!(decompress(&method, &body, DEFAULT_LIMIT).unwrap(), stored.plain, "{}", stored.name);
        methods.insert(method);
    }
    assert_eq!(methods.len(), 5, "{methods:?}");
}

#[test]
fn what_python_writes_and_standard_json_forbids_is_kept() {
    for text in [
        "NaN",
        "[Infinity, -Infinity]",
        r#""\ud800""#,
        r#"{"\udcff": "a\udcffb"}"#,
        "123456789012345678901234567890",
        "-9223372036854775809",
        "18446744073709551615",
        r#"{"a": {"__type__": "bytes"}}"#,
    ] {
        let value = json::read(text.as_bytes()).unwrap();
        assert_eq!(json::to_string(&value).unwrap(), text);
        let value: Value = json::from_slice(text.as_bytes()).unwrap();
        assert_eq!(json::to_string(&value).unwrap(), text, "by serde");
        let value: Value = json::read(text.as_bytes()).unwrap().deserialize_as().unwrap();
        assert_eq!(json::to_string(&value).unwrap(), text, "from a value");
    }
    let value = json::read(b"1e999").unwrap();
    assert_eq!(value, Value::Float(f64::INFINITY));
    assert_eq!(json::read(b"-0").unwrap(), Value::Int(0));
}

#[test]
fn what_python_refuses_is_refused() {
    for text in [
        "",
        " ",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1,}",
        "{a:1}",
        "{1:2}",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "0x1",
        "nul",
        "nan",
        "infinity",
        "--Infinity",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u+123\"",
        "\"\n\"",
        "1 2",
        "[1 2]",
        "]",
        "\u{feff}1",
        "true false",
        "\u{a0}1",
        "[1}",
        "{\"a\":1]",
    ] {
        let error = json::read(text.as_bytes()).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("at byte"), "{text}: {error}");
        assert!(json::from_slice::<Value>(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(json::read(b"\"\xff\"").unwrap_err().to_string(), "json: not UTF-8 at byte 1");
    assert_eq!(json::read(b"{\"a\": [1, x]}").unwrap_err().to_string(), "json: expected a value, found `x` at byte 10");
}

#[test]
fn a_repeated_key_keeps_its_place_and_takes_the_last_value() {
    let value = json::read(br#"{"a": 1, "b": 2, "a": 3}"#).unwrap();
    assert_eq!(json::to_string(&value).unwrap(), r#"{"a": 3, "b": 2}"#);
}
