//! What is no message says what is wrong with it, and nothing panics.

use bytes::Bytes;
use kombu_core::serialization::json;
use kombu_core::{ErrorKind, Value};

use super::{Dice, bytes, entries, recording};
use crate::envelope::{Limits, Received, read};

fn read_text(text: impl Into<Bytes>) -> kombu_core::Result<Received> {
    read(&text.into(), &Limits::default())
}

/// An envelope with some members of `properties` and of the envelope itself.
fn envelope(properties: &str, members: &str) -> String {
    format!(
        "{{\"properties\": {{\"delivery_tag\": \"t\", \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"q\"}}{properties}}}{members}}}"
    )
}

#[test]
fn errors_name_the_field_or_the_place() {
    let deep = envelope(
        "",
        &format!(", \"headers\": {}{}", "{\"a\":".repeat(1_000_000), "1".to_owned() + &"}".repeat(1_000_000)),
    );
    let cases: &[(String, &str)] = &[
        (String::new(), "expected `{`, found the end at byte 0"),
        ("nonsense".into(), "expected `{`, found `n` at byte 0"),
        ("[1]".into(), "expected `{`, found `[` at byte 0"),
        ("\u{feff}{}".into(), "expected `{`, found `\\u{feff}` at byte 0"),
        ("{\"a\": 1}}".into(), "expected the end, found `}` at byte 8"),
        ("{\"a\": 1,}".into(), "expected the name of a member, found `}` at byte 8"),
        ("{\"a\": 01}".into(), "expected `,` or `}`, found `1` at byte 7"),
        ("{\"a\": \"\\x\"}".into(), "expected an escape, found `x` at byte 8"),
        ("{\"body\": \"eyJ".into(), "expected `\"`, found the end at byte 13"),
        (deep, "nested deeper than the limit of 512 at byte"),
        ("{}".into(), "`properties` is missing"),
        ("{\"properties\": null}".into(), "`properties` is null instead of an object"),
        ("{\"properties\": []}".into(), "`properties` is a list instead of an object"),
        ("{\"properties\": {}}".into(), "`properties.delivery_tag` is missing"),
        ("{\"properties\": {\"delivery_tag\": {}}}".into(), "`properties.delivery_tag` is an object"),
        ("{\"properties\": {\"delivery_tag\": 1}}".into(), "`properties.delivery_info.exchange` is missing"),
        (
            "{\"properties\": {\"delivery_tag\": 1, \"delivery_info\": 5}}".into(),
            "`properties.delivery_info.exchange` is missing",
        ),
        (
            "{\"properties\": {\"delivery_tag\": 1, \"delivery_info\": {\"exchange\": \"\"}}}".into(),
            "`properties.delivery_info.routing_key` is missing",
        ),
        (
            "{\"properties\": {\"delivery_tag\": 1, \"delivery_info\": {\"exchange\": 5}}}".into(),
            "`properties.delivery_info.exchange` is a number instead of text",
        ),
        (
            "{\"properties\": {\"delivery_tag\": 1, \"delivery_info\": {\"exchange\": \"\\ud800\"}}}".into(),
            "`properties.delivery_info.exchange` is text that is not valid Unicode",
        ),
        (envelope(", \"body_encoding\": \"rot13\"", ""), "`properties.body_encoding` is `rot13`, which is unknown"),
        (envelope(", \"body_encoding\": 64", ""), "`properties.body_encoding` is a number instead of text"),
        (envelope(", \"body_encoding\": \"base64\"", ", \"body\": \"a\""), "`body` is not base64"),
        (envelope(", \"body_encoding\": \"base64\"", ", \"body\": \"YWJj!\""), "`body` is not base64"),
        (envelope(", \"body_encoding\": \"base64\"", ", \"body\": \"YWI\""), "`body` is not base64"),
        (envelope(", \"body_encoding\": \"base64\"", ", \"body\": 5"), "`body` is int instead of text"),
        (envelope("", ", \"body\": [1]"), "`body` is list instead of text"),
        (envelope("", ", \"body\": \"\\udc00\""), "`body` is text that is not valid Unicode"),
        (envelope("", ", \"body\": {\"__type__\": \"nope\", \"__value__\": 1}"), "`body` cannot be read"),
        (envelope("", ", \"content-type\": 5"), "`content-type` is a number instead of text"),
        (envelope("", ", \"content-encoding\": []"), "`content-encoding` is a list instead of text"),
        (envelope("", ", \"headers\": [1]"), "`headers` cannot be read"),
        (
            envelope("", ", \"headers\": {\"a\": {\"__type__\": \"nope\", \"__value__\": 1}}"),
            "`headers` cannot be read",
        ),
        (
            envelope(", \"mine\": {\"__type__\": \"nope\", \"__value__\": 1}", ""),
            "`properties` holds `mine`, which cannot be read",
        ),
        (
            envelope("", ", \"mine\": {\"__type__\": \"uuid\", \"__value__\": 1}"),
            "`envelope` holds `mine`, which cannot be read",
        ),
    ];
    for (text, words) in cases {
        let error = read_text(text.clone()).expect_err(words);
        let shown: String = text.chars().take(200).collect();
        assert_eq!(error.kind(), ErrorKind::Decode, "{shown}");
        assert!(error.to_string().contains(words), "{shown}: {error}");
        assert!(error.to_string().len() < 400, "{error}");
    }
    let error = read_text(&b"{\"a\": \"\xff\"}"[..]).unwrap_err();
    assert!(error.to_string().contains("not UTF-8 at byte 7"), "{error}");
}

