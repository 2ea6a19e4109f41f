//! What one end gives back is served again by the other, and says so.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;

use common::{Ends, Incoming, Python, Rust, SEP, eventually, length, texts};
use kombu_brokers::PATIENCE;
use serde_json::{Value as JsonValue, json};

/// Both ends know the direct exchange `ex` with the queue `q`; `count` numbered texts are published by Python.
fn with_messages(count: usize) -> Ends {
    let mut ends = Ends::new();
    let exchange = json!({"name": "ex", "type": "direct"});
    ends.declare_on_both(json!({"exchange": exchange, "queue": {"name": "q", "routing_key": "k"}}));
    for number in 0..count {
        ends.publish_text(Python, "ex", "k", &number.to_string());
    }
    ends
}

fn redelivered(reports: &[JsonValue]) -> Vec<bool> {
    reports.iter().map(|report| report["redelivered"] == true).collect()
}

fn hold_in_python(ends: &mut Ends, count: usize) -> Vec<JsonValue> {
    let request = json!({"do": "consume", "queue": "q", "count": count, "settle": "leave", "channel": "c"});
    ends.python.ask(request)["messages"].as_array().unwrap().clone()
}

#[test]
fn what_python_requeues_reaches_rust_flagged() {
    let mut ends = with_messages(2);
    ends.python.ask(json!({"do": "get", "queue": "q", "settle": "requeue"}));
    // Kombu puts it behind everything that waits.
    let reports = ends.receive(Rust, "q", 2);
    assert_eq!((texts(&reports), redelivered(&reports)), (vec!["1".to_owned(), "0".into()], vec![false, true]));
    assert_eq!(reports[1]["delivery_info"], json!({"exchange": "ex", "routing_key": "k"}));
    ends.assert_nothing_left();
}

#[test]
fn what_rust_requeues_reaches_python_flagged() {
    let mut ends = with_messages(2);
    let message = ends.rust.queue("q").get(&ends.rust.connection).wait().unwrap().unwrap();
    assert!(!message.redelivered());
    message.requeue().wait().unwrap();
    // It goes back to its place.
    let reports = ends.receive(Python, "q", 2);
    assert_eq!((texts(&reports), redelivered(&reports)), (vec!["0".to_owned(), "1".into()], vec![true, false]));
    assert_eq!(reports[0]["delivery_info"]["exchange"], "ex");
    assert_eq!(reports[0]["delivery_info"]["routing_key"], "k");
    ends.assert_nothing_left();
}

#[test]
fn a_message_goes_back_and_forth() {
    let mut ends = with_messages(1);
    for _ in 0..3 {
        ends.python.ask(json!({"do": "get", "queue": "q", "settle": "requeue"}));
        let message = ends.rust.queue("q").get(&ends.rust.connection).wait().unwrap().unwrap();
        assert!(message.redelivered() && message.maybe_duplicate());
        message.requeue().wait().unwrap();
    }
    let report = ends.receive(Python, "q", 1).remove(0);
    assert_eq!((&report["body"]["value"], &report["redelivered"]), (&json!("0"), &json!(true)));
    ends.assert_nothing_left();
}

#[test]
fn what_is_rejected_is_gone_for_both() {
    let mut ends = with_messages(2);
    ends.python.ask(json!({"do": "get", "queue": "q", "settle": "reject"}));
    ends.rust.queue("q").get(&ends.rust.connection).wait().unwrap().unwrap().reject().wait().unwrap();
    assert_eq!(ends.python.ask(json!({"do": "get", "queue": "q"}))["message"], JsonValue::Null);
    assert!(ends.rust.get("q").is_none());
    ends.assert_nothing_left();
}

#[test]
fn what_python_holds_when_it_closes_reaches_rust_flagged() {
    let mut ends = with_messages(4);
    assert_eq!(texts(&hold_in_python(&mut ends, 3)), ["0", "1", "2"]);
    assert_eq!(ends.server.command(&["HLEN", "unacked"]).int(), 3);
    ends.python.ask(json!({"do": "close"}));
    let reports = ends.receive(Rust, "q", 4);
    let flagged: HashSet<(String, bool)> = texts(&reports).into_iter().zip(redelivered(&reports)).collect();
    let expected = [("0", true), ("1", true), ("2", true), ("3", false)].map(|(text, flag)| (text.to_owned(), flag));
    assert_eq!(flagged, HashSet::from(expected));
    ends.assert_nothing_left();
}

