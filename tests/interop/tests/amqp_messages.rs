//! Headers, properties, priorities, returns and redelivery between the two ends on RabbitMQ.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{BOTH_WAYS, Ends, Incoming, PATIENCE, Python, Rust, eventually, texts};
use kombu::{ErrorKind, PriorityOrder};
use serde_json::{Value as JsonValue, json};

fn text(value: &str) -> JsonValue {
    json!({"kind": "text", "value": value})
}

#[test]
fn headers_keep_their_types() {
    let mut ends = Ends::amqp();
    ends.queue("q");
    let typed = |kind: &str, value: &str| json!({"$type": kind, "$value": value});
    let headers = json!({
        "text": "grüße 🎉", "empty": "", "zero": 0, "one": 1, "minus": -1, "int": 2_147_483_647, "long": 2_147_483_648_i64,
        "min": i64::MIN, "max": i64::MAX, "float": 1.5, "whole": 2.0, "null": null, "yes": true, "no": false,
        "list": [1, "a", [], {}, null, true, 1.5, [[2]]], "map": {"k": {"k": 1}, "": [{}]}, "ключ": "value",
        "datetime": typed("datetime", "2026-01-02T03:04:05+00:00"),
        "decimal": typed("Decimal", "1.50"), "binary": typed("bytes", "/wA="),
        "long text": "x".repeat(20_000),
    });
    for (from, to) in BOTH_WAYS {
        ends.publish(from, json!({"routing_key": "q", "body": text("x"), "options": {"headers": headers}}));
        let report = ends.receive(to, "q", 1).remove(0);
        for (name, sent) in headers.as_object().unwrap() {
            let arrived = &report["headers"][name];
            // pyamqp reads a time without saying that it is UTC.
            if name == "datetime" && to == Python {
                assert!(arrived["$value"].as_str().unwrap().starts_with("2026-01-02T03:04:05"), "{arrived}");
                continue;
            }
            // pyamqp reads a decimal without the zeros at its end.
            if name == "decimal" && to == Python {
                assert_eq!(*arrived, typed("Decimal", "1.5"));
                continue;
            }
            assert_eq!(arrived, sent, "{name} from {from:?} to {to:?}");
        }
        assert_eq!(report["headers"].as_object().unwrap().len(), headers.as_object().unwrap().len());
    }
    ends.assert_nothing_left();
}

#[test]
fn bytes_that_are_text_arrive_as_either() {
    let mut ends = Ends::amqp();
    ends.queue("q");
    let headers = json!({"b": {"$type": "bytes", "$value": "YWJj"}});
    for (from, to) in BOTH_WAYS {
        ends.publish(from, json!({"routing_key": "q", "body": text("x"), "options": {"headers": headers}}));
        let report = ends.receive(to, "q", 1).remove(0);
        let arrived = &report["headers"]["b"];
        // pyamqp writes bytes as a long string, which everybody reads as text; Rust's stay bytes.
        assert!(arrived == "abc" || *arrived == headers["b"], "{arrived} from {from:?} to {to:?}");
    }
}

#[test]
fn properties_arrive() {
    let mut ends = Ends::amqp();
    ends.queue("q");
    let options = json!({
        "priority": 7, "expiration": 5.5, "correlation_id": "c-ä", "reply_to": "amq.reply", "message_id": "m",
        "timestamp": 1_700_000_000, "type": "kind", "user_id": "guest", "app_id": "app", "delivery_mode": 1,
        "content_type": "image/png", "content_encoding": "binary",
    });
    let bodies = [json!({"kind": "bytes", "value": "AAEC/w=="}), json!({"kind": "bytes", "value": ""})];
    for (from, to) in BOTH_WAYS {
        ends.publish(from, json!({"routing_key": "q", "body": bodies[0], "options": options}));
        let report = ends.receive(to, "q", 1).remove(0);
        assert_eq!((&report["body"], &report["raw"]), (&bodies[0], &bodies[0]["value"]), "from {from:?} to {to:?}");
        for name in ["content_type", "content_encoding"] {
            assert_eq!(report[name], options[name], "{name} from {from:?} to {to:?}");
        }
        let properties = &report["properties"];
        for name in
            ["priority", "correlation_id", "reply_to", "message_id", "type", "user_id", "app_id", "delivery_mode"]
        {
            assert_eq!(properties[name], options[name], "{name} from {from:?} to {to:?}");
        }
        assert_eq!(properties["expiration"], "5500", "from {from:?} to {to:?}");
        assert!(properties["timestamp"].to_string().contains("1700000000") || properties["timestamp"].is_object());
        assert_eq!(report["delivery_info"]["routing_key"], "q");
    }
    // What nobody asked for is what Kombu sends by itself.
    for (from, to) in BOTH_WAYS {
        ends.publish(from, json!({"routing_key": "q", "body": text("x")}));
        let properties = &ends.receive(to, "q", 1).remove(0)["properties"];
        assert_eq!((&properties["delivery_mode"], &properties["priority"]), (&json!(2), &json!(0)), "from {from:?}");
    }
    ends.assert_nothing_left();
}

