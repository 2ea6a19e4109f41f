//! Queues of ours that have a policy, with Python Kombu on the other end, which knows nothing of policies.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Ends, PATIENCE, Python, Rust, eventually, length, texts};
use kombu::Queue;
use serde_json::json;

#[test]
fn python_takes_and_gives_back_what_expires_and_reads_what_died() {
    let mut ends = Ends::new();
    let work = Queue::new("work")
        .message_ttl(Duration::from_secs(3600))
        .dead_letter_exchange("")
        .dead_letter_routing_key("dead");
    ends.rust.try_declare(work).unwrap();
    ends.publish_text(Rust, "", "work", "one");
    let stamped = |ends: &Ends| ends.server.command(&["LINDEX", "work", "0"]).text().starts_with("{\"expires_at\": ");
    assert!(stamped(&ends));
    let answer = ends.python.ask(json!({"do": "consume", "queue": "work", "count": 1, "settle": "requeue"}));
    assert_eq!(answer["messages"][0]["body"]["value"], "one");
    // What Python puts back goes on to expire when it was to.
    assert!(eventually(PATIENCE, || length(&ends.server, "work") == 1));
    assert!(stamped(&ends));
    let message = ends.rust.queue("work").get(&ends.rust.connection).wait().unwrap().unwrap();
    assert!(message.redelivered());
    message.reject().wait().unwrap();
    assert!(eventually(PATIENCE, || length(&ends.server, "dead") == 1));
    let letters = ends.receive(Python, "dead", 1);
    assert_eq!(texts(&letters), ["one"]);
    let death = &letters[0]["headers"]["x-death"][0];
    assert_eq!((&death["reason"], &death["queue"], &death["count"]), (&json!("rejected"), &json!("work"), &json!(1)));
    assert_eq!(death["time"]["$type"], "datetime", "{death}");
    assert_eq!(letters[0]["headers"]["x-first-death-reason"], "rejected");
}

#[test]
fn python_goes_past_limits_until_one_of_ours_publishes() {
    let mut ends = Ends::new();
    ends.rust.try_declare(Queue::new("q").max_length(2)).unwrap();
    for number in 0..4 {
        ends.publish_text(Python, "", "q", &number.to_string());
    }
    assert_eq!(length(&ends.server, "q"), 4);
    ends.publish_text(Rust, "", "q", "ours");
    assert_eq!(ends.receive_texts(Python, "q", 2), ["3", "ours"]);
    ends.assert_nothing_left();
}

#[test]
fn the_expiration_python_gives_counts_for_nobody_on_redis() {
    let mut ends = Ends::new();
    let body = json!({"kind": "text", "value": "kept"});
    ends.publish(Python, json!({"routing_key": "q", "body": body, "options": {"expiration": 0.001}}));
    assert_eq!(ends.receive_texts(Rust, "q", 1), ["kept"]);
    // Ours does, for ours; Python would still get it.
    let body = json!({"kind": "text", "value": "gone"});
    ends.publish(Rust, json!({"routing_key": "q", "body": body, "options": {"expiration": 0.001}}));
    assert!(eventually(PATIENCE, || length(&ends.server, "q") == 0));
    ends.assert_nothing_left();
}