#[test]
fn what_python_writes_and_json_forbids_is_read() {
    let text = envelope(
        ", \"body_encoding\": \"Base64\", \"weight\": -Infinity",
        r#", "body": "YW\nJj", "headers": {"nan": NaN, "lone": "\udcff", "big": 1000000000000000000000000000000, "redelivered": true, "x-delivery-count": 3}"#,
    );
    let received = read_text(text).unwrap();
    assert!(received.redelivered);
    assert_eq!(received.delivery_count, Some(3));
    assert_eq!(received.envelope.body, &b"abc"[..]);
    let headers = &received.envelope.headers;
    assert!(matches!(headers.get("nan"), Some(Value::Float(value)) if value.is_nan()));
    assert!(matches!(headers.get("lone"), Some(Value::LoneText(_))));
    assert_eq!(headers.get("big").and_then(Value::as_i128), Some(10i128.pow(30)));
    let body = r#"{"a": NaN, "b": "\udcff", "c": 1000000000000000000000000000000}"#;
    let text = envelope("", &format!(", \"body\": {}", json::to_string(body).unwrap()));
    assert_eq!(read_text(text).unwrap().envelope.body, body.as_bytes());
}

#[test]
fn optional_fields_may_be_missing_or_null() {
    for members in ["", ", \"headers\": null, \"body\": null, \"content-type\": null, \"content-encoding\": null"] {
        for encoding in ["", ", \"body_encoding\": null", ", \"body_encoding\": \"\"", ", \"body_encoding\": \"UTF-8\""]
        {
            let received = read_text(envelope(encoding, members)).unwrap();
            assert_eq!(received.envelope.properties.content_type(), None);
            assert!(received.envelope.body.is_empty() && received.envelope.headers.is_empty());
            assert_eq!((received.list_priority, received.redelivered), (0, false));
        }
    }
    let without_info = "{\"properties\": {\"delivery_tag\": true}}";
    assert!(read_text(without_info).is_err());
    let limits = Limits { no_ack: true, ..Limits::default() };
    assert_eq!(read(&without_info.into(), &limits).unwrap().delivery_tag, "true");
}

#[test]
fn bodies_may_be_typed() {
    for (body, encoding, bytes) in [
        ("{\"__type__\": \"bytes\", \"__value__\": \"h\\u00e9\"}", "utf-8", "h\u{e9}".as_bytes()),
        ("{\"__type__\": \"base64\", \"__value__\": \"AP8=\"}", "utf-8", &[0, 255]),
        ("{\"__type__\": \"bytes\", \"__value__\": \"YWJj\"}", "base64", b"abc"),
    ] {
        let text = envelope(&format!(", \"body_encoding\": \"{encoding}\""), &format!(", \"body\": {body}"));
        assert_eq!(read_text(text).unwrap().envelope.body, bytes);
    }
}

#[test]
fn priorities_of_any_kind_choose_a_list() {
    for (priority, expected) in [
        ("5", 5),
        ("9", 9),
        ("255", 9),
        ("256", 9),
        ("1e300", 9),
        ("-5", 0),
        ("7.9", 7),
        ("null", 0),
        ("\"7\"", 7),
        ("\"high\"", 0),
        ("true", 1),
        ("NaN", 0),
        ("[]", 0),
        ("1000000000000000000000000000000", 9),
    ] {
        let received = read_text(envelope(&format!(", \"priority\": {priority}"), "")).unwrap();
        assert_eq!(received.list_priority, expected, "{priority}");
    }
}