#[test]
fn what_rust_holds_when_it_closes_reaches_python_flagged_and_in_order() {
    let mut ends = with_messages(4);
    let incoming = Incoming::with_prefetch(&ends.rust.connection, &ends.rust.queue("q"), 3);
    let held = incoming.take(3);
    assert_eq!(ends.server.command(&["HLEN", "unacked"]).int(), 3);
    ends.rust.connection.close().wait().unwrap();
    let reports = ends.receive(Python, "q", 4);
    assert_eq!(texts(&reports), ["0", "1", "2", "3"]);
    assert_eq!(redelivered(&reports), [true, true, true, false]);
    drop(held);
    ends.assert_nothing_left();
}

#[test]
fn what_rust_did_not_look_at_goes_back_in_order() {
    let mut ends = with_messages(10);
    // The handler blocks on the first message; the others wait in the program, taken from the server.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (entered, inside) = std::sync::mpsc::channel();
    let on_message = move |message: kombu::Message| {
        entered.send(()).unwrap();
        let _ = released.recv();
        message.ack();
    };
    let consumer = ends.rust.connection.consumer(ends.rust.queue("q")).on_message(on_message).consume().wait().unwrap();
    inside.recv_timeout(PATIENCE).unwrap();
    assert!(eventually(PATIENCE, || ends.server.command(&["HLEN", "unacked"]).int() == 10));
    consumer.cancel().wait().unwrap();
    release.send(()).unwrap();
    // Python must not begin before all are back, or it would see them in the order in which they came.
    assert!(eventually(PATIENCE, || ends.server.command(&["HLEN", "unacked"]).int() == 0));
    let reports = ends.receive(Python, "q", 9);
    assert_eq!(texts(&reports), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    ends.assert_nothing_left();
}

#[test]
fn the_priority_of_what_is_given_back_stays() {
    let mut ends = Ends::new();
    for priority in [0, 9] {
        let body = json!({"kind": "text", "value": priority.to_string()});
        ends.publish(Python, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
    }
    let incoming = Incoming::start(&ends.rust.connection, &ends.rust.queue("q"));
    for message in incoming.take(2) {
        let moved =
            if message.text().unwrap() == "9" { Some(message) } else { message.ack().wait().map(|()| None).unwrap() };
        // Cancelled first, or this consumer would take it again.
        if let Some(message) = moved {
            incoming.consumer.cancel().wait().unwrap();
            message.requeue().wait().unwrap();
            break;
        }
    }
    assert_eq!(length(&ends.server, &format!("q{SEP}9")), 1);
    let report = ends.receive(Python, "q", 1).remove(0);
    assert_eq!((&report["properties"]["priority"], &report["redelivered"]), (&json!(9), &json!(true)));
    ends.assert_nothing_left();
}

/// Python itself would route a requeued message again, to every queue that is bound; Rust gives back to the one it was in.
#[test]
fn what_rust_gives_back_goes_to_its_own_queue_only() {
    let mut ends = Ends::new();
    ends.declare_on_both(json!({"exchange": {"name": "t", "type": "topic"}}));
    for (queue, key) in [("one", "a.*"), ("two", "#")] {
        let bindings = json!([{"exchange": "t", "routing_key": key}]);
        ends.declare_on_both(json!({"queue": {"name": queue, "bindings": bindings}}));
    }
    ends.publish_text(Rust, "t", "a.b", "x");
    let message = ends.rust.queue("one").get(&ends.rust.connection).wait().unwrap().unwrap();
    assert_eq!((message.exchange().as_str(), message.routing_key().as_str()), ("t", "a.b"));
    message.requeue().wait().unwrap();
    assert_eq!((length(&ends.server, "one"), length(&ends.server, "two")), (1, 1));
    // The copies are settled one by one: what Python does with one does not touch the other.
    for queue in ["one", "two"] {
        let answer = ends.python.ask(json!({"do": "get", "queue": queue, "settle": "leave", "channel": queue}));
        assert_eq!(answer["message"]["body"]["value"], "x");
    }
    assert_eq!(ends.server.command(&["HLEN", "unacked"]).int(), 2, "each copy has a tag of its own");
    ends.python.ask(json!({"do": "close_channel", "channel": "one"}));
    ends.python.ask(json!({"do": "close_channel", "channel": "two"}));
}
