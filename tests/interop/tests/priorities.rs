//! Priorities are stored where the other end looks for them, and served in Kombu's order: a lower number is more urgent.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{BOTH_WAYS, Ends, Incoming, Python, Rust, SEP, length, texts};
use kombu::PriorityOrder;
use serde_json::json;

/// Priorities in a scrambled order, and the order in which they are served: by step, and within a step as published.
const PUBLISHED: [u64; 10] = [9, 0, 5, 3, 1, 8, 6, 2, 4, 7];
const SERVED: [&str; 10] = ["0", "1", "2", "5", "3", "4", "8", "6", "7", "9"];

#[test]
fn every_step_is_served_in_kombus_order() {
    let mut ends = Ends::new();
    for (from, to) in BOTH_WAYS {
        for priority in PUBLISHED {
            let body = json!({"kind": "text", "value": priority.to_string()});
            ends.publish(from, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
        }
        let lengths = ["", "3", "6", "9"].map(|step| {
            let sep = if step.is_empty() { "" } else { SEP };
            length(&ends.server, &format!("q{sep}{step}"))
        });
        assert_eq!(lengths, [3, 3, 3, 1], "from {from:?}");
        let reports = ends.receive(to, "q", PUBLISHED.len());
        assert_eq!(texts(&reports), SERVED, "from {from:?} to {to:?}");
        for report in reports {
            assert_eq!(report["properties"]["priority"].to_string(), report["body"]["value"].as_str().unwrap());
        }
        ends.assert_nothing_left();
    }
    let priority = ends.rust.connection.capabilities().priority.unwrap();
    assert_eq!((priority.levels, priority.order), (4, PriorityOrder::LowFirst));
}

#[test]
fn fetching_one_by_one_keeps_that_order() {
    let mut ends = Ends::new();
    for priority in PUBLISHED {
        let body = json!({"kind": "text", "value": priority.to_string()});
        ends.publish(Python, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
    }
    let fetched: Vec<_> = std::iter::from_fn(|| ends.rust.get("q")).collect();
    assert_eq!(texts(&fetched), SERVED);
    ends.assert_nothing_left();
}

#[test]
fn other_steps_are_kept_by_both_ends() {
    let mut ends = Ends::with_options(&[("priority_steps", json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))]);
    for (from, to) in BOTH_WAYS {
        for priority in PUBLISHED {
            let body = json!({"kind": "text", "value": priority.to_string()});
            ends.publish(from, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
        }
        let expected = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        assert_eq!(ends.receive_texts(to, "q", 10), expected, "from {from:?} to {to:?}");
    }
    ends.assert_nothing_left();
}

#[test]
fn a_queue_asks_for_its_size_over_all_steps() {
    let mut ends = Ends::new();
    for (from, priority) in [(Python, 0), (Rust, 3), (Python, 6), (Rust, 9)] {
        let body = json!({"kind": "text", "value": "x"});
        ends.publish(from, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
    }
    assert_eq!(ends.rust.queue("q").declare(&ends.rust.connection).wait().unwrap().message_count, 4);
    assert_eq!(ends.python.ask(json!({"do": "size", "queue": "q"}))["messages"], 4);
    assert_eq!(ends.rust.queue("q").purge(&ends.rust.connection).wait().unwrap(), 4);
    ends.assert_nothing_left();
}

#[test]
fn an_urgent_message_overtakes_what_waits() {
    let mut ends = Ends::new();
    let publish = |ends: &mut Ends, priority: u64| {
        let body = json!({"kind": "text", "value": priority.to_string()});
        ends.publish(Python, json!({"routing_key": "q", "body": body, "options": {"priority": priority}}));
    };
    for priority in [9, 6] {
        publish(&mut ends, priority);
    }
    // A window of one: what is not in the window is still in its list, where the urgent message overtakes it.
    let incoming = Incoming::with_prefetch(&ends.rust.connection, &ends.rust.queue("q"), 1);
    let first = incoming.next();
    assert_eq!(first.text().unwrap(), "6");
    publish(&mut ends, 0);
    first.ack().wait().unwrap();
    assert_eq!(incoming.texts(2), ["0", "9"]);
    ends.assert_nothing_left();
}