#[test]
fn flags_count_only_when_true() {
    for (value, flag) in [("true", true), ("false", false), ("null", false), ("0", false)] {
        let in_info = format!(
            "{{\"properties\": {{\"delivery_tag\": 1, \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"q\", \"redelivered\": {value}}}}}}}"
        );
        for text in [
            envelope("", &format!(", \"headers\": {{\"redelivered\": {value}}}")),
            envelope("", &format!(", \"redelivered\": {value}")),
            in_info,
        ] {
            assert_eq!(read_text(text.clone()).unwrap().redelivered, flag, "{text}");
        }
    }
}

#[test]
fn of_members_with_the_same_name_the_last_counts() {
    let text = envelope(", \"priority\": 3, \"priority\": 6", ", \"body\": \"a\", \"body\": \"b\"");
    let received = read_text(text).unwrap();
    assert_eq!((received.list_priority, &received.envelope.body[..]), (6, &b"b"[..]));
}

#[test]
fn large_messages_are_read_up_to_the_limit() {
    let envelope = kombu_core::Envelope { body: vec![b'x'; 64 << 20].into(), ..Default::default() };
    let text = crate::envelope::Prepared::new(&envelope, crate::options::BodyEncoding::Base64).unwrap().to_vec("t");
    let text = Bytes::from(text);
    assert_eq!(read(&text, &Limits::default()).unwrap().envelope.body.len(), 64 << 20);
    let limits = Limits { max_message_size: text.len() - 1, ..Limits::default() };
    let error = read(&text, &limits).unwrap_err();
    assert!(error.to_string().contains("more than max_message_size="), "{error}");
}

#[test]
fn nesting_is_an_option() {
    let text = Bytes::from(envelope("", ", \"headers\": {\"a\": [[1]]}"));
    assert!(read(&text, &Limits { max_nesting: 4, ..Limits::default() }).is_ok());
    let error = read(&text, &Limits { max_nesting: 3, ..Limits::default() }).unwrap_err();
    assert!(error.to_string().contains("limit of 3"), "{error}");
}

#[test]
fn deepest_headers_can_be_looked_at() {
    let nested = "[".repeat(510) + &"]".repeat(510);
    let received = read_text(envelope("", &format!(", \"headers\": {{\"a\": {nested}}}"))).unwrap();
    assert!(received.envelope.headers.get("a").is_some());
}

#[test]
fn random_bytes_never_panic() {
    let mut dice = Dice(1);
    for _ in 0..20_000 {
        let length = dice.roll(60);
        let text: Vec<u8> = (0..length).map(|_| dice.roll(256) as u8).collect();
        let _ = read_text(text);
        let length = dice.roll(40);
        let text: Vec<u8> = (0..length).map(|_| b"{}[]\",:\\u0123-.eENaNInfinitytrue null"[dice.roll(36)]).collect();
        assert!(read_text(text).is_err());
    }
}

/// Headers are scanned when the message is read and read when they are looked at: by then, nobody can be told of an error.
#[test]
fn broken_messages_are_found_when_they_are_read() {
    let recorded: Vec<Bytes> =
        entries(recording!("redis-envelopes")).iter().map(|entry| bytes(&entry["raw"])).collect();
    let mut dice = Dice(2);
    let mut read_all = 0;
    for _ in 0..50_000 {
        let mut text = recorded[dice.roll(recorded.len())].to_vec();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(text.len());
            match dice.roll(3) {
                0 => text[at] = b"\"\\{}[],:0n \x01\xff"[dice.roll(13)],
                1 => drop(text.remove(at)),
                _ => text.insert(at, b"\"\\{}[],:0n \x01"[dice.roll(12)]),
            }
        }
        if let Ok(received) = read_text(text.clone()) {
            read_all += 1;
            if let Some(headers) = received.envelope.headers.json_text() {
                assert!(json::read(headers).is_ok(), "{}", String::from_utf8_lossy(headers));
            }
            // Python would accept it too, but for what its base64 lets pass.
            assert!(json::read(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
        }
    }
    assert!(read_all > 1000, "{read_all}");
}
