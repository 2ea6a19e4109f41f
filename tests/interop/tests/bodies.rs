//! What one end publishes is what the other end reads: every kind of body, serializer and compression.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{BOTH_WAYS, Broker, Ends, Python, Rust, Side, tagged};
use kombu::AcceptList;
use serde_json::{Value as JsonValue, json};

/// Publishes each body with its options from one end and compares what both report: `expected` is the body that the other end
/// must find.
fn exchange<S: Broker>(
    ends: &mut Ends<S>,
    (from, to): (Side, Side),
    cases: &[(JsonValue, JsonValue)],
    expected: &[JsonValue],
) {
    for (body, options) in cases {
        ends.publish(from, json!({"routing_key": "q", "body": body, "options": options}));
    }
    let reports = ends.receive(to, "q", cases.len());
    for ((report, (_, options)), expected) in reports.iter().zip(cases).zip(expected) {
        assert_eq!(report["decode_error"], JsonValue::Null, "from {from:?} to {to:?}, {options}");
        assert_eq!(&report["body"], expected, "from {from:?} to {to:?}, {options}");
        assert_eq!(report["redelivered"], false);
    }
    ends.assert_nothing_left();
}

fn exchange_unchanged<S: Broker>(ends: &mut Ends<S>, way: (Side, Side), cases: &[(JsonValue, JsonValue)]) {
    let expected: Vec<JsonValue> = cases.iter().map(|(body, _)| body.clone()).collect();
    exchange(ends, way, cases, &expected);
}

fn json_body(value: JsonValue) -> JsonValue {
    json!({"kind": "json", "value": value})
}

fn plain() -> JsonValue {
    json!({"n": 1, "minus": -2.5, "text": "grüße 🎉", "list": [null, true, false, []], "map": {"a": {"b": [{}]}}})
}

#[test]
fn text_and_bytes() {
    on_each_broker!(|ends| {
        ends.queue("q");
        let every_byte: Vec<u8> = (0..=255).collect();
        let text = |value: &str| (json!({"kind": "text", "value": value}), json!({}));
        let bytes = |value: &[u8]| (json!({"kind": "bytes", "value": tagged::base64(value)}), json!({}));
        let cases = [
            text("hello world"),
            text("grüße, 你好, 🎉\u{0}\u{7f}\u{2028}\r\n\t\"\\/"),
            bytes(b"\x00\xff"),
            bytes(&every_byte),
            bytes(b"plain ascii"),
        ];
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
        }
    });
}

#[test]
fn an_empty_body_is_empty_bytes_whatever_it_was() {
    on_each_broker!(|ends| {
        ends.queue("q");
        let empty = json!({"kind": "bytes", "value": ""});
        let cases = [(json!({"kind": "text", "value": ""}), json!({})), (empty.clone(), json!({}))];
        for way @ (_, to) in BOTH_WAYS {
            // A body without a frame is text to pyamqp.
            let arrives = if to == Python && ends.server.decodes_text() { &cases[0].0 } else { &empty };
            exchange(&mut ends, way, &cases, &[arrives.clone(), arrives.clone()]);
        }
    });
}

#[test]
fn every_value_that_json_can_say() {
    on_each_broker!(|ends| {
        ends.queue("q");
        let deep = (0..60)
            .fold(json!("bottom"), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"in": inner}) });
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(-0.1),
            json!(1e22),
            json!(5e-324),
            json!(1.7976931348623157e308),
            json!([]),
            json!({}),
            json!({"": "empty key", "ключ": 1}),
            plain(),
            deep,
            // A map that only looks like a value with a type.
            json!({"__type__": "x"}),
            json!({"__type__": "bytes", "__value__": "a", "extra": 1}),
        ];
        let cases: Vec<_> = values.into_iter().map(|value| (json_body(value), json!({}))).collect();
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
        }
    });
}

