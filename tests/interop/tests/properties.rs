//! Headers and properties of one end arrive at the other, whatever they hold.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{BOTH_WAYS, Ends, Python, Rust, with};
use serde_json::{Value as JsonValue, json};

fn body() -> JsonValue {
    json!({"kind": "text", "value": "x"})
}

#[test]
fn headers_keep_their_types() {
    let mut ends = Ends::new();
    let typed = |kind: &str, value: &str| json!({"$type": kind, "$value": value});
    let headers = json!({
        "text": "grüße 🎉", "empty": "", "int": 1, "min": i64::MIN, "float": 1.5, "whole": 2.0, "null": null, "yes": true,
        "list": [1, "a", [], {}], "map": {"k": {"k": 1}}, "ключ": "value", "": "empty name",
        "datetime": typed("datetime", "2026-01-02T03:04:05.000006+00:00"), "date": typed("date", "2026-01-02"),
        "time": typed("time", "03:04:05"), "decimal": typed("Decimal", "1.50"),
        "uuid": typed("UUID", "00000000-0000-0000-0000-000000000005"), "bytes": typed("bytes", "Ynk="),
        "binary": typed("bytes", "/wA="), "big": typed("int", "123456789012345678901234567890"),
        "nan": typed("float", "nan"), "infinity": typed("float", "-inf"), "lone": typed("surrogates", "Ye2zvw=="),
        "nested": [typed("date", "2026-01-02"), {"in": typed("bytes", "/w==")}],
        "not typed": {"__type__": "bytes", "__value__": "a", "extra": 1},
    });
    for (from, to) in BOTH_WAYS {
        ends.publish(from, json!({"routing_key": "q", "body": body(), "options": {"headers": headers}}));
        let report = ends.receive(to, "q", 1).remove(0);
        assert_eq!(report["headers"], headers, "from {from:?} to {to:?}");
    }
    ends.assert_nothing_left();
}

#[test]
fn properties_arrive() {
    let mut ends = Ends::new();
    let options = json!({
        "priority": 7, "expiration": 5.5, "correlation_id": "c-ä", "reply_to": "amq.reply", "message_id": "m",
        "timestamp": 1_700_000_000, "type": "kind", "user_id": "guest", "app_id": "app", "delivery_mode": 1,
        "content_type": "image/png", "content_encoding": "binary",
    });
    for (from, to) in BOTH_WAYS {
        let body = json!({"kind": "bytes", "value": "AAEC/w=="});
        ends.publish(from, json!({"routing_key": "q", "body": body, "options": options}));
        let report = ends.receive(to, "q", 1).remove(0);
        assert_eq!((&report["body"], &report["raw"]), (&body, &body["value"]), "from {from:?} to {to:?}");
        assert_eq!(report["delivery_info"], json!({"exchange": "", "routing_key": "q"}));
        for name in ["content_type", "content_encoding"] {
            assert_eq!(report[name], options[name], "{name} from {from:?} to {to:?}");
        }
        for name in [
            "priority",
            "correlation_id",
            "reply_to",
            "message_id",
            "timestamp",
            "type",
            "user_id",
            "app_id",
            "delivery_mode",
        ] {
            assert_eq!(report["properties"][name], options[name], "{name} from {from:?} to {to:?}");
        }
        assert_eq!(report["properties"]["expiration"], "5500", "from {from:?} to {to:?}");
    }
    ends.assert_nothing_left();
}

#[test]
fn what_nobody_named_is_as_kombu_has_it() {
    let mut ends = Ends::new();
    for (from, to) in BOTH_WAYS {
        ends.publish(from, json!({"routing_key": "q", "body": body()}));
        let mut report = ends.receive(to, "q", 1).remove(0);
        assert_eq!(report["headers"], json!({}));
        let properties = report["properties"].as_object_mut().unwrap();
        // Python's messages show what its transport adds.
        for added in ["delivery_info", "delivery_tag", "body_encoding"] {
            properties.remove(added);
        }
        assert_eq!(report["properties"], json!({"delivery_mode": 2, "priority": 0}), "from {from:?} to {to:?}");
        assert_eq!((&report["content_type"], &report["content_encoding"]), (&json!("text/plain"), &json!("utf-8")));
    }
}

