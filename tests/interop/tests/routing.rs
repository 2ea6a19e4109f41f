//! What is published to an exchange by one end reaches the queues that the other end bound.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;

use common::{BOTH_WAYS, Ends, Incoming, Python, Rust, SEP, eventually, fixture, length, members, texts};
use kombu::Queue;
use kombu_brokers::PATIENCE;
use serde_json::{Value as JsonValue, json};

#[test]
fn the_default_exchange_routes_by_the_name_of_the_queue() {
    let mut ends = Ends::new();
    for (from, to) in BOTH_WAYS {
        for name in ["plain", "with.dots and spaces", "größe", "a/b:c{d}"] {
            ends.publish_text(from, "", name, "hello");
            let report = ends.receive(to, name, 1).remove(0);
            assert_eq!(report["body"]["value"], "hello", "{name} from {from:?} to {to:?}");
            assert_eq!(report["delivery_info"], json!({"exchange": "", "routing_key": name}));
        }
    }
    ends.assert_nothing_left();
}

#[test]
fn a_direct_exchange_routes_by_the_exact_key() {
    for (from, to) in BOTH_WAYS {
        // The binding table is written by one end alone, once by each.
        for binder in [Python, Rust] {
            let mut ends = Ends::new();
            let exchange = json!({"name": "media", "type": "direct"});
            let bind = |key: &str| json!({"exchange": "media", "routing_key": key});
            ends.declare(Python, json!({"exchange": exchange}));
            ends.declare(Rust, json!({"exchange": exchange}));
            ends.declare(binder, json!({"queue": {"name": "v", "bindings": [bind("video"), bind("clip")]}}));
            ends.declare(binder, json!({"queue": {"name": "a", "bindings": [bind("audio"), bind("clip"), bind("")]}}));
            for key in ["video", "audio", "clip", "video.x", "Video", ""] {
                ends.publish_text(from, "media", key, key);
            }
            assert_eq!(ends.receive_texts(to, "v", 2), ["video", "clip"], "{from:?} {to:?} {binder:?}");
            let reports = ends.receive(to, "a", 3);
            // An empty body is bytes; the key tells.
            let keys: Vec<_> =
                reports.iter().map(|report| report["delivery_info"]["routing_key"].as_str().unwrap()).collect();
            assert_eq!(keys, ["audio", "clip", ""], "{from:?} {to:?} {binder:?}");
            assert!(reports.iter().all(|report| report["delivery_info"]["exchange"] == "media"));
            ends.assert_nothing_left();
        }
    }
}

#[test]
fn a_topic_exchange_routes_by_patterns_of_either_end() {
    for (from, to) in BOTH_WAYS {
        for binder in [Python, Rust] {
            let mut ends = Ends::new();
            let bind = |key: &str| json!({"exchange": "logs", "routing_key": key});
            ends.declare_on_both(json!({"exchange": {"name": "logs", "type": "topic"}}));
            for (queue, keys) in [
                ("all", &["#"][..]),
                ("eu", &["eu.*"]),
                ("errors", &["*.error", "*.error.#"]),
                ("odd", &["a-b_c.#", "x+y.(z)", "größe.*"]),
            ] {
                let bindings: Vec<_> = keys.iter().map(|key| bind(key)).collect();
                ends.declare(binder, json!({"queue": {"name": queue, "bindings": bindings}}));
            }
            let keys = ["eu.info", "eu.error", "us.error", "us.error.disk", "eu.a.b", "a-b_c.d", "x+y.(z)", "größe.1"];
            for key in keys {
                ends.publish_text(from, "logs", key, key);
            }
            let what = format!("from {from:?} to {to:?}, bound by {binder:?}");
            assert_eq!(ends.receive_texts(to, "all", keys.len()), keys, "{what}");
            assert_eq!(ends.receive_texts(to, "eu", 2), ["eu.info", "eu.error"], "{what}");
            // Two patterns of one queue match once.
            assert_eq!(ends.receive_texts(to, "errors", 3), ["eu.error", "us.error", "us.error.disk"], "{what}");
            assert_eq!(ends.receive_texts(to, "odd", 3), ["a-b_c.d", "x+y.(z)", "größe.1"], "{what}");
            ends.assert_nothing_left();
        }
    }
}