#[test]
fn every_type_that_kombu_adds_to_json() {
    on_each_broker!(|ends| {
        ends.queue("q");
        let typed = |kind: &str, value: &str| json!({"$type": kind, "$value": value});
        let values = [
            typed("datetime", "2026-01-02T03:04:05"),
            typed("datetime", "2026-01-02T03:04:05.000006"),
            typed("datetime", "2026-01-02T03:04:05.600000+00:00"),
            typed("datetime", "0001-01-01T00:00:00-03:30"),
            typed("datetime", "9999-12-31T23:59:59.999999+14:00"),
            typed("date", "2026-01-02"),
            typed("time", "03:04:05"),
            typed("time", "03:04:05.000001+05:30"),
            typed("Decimal", "1.50"),
            typed("Decimal", "1E+3"),
            typed("Decimal", "-0"),
            typed("Decimal", "Infinity"),
            typed("UUID", "12345678-1234-5678-1234-567812345678"),
            typed("bytes", ""),
            typed("bytes", "YWJj"),
            typed("bytes", "w6k="),
            typed("bytes", "/wA="),
            typed("float", "nan"),
            typed("float", "inf"),
            typed("float", "-inf"),
            typed("int", "18446744073709551615"),
            typed("int", "-123456789012345678901234567890123456789012345678901234567890"),
            typed("surrogates", "7aCA"),
            typed("surrogates", "YeKCrO2zv/CfjokK"),
        ];
        let all = json!({"all": values, "mixed": {"in a map": [values[0], 1, values[12]]}});
        // Alone a text is no JSON, so each is a list of one.
        let cases: Vec<_> = values.into_iter().map(|value| (json_body(json!([value])), json!({}))).collect();
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
            exchange_unchanged(&mut ends, way, &[(json_body(all.clone()), json!({}))]);
        }
    });
}

#[test]
fn text_and_bytes_by_a_named_serializer() {
    on_each_broker!(AcceptList::new(["json", "yaml", "msgpack", "text/plain", "application/data"]).unwrap(), |ends| {
        ends.queue("q");
        let text = json!({"kind": "text", "value": "grüße"});
        let bytes = json!({"kind": "bytes", "value": "AP8="});
        let cases = [
            (text.clone(), json!({"serializer": "json"})),
            (text.clone(), json!({"serializer": "yaml"})),
            (text.clone(), json!({"serializer": "msgpack"})),
            (text, json!({"serializer": "raw"})),
            (bytes.clone(), json!({"serializer": "raw"})),
            (bytes.clone(), json!({"serializer": "msgpack"})),
            (bytes, json!({"serializer": "json"})),
        ];
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
        }
    });
}

#[test]
fn every_serializer_with_every_compression() {
    on_each_broker!(AcceptList::new(["json", "yaml", "msgpack", "text/plain"]).unwrap(), |ends| {
        ends.queue("q");
        let compressions = ["zlib", "gzip", "bzip2", "bzip", "lzma", "xz", "zstd", "zstandard", "brotli"];
        let mut cases = vec![];
        for serializer in ["json", "yaml", "msgpack"] {
            cases.push((json_body(plain()), json!({"serializer": serializer})));
            for compression in compressions {
                cases.push((json_body(plain()), json!({"serializer": serializer, "compression": compression})));
            }
        }
        for compression in compressions {
            cases.push((json!({"kind": "text", "value": "grüße ".repeat(500)}), json!({"compression": compression})));
            cases.push((json!({"kind": "bytes", "value": "AAEC/w=="}), json!({"compression": compression})));
        }
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
        }
    });
}

