//! One queue, published to and consumed from by both ends at once: nothing lost, nothing doubled, and both get their share.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

use common::{Ends, PATIENCE, Peer};
use kombu::{Connection, Message, Queue};
use serde_json::json;

/// How many messages each end publishes.
const EACH: usize = 5000;

#[test]
fn ten_thousand_messages_are_shared() {
    let mut ends = Ends::new();
    let url = ends.server.url();
    let mut python_consumer = Peer::connect(&url);
    python_consumer.send(&json!({"do": "stress_consume", "queue": "q", "prefetch": 10}));
    assert_eq!(python_consumer.recv()["event"], "consuming");

    let (tell, told) = mpsc::channel();
    let connection = Connection::new(&url).unwrap();
    let on_message = move |message: Message| {
        let text = message.text().unwrap().to_owned();
        let redelivered = message.redelivered();
        message.ack();
        tell.send((text, redelivered)).unwrap();
    };
    let consumer = connection.consumer(Queue::new("q")).prefetch(10).on_message(on_message).consume().wait().unwrap();

    // Rust publishes from a thread of its own, while Python does.
    let publisher = Connection::new(&url).unwrap();
    let rust = thread::spawn(move || {
        let producer = publisher.producer().with_routing_key("q");
        let pending: Vec<_> = (0..EACH).map(|number| producer.publish(format!("rust {number}")).send()).collect();
        for publish in pending {
            publish.wait().unwrap();
        }
    });
    let bodies: Vec<_> = (0..EACH).map(|number| json!({"kind": "text", "value": format!("python {number}")})).collect();
    ends.python.ask(json!({"do": "publish", "routing_key": "q", "bodies": bodies}));
    rust.join().unwrap();

    let mut times: HashMap<String, u32> = HashMap::new();
    let (mut by_python, mut by_rust, mut settled) = (0, 0, 0);
    while by_python + by_rust < 2 * EACH || settled < by_python {
        let mut idle = true;
        while let Ok((text, redelivered)) = told.try_recv() {
            assert!(!redelivered, "{text}");
            *times.entry(text).or_default() += 1;
            by_rust += 1;
            idle = false;
        }
        let patience = if idle { PATIENCE } else { std::time::Duration::ZERO };
        // Python's lines come as long as it gets its share; whoever is last must not wait for the other.
        match python_consumer.try_recv(patience.min(std::time::Duration::from_millis(50))) {
            Some(event) if event["event"] == "received" => {
                assert_eq!(event["redelivered"], false, "{event}");
                *times.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
                by_python += 1;
            }
            Some(event) => {
                assert_eq!(event["event"], "settled", "{event}");
                settled += 1;
            }
            None => {}
        }
    }
    assert_eq!(times.len(), 2 * EACH, "every message came");
    assert!(times.values().all(|&times| times == 1), "and came once");
    assert!(by_python > 0 && by_rust > 0, "Python got {by_python}, Rust got {by_rust}");
    consumer.cancel().wait().unwrap();
    let said = python_consumer.stop();
    assert_eq!(said.last().unwrap()["received"], by_python);
    ends.assert_nothing_left();
}