/// Every binding key of the recorded patterns, with every key it matches and every key it does not: Rust routes as Kombu, but
/// that `#` matches zero words and `*` matches an empty one, as AMQP has it.
#[test]
fn recorded_topic_patterns_route_as_recorded() {
    let mut ends = Ends::new();
    ends.declare_on_both(json!({"exchange": {"name": "t", "type": "topic"}}));
    let entries = fixture::entries("topic-patterns");
    for (number, entry) in entries.iter().enumerate() {
        // Each end binds every other pattern.
        let binder = if number % 2 == 0 { Python } else { Rust };
        let bindings = json!([{"exchange": "t", "routing_key": entry["binding_key"]}]);
        ends.declare(binder, json!({"queue": {"name": format!("q{number}"), "bindings": bindings}}));
    }
    let stored: HashSet<String> = entries
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            let text = |name: &str| entry[name].as_str().unwrap();
            format!("{}{SEP}{}{SEP}q{number}", text("binding_key"), text("stored_pattern"))
        })
        .collect();
    assert_eq!(members(&ends.server, "_kombu.binding.t"), stored, "who binds writes Kombu's own text");

    let strings = |list: &JsonValue| -> Vec<String> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let keys = [strings(&entries[0]["matches"]), strings(&entries[0]["no_match"])].concat();
    let body = json!({"kind": "text", "value": "x"});
    for key in &keys {
        ends.publish(Rust, json!({"exchange": "t", "routing_key": key, "body": body}));
    }
    let amqp_only: HashSet<(&str, &str)> = HashSet::from([
        ("a.#", "a"),
        ("#.end", "end"),
        ("mid.#.z", "mid.z"),
        ("a.*", "a."),
        ("*.*", "a."),
        ("*.*", ".a"),
    ]);
    for (number, entry) in entries.iter().enumerate() {
        let binding_key = entry["binding_key"].as_str().unwrap();
        let matches: HashSet<String> = strings(&entry["matches"]).into_iter().collect();
        let expected: Vec<&String> = keys
            .iter()
            .filter(|key| matches.contains(*key) || amqp_only.contains(&(binding_key, key.as_str())))
            .collect();
        let queue = format!("q{number}");
        assert_eq!(length(&ends.server, &queue), expected.len() as i64, "{binding_key}");
        let reports = ends.receive(Python, &queue, expected.len());
        let arrived: Vec<_> =
            reports.iter().map(|report| report["delivery_info"]["routing_key"].as_str().unwrap()).collect();
        assert_eq!(arrived, expected, "{binding_key}");
    }
}

#[test]
fn a_fanout_exchange_reaches_every_subscriber_of_both_ends() {
    let mut ends = Ends::new();
    let exchange = json!({"name": "news", "type": "fanout"});
    ends.declare(Python, json!({"exchange": exchange, "queue": {"name": "py", "auto_delete": true}}));
    ends.declare(Rust, json!({"exchange": exchange, "queue": {"name": "rs"}}));
    ends.declare(Rust, json!({"exchange": exchange, "queue": {"name": "rs2"}}));
    ends.python.ask(json!({"do": "subscribe", "queue": "py", "channel": "f"}));
    let subscribe = |ends: &Ends, name: &str| Incoming::start(&ends.rust.connection, &ends.rust.queue(name));
    let (first, second) = (subscribe(&ends, "rs"), subscribe(&ends, "rs2"));
    for from in [Python, Rust] {
        for number in 0..3 {
            ends.publish_text(from, "news", "", &format!("{from:?} {number}"));
        }
    }
    let expected = ["Python 0", "Python 1", "Python 2", "Rust 0", "Rust 1", "Rust 2"];
    assert_eq!(first.texts(6), expected);
    assert_eq!(second.texts(6), expected);
    let answer = ends.python.ask(json!({"do": "consume", "channel": "f", "count": 6}));
    assert_eq!(texts(answer["messages"].as_array().unwrap()), expected);
    for queue in ["py", "rs", "rs2"] {
        assert_eq!(length(&ends.server, queue), 0, "a broadcast is not stored");
    }
}