#[test]
fn what_yaml_and_msgpack_can_say_beyond_json() {
    on_each_broker!(AcceptList::new(["yaml", "msgpack"]).unwrap(), |ends| {
        ends.queue("q");
        let bytes = json!({"b": {"$type": "bytes", "$value": "AP8="}});
        let numbers =
            json!([{"$type": "float", "$value": "nan"}, {"$type": "float", "$value": "-inf"}, 1.0, -1, i64::MIN]);
        let mut texts: Vec<&str> =
            "null true 12 1.5 2026-01-02 y n Y N yes No on 1_000 0x1f 010 1:30 .5 +1 .inf .nan << &a *a !t % @ ` \
            ? | > ' \" { [ --- ... 0b1 NaN inf - -1 1. 0. 00 08 1__0 +.inf -.INF 685_230.15 Infinity # ~ ="
                .split_ascii_whitespace()
                .collect();
        texts.extend(["", " x ", "\t", "a: b", "- x", "a #b", "é\n\u{85}🎉", "line\nline\n", "  indented\n"]);
        let keys = json!({"y": "n", "null": 1, "1": 2, "true": 5, "~": 6, "": 7});
        let yaml = json!({"serializer": "yaml"});
        let msgpack = json!({"serializer": "msgpack"});
        let cases = [
            (json_body(bytes.clone()), yaml.clone()),
            (json_body(numbers.clone()), yaml.clone()),
            (json_body(json!(texts)), yaml.clone()),
            (json_body(keys.clone()), yaml),
            (json_body(bytes), msgpack.clone()),
            (json_body(numbers), msgpack.clone()),
            (json_body(json!(texts)), msgpack.clone()),
            (json_body(keys), msgpack),
        ];
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
        }
        // YAML does not tell a date from a text to Rust.
        let dates = json!([{"$type": "date", "$value": "2026-01-02"}, {"$type": "datetime", "$value": "2026-01-02T03:04:05.000006"}]);
        let as_text = json_body(json!(["2026-01-02", "2026-01-02 03:04:05.000006"]));
        exchange(&mut ends, (Python, Rust), &[(json_body(dates), json!({"serializer": "yaml"}))], &[as_text]);
    });
}

#[test]
fn a_content_type_of_the_programs_own() {
    on_each_broker!(|ends| {
        ends.queue("q");
        let text = json!({"kind": "text", "value": "stré"});
        let bytes = json!({"kind": "bytes", "value": "AAEC/w=="});
        let cases = [
            (text.clone(), json!({"content_type": "text/x-foo", "content_encoding": "latin-1"})),
            (text, json!({"content_type": "text/x-foo"})),
            (bytes.clone(), json!({"content_type": "image/png", "content_encoding": "binary"})),
            (bytes, json!({"content_type": "application/x-foo"})),
        ];
        for way @ (from, to) in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
            let (body, options) = &cases[0];
            ends.publish(from, json!({"routing_key": "q", "body": body, "options": options}));
            let report = ends.receive(to, "q", 1).remove(0);
            assert_eq!(
                (&report["content_type"], &report["content_encoding"]),
                (&json!("text/x-foo"), &json!("latin-1"))
            );
            assert_eq!(report["raw"], tagged::base64(b"str\xe9"));
        }
    });
}

#[test]
fn what_a_program_does_not_accept_is_not_decoded() {
    on_each_broker!(|ends| {
        ends.queue("q");
        for serializer in ["yaml", "msgpack", "pickle"] {
            let options = json!({"serializer": serializer});
            ends.publish(Python, json!({"routing_key": "q", "body": json_body(plain()), "options": options}));
            let report = ends.receive(Rust, "q", 1).remove(0);
            assert_eq!(report["body"], JsonValue::Null);
            assert!(report["decode_error"].as_str().unwrap().contains("refusing to decode"), "{report}");
        }
        // A body that is not what its content type says is delivered, reported as such, and settled like any other.
        let options = json!({"content_type": "application/json", "content_encoding": "utf-8"});
        let broken = json!({"kind": "bytes", "value": "ew=="});
        for (from, to) in BOTH_WAYS {
            ends.publish(from, json!({"routing_key": "q", "body": broken, "options": options}));
            let report = ends.receive(to, "q", 1).remove(0);
            assert_eq!((&report["body"], &report["raw"]), (&JsonValue::Null, &json!("ew==")));
            assert_ne!(report["decode_error"], JsonValue::Null);
        }
        ends.assert_nothing_left();
    });
}

#[test]
fn a_body_of_one_megabyte() {
    on_each_broker!(|ends| {
        ends.queue("q");
        let bytes: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let text = "Text, long & größer. ".repeat(50_000);
        let cases = [
            (json!({"kind": "bytes", "value": tagged::base64(&bytes)}), json!({})),
            (json!({"kind": "text", "value": text}), json!({})),
            (json_body(json!([text])), json!({"compression": "zlib"})),
        ];
        for way in BOTH_WAYS {
            exchange_unchanged(&mut ends, way, &cases);
        }
    });
}