#[test]
fn a_higher_number_is_more_urgent() {
    let mut ends = Ends::amqp();
    ends.declare_on_both(json!({"queue": {"name": "q", "max_priority": 10}}));
    for (from, to) in BOTH_WAYS {
        for priority in [3, 0, 9, 5, 10, 1] {
            let body = text(&priority.to_string());
            ends.publish(from, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
        }
        let mut fetched = Vec::new();
        for _ in 0..6 {
            fetched.push(match to {
                Python => ends.python.ask(json!({"do": "get", "queue": "q"}))["message"].take(),
                Rust => ends.rust.get("q").unwrap(),
            });
        }
        assert_eq!(texts(&fetched), ["10", "9", "5", "3", "1", "0"], "from {from:?} to {to:?}");
    }
    let priority = ends.rust.connection.capabilities().priority.unwrap();
    assert_eq!(priority.order, PriorityOrder::HighFirst);
}

#[test]
fn what_either_end_gives_back_is_served_again_flagged() {
    let mut ends = Ends::amqp();
    ends.queue("q");
    for number in 0..4 {
        ends.publish_text(Python, "", "q", &number.to_string());
    }
    ends.python.ask(json!({"do": "get", "queue": "q", "settle": "requeue"}));
    let message = ends.rust.queue("q").get(&ends.rust.connection).wait().unwrap().unwrap();
    assert_eq!((message.text().unwrap(), message.redelivered(), message.maybe_duplicate()), ("0", true, true));
    message.requeue().wait().unwrap();
    let held = json!({"do": "consume", "queue": "q", "count": 2, "settle": "leave", "channel": "c"});
    let answer = ends.python.ask(held);
    let reports = answer["messages"].as_array().unwrap();
    assert_eq!(texts(reports), ["0", "1"]);
    assert_eq!((&reports[0]["redelivered"], &reports[1]["redelivered"]), (&json!(true), &json!(false)));
    ends.python.ask(json!({"do": "close"}));

    // Rust holds all and goes: Python gets them in order.
    let incoming = Incoming::start(&ends.rust.connection, &ends.rust.queue("q"));
    let held = incoming.take(4);
    assert_eq!(ends.server.unacknowledged("q"), 4);
    ends.rust.connection.close().wait().unwrap();
    held.into_iter().for_each(kombu::Message::leave_unacked);
    ends.python.ask(json!({"do": "connect", "url": ends.server.url()}));
    let reports = ends.receive(Python, "q", 4);
    assert_eq!(texts(&reports), ["0", "1", "2", "3"]);
    assert!(reports.iter().all(|report| report["redelivered"] == true));
    ends.assert_nothing_left();
}

#[test]
fn a_killed_python_gives_back_to_rust() {
    let mut ends = Ends::amqp();
    ends.queue("q");
    for number in 0..3 {
        ends.publish_text(Rust, "", "q", &number.to_string());
    }
    let held = json!({"do": "consume", "queue": "q", "count": 3, "settle": "leave", "channel": "c"});
    assert_eq!(ends.python.ask(held)["messages"].as_array().unwrap().len(), 3);
    ends.python.kill();
    let reports = ends.receive(Rust, "q", 3);
    assert_eq!(texts(&reports), ["0", "1", "2"]);
    assert!(reports.iter().all(|report| report["redelivered"] == true));
    ends.assert_nothing_left();
}

#[test]
fn a_mandatory_publish_is_told_by_the_bindings_of_the_other() {
    let mut ends = Ends::amqp();
    ends.declare_on_both(json!({"exchange": {"name": "ex", "type": "direct"}}));
    let bindings = json!([{"exchange": "ex", "routing_key": "here"}]);
    ends.declare(Python, json!({"queue": {"name": "q", "bindings": bindings}}));
    let exchange = ends.rust.exchange("ex");
    let producer = ends.rust.connection.producer().with_exchange(&exchange);
    let pending: Vec<_> = (0..60)
        .map(|number| {
            let key = if number % 3 == 0 { "nowhere" } else { "here" };
            (number, producer.publish(number.to_string()).routing_key(key).mandatory().send())
        })
        .collect();
    for (number, publish) in pending {
        match publish.wait() {
            Ok(_) => assert_ne!(number % 3, 0, "{number}"),
            Err(error) => {
                assert_eq!((error.kind(), number % 3), (ErrorKind::Returned, 0), "{number}: {error}");
            }
        }
    }
    let expected: Vec<String> = (0..60).filter(|number| number % 3 != 0).map(|number| number.to_string()).collect();
    assert_eq!(ends.receive_texts(Python, "q", expected.len()), expected);
}

#[test]
fn a_request_is_answered_by_the_other() {
    let mut ends = Ends::amqp();
    for name in ["requests", "replies"] {
        ends.queue(name);
    }
    for (client, server) in BOTH_WAYS {
        let id = format!("{client:?}");
        let options = json!({"reply_to": "replies", "correlation_id": id});
        let question = json!({"kind": "json", "value": {"add": [1, 2]}});
        ends.publish(client, json!({"routing_key": "requests", "body": question, "options": options}));
        let request = ends.receive(server, "requests", 1).remove(0);
        assert_eq!(request["body"], question);
        let to = request["properties"]["reply_to"].as_str().unwrap();
        let options = json!({"correlation_id": request["properties"]["correlation_id"]});
        let answer = json!({"kind": "json", "value": 3});
        ends.publish(server, json!({"routing_key": to, "body": answer, "options": options}));
        let reply = ends.receive(client, "replies", 1).remove(0);
        assert_eq!((&reply["body"], &reply["properties"]["correlation_id"]), (&answer, &json!(id)));
    }
    ends.assert_nothing_left();
}

/// A task as Celery 5 sends it (protocol 2): everything but arguments in the headers, the body a list of three.
#[test]
fn a_task_of_celery_goes_both_ways() {
    let mut ends = Ends::amqp();
    ends.queue("celery");
    let id = "0a5c2f0e-6d5e-4c8d-9d3b-2f1a7d3c9e11";
    let headers = json!({
        "lang": "py", "task": "proj.add", "id": id, "shadow": null, "eta": "2026-01-02T03:04:05+00:00", "expires": null,
        "group": null, "group_index": null, "retries": 0, "timelimit": [null, 30], "root_id": id, "parent_id": null,
        "argsrepr": "(2, 2)", "kwargsrepr": "{}", "origin": "gen1@host", "ignore_result": false,
        "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {},
    });
    let body = json!({"kind": "json", "value": [[2, 2], {"x": "é"}, {"callbacks": null, "errbacks": null,
        "chain": null, "chord": null}]});
    let options =
        json!({"headers": headers, "correlation_id": id, "reply_to": "b4", "priority": 0, "delivery_mode": 2});
    for compression in [None, Some("zlib")] {
        let mut options = options.clone();
        if let Some(compression) = compression {
            options["compression"] = json!(compression);
        }
        for (from, to) in BOTH_WAYS {
            ends.publish(from, json!({"routing_key": "celery", "body": body, "options": options}));
            let report = ends.receive(to, "celery", 1).remove(0);
            assert_eq!(report["body"], body, "from {from:?} to {to:?}: {}", report["decode_error"]);
            assert_eq!(report["content_type"], "application/json");
            assert_eq!(report["properties"]["correlation_id"], id);
            for (name, sent) in headers.as_object().unwrap() {
                assert_eq!(&report["headers"][name], sent, "{name} from {from:?} to {to:?}");
            }
        }
    }
    ends.assert_nothing_left();
}

#[test]
fn a_program_that_is_gone_leaves_no_connection() {
    let ends = Ends::amqp();
    ends.rust.connection.connect().wait().unwrap();
    assert!(eventually(PATIENCE, || ends.server.connections() == 2));
    let Ends { rust, python, server } = ends;
    drop((rust, python));
    assert!(eventually(PATIENCE, || (server.connections(), server.channels()) == (0, 0)));
}