#[test]
fn fanout_with_keys_reaches_those_who_asked_for_them() {
    let mut ends = Ends::new();
    let exchange = json!({"name": "events", "type": "fanout"});
    let bound = |name: &str, key: &str| json!({"exchange": exchange, "queue": {"name": name, "routing_key": key}});
    ends.declare(Python, bound("py", "worker.*"));
    ends.declare(Rust, bound("rs", "worker.#"));
    ends.declare(Rust, bound("rs-none", ""));
    ends.python.ask(json!({"do": "subscribe", "queue": "py", "channel": "f"}));
    let incoming = Incoming::start(&ends.rust.connection, &ends.rust.queue("rs"));
    let without_key = Incoming::start(&ends.rust.connection, &ends.rust.queue("rs-none"));
    for from in [Python, Rust] {
        for key in ["worker.online", "task.sent", "", "worker.heartbeat"] {
            ends.publish_text(from, "events", key, &format!("{from:?} {key}"));
        }
    }
    let expected = ["Python worker.online", "Python worker.heartbeat", "Rust worker.online", "Rust worker.heartbeat"];
    assert_eq!(incoming.texts(4), expected);
    assert_eq!(without_key.texts(2), ["Python ", "Rust "]);
    let answer = ends.python.ask(json!({"do": "consume", "channel": "f", "count": 4}));
    assert_eq!(texts(answer["messages"].as_array().unwrap()), expected);
}

#[test]
fn queues_and_bindings_are_under_the_same_prefix() {
    let mut ends = Ends::with_options(&[("global_keyprefix", json!("app:"))]);
    let exchange = json!({"name": "ex", "type": "topic"});
    for (from, to) in BOTH_WAYS {
        let queue = format!("q-{from:?}");
        ends.declare_on_both(json!({"exchange": exchange}));
        ends.declare(to, json!({"queue": {"name": queue, "bindings": [{"exchange": "ex", "routing_key": "a.*"}]}}));
        ends.publish_text(from, "ex", "a.b", "topic");
        ends.publish_text(from, "", &queue, "default");
        assert_eq!(ends.receive_texts(to, &queue, 2), ["topic", "default"]);
        // The queue of the first round is still bound in the second.
        if from == Rust {
            assert_eq!(ends.receive_texts(to, "q-Python", 1), ["topic"]);
        }
    }
    assert!(
        eventually(PATIENCE, || ends.server.keys().iter().all(|key| key.starts_with("app:"))),
        "{:?}",
        ends.server.keys()
    );
}

#[test]
fn another_separator_is_understood() {
    let mut ends = Ends::with_options(&[("sep", json!("|")), ("priority_steps", json!([0, 5]))]);
    ends.declare_on_both(json!({"exchange": {"name": "ex", "type": "direct"}}));
    ends.declare(Rust, json!({"queue": {"name": "rs", "bindings": [{"exchange": "ex", "routing_key": "k"}]}}));
    ends.declare(Python, json!({"queue": {"name": "py", "bindings": [{"exchange": "ex", "routing_key": "k"}]}}));
    assert_eq!(members(&ends.server, "_kombu.binding.ex"), HashSet::from(["k||rs".to_owned(), "k||py".to_owned()]));
    let body = json!({"kind": "text", "value": "x"});
    for from in [Python, Rust] {
        let options = json!({"priority": 7});
        ends.publish(from, json!({"exchange": "ex", "routing_key": "k", "body": body, "options": options}));
    }
    assert_eq!((length(&ends.server, "rs|5"), length(&ends.server, "py|5")), (2, 2));
    assert_eq!(ends.receive_texts(Python, "rs", 2), ["x", "x"]);
    assert_eq!(ends.receive_texts(Rust, "py", 2), ["x", "x"]);
    ends.assert_nothing_left();
}

#[test]
fn a_publish_that_matches_nothing_is_told() {
    let mut ends = Ends::new();
    ends.declare(Python, json!({"exchange": {"name": "ex", "type": "direct"}}));
    let bindings = json!([{"exchange": "ex", "routing_key": "k"}]);
    ends.declare(Python, json!({"queue": {"name": "q", "bindings": bindings}}));
    let exchange = ends.rust.exchange("ex");
    let producer = ends.rust.connection.producer().with_exchange(&exchange);
    assert_eq!(producer.publish("x").routing_key("k").wait().unwrap().queues, Some(1));
    assert_eq!(producer.publish("x").routing_key("other").wait().unwrap().queues, Some(0));
    let returned = producer.publish("x").routing_key("other").mandatory().wait().unwrap_err();
    assert_eq!(returned.kind(), kombu::ErrorKind::Returned);
    // Python cannot say whether it was routed; what Rust would have told is that the queue has one message.
    assert_eq!(Queue::new("q").purge(&ends.rust.connection).wait().unwrap(), 1);
}