#[test]
fn what_only_python_can_publish_arrives() {
    let mut ends = Ends::new();
    let other = json!({"cluster_id": "c", "custom": "x", "number": 5, "list": [1, {"a": null}]});
    ends.publish(Python, json!({"routing_key": "q", "body": body(), "options": other}));
    let report = ends.receive(Rust, "q", 1).remove(0);
    for (name, value) in other.as_object().unwrap() {
        assert_eq!(&report["properties"][name], value, "{name}");
    }
    // Priorities that AMQP does not have.
    for priority in [json!(-5), json!(10), json!(300), json!(null), json!("high")] {
        ends.publish(Python, json!({"routing_key": "q", "body": body(), "options": {"priority": priority}}));
        assert_eq!(ends.receive(Rust, "q", 1)[0]["body"], body(), "priority {priority}");
    }
    ends.assert_nothing_left();
}

#[test]
fn a_reply_finds_its_way() {
    let mut ends = Ends::new();
    for (client, server) in BOTH_WAYS {
        let options = json!({"reply_to": "replies", "correlation_id": format!("{client:?}")});
        ends.publish(client, json!({"routing_key": "requests", "body": body(), "options": options}));
        let request = ends.receive(server, "requests", 1).remove(0);
        let answer = json!({"kind": "json", "value": {"answer": [1, 2]}});
        let options = json!({"correlation_id": request["properties"]["correlation_id"]});
        let reply = json!({"routing_key": request["properties"]["reply_to"], "body": answer, "options": options});
        ends.publish(server, reply);
        let reply = ends.receive(client, "replies", 1).remove(0);
        assert_eq!((&reply["body"], &reply["properties"]["correlation_id"]), (&answer, &json!(format!("{client:?}"))));
    }
    ends.assert_nothing_left();
}

#[test]
fn bodies_as_text_are_read_and_written() {
    let mut ends = Ends::with_options(&[("body_encoding", json!("utf-8"))]);
    let bodies = [
        json!({"kind": "json", "value": {"a": "é", "b": [1.0, null]}}),
        json!({"kind": "text", "value": "héllo \"quoted\" \\ \n"}),
        json!({"kind": "bytes", "value": "AP8="}),
        json!({"kind": "bytes", "value": "YWJj"}),
    ];
    for (from, to) in BOTH_WAYS {
        for body in &bodies {
            ends.publish(from, json!({"routing_key": "q", "body": body}));
        }
        let compressed = json!({"kind": "json", "value": ["x".repeat(1000)]});
        ends.publish(from, json!({"routing_key": "q", "body": compressed, "options": {"compression": "zlib"}}));
        let reports = ends.receive(to, "q", bodies.len() + 1);
        let arrived: Vec<_> = reports.into_iter().map(|mut report| report["body"].take()).collect();
        assert_eq!(arrived, [&bodies[..], &[compressed]].concat(), "from {from:?} to {to:?}");
    }
    ends.assert_nothing_left();
}

#[test]
fn a_message_passed_on_by_the_other_end_is_the_same() {
    let mut ends = Ends::new();
    let options = json!({
        "headers": {"h": [1, {"$type": "bytes", "$value": "/w=="}], "nan": {"$type": "float", "$value": "nan"}},
        "priority": 4, "correlation_id": "c", "message_id": "m", "type": "t",
    });
    let body = json!({"kind": "json", "value": {"when": {"$type": "date", "$value": "2026-01-02"}, "lone": [1, null]}});
    ends.publish(Python, json!({"routing_key": "in", "body": body, "options": options}));
    // Rust takes it and publishes it again, field by field, as a shovel would.
    let taken = ends.receive(Rust, "in", 1).remove(0);
    let mut passed_on = with(json!({}), "headers", taken["headers"].clone());
    for name in ["priority", "correlation_id", "message_id", "type"] {
        passed_on[name] = taken["properties"][name].clone();
    }
    ends.publish(Rust, json!({"routing_key": "out", "body": taken["body"], "options": passed_on}));
    let arrived = ends.receive(Python, "out", 1).remove(0);
    assert_eq!((&arrived["body"], &arrived["headers"], &arrived["raw"]), (&body, &options["headers"], &taken["raw"]));
    for name in ["priority", "correlation_id", "message_id", "type"] {
        assert_eq!(arrived["properties"][name], options[name]);
    }
}
