//! What one end declares on RabbitMQ, the other end's declaration is accepted for: names, units and types of all arguments match.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{BOTH_WAYS, Ends, Python, Rust};
use kombu::{ErrorKind, Queue};
use serde_json::{Value as JsonValue, json};

/// Every argument of a queue that Kombu names, alone and together, and RabbitMQ's own by name.
fn queues() -> Vec<JsonValue> {
    let own = |arguments: JsonValue| json!({"queue_arguments": arguments});
    vec![
        json!({}),
        json!({"durable": false}),
        json!({"auto_delete": true}),
        json!({"durable": false, "auto_delete": true}),
        json!({"expires": 1800}),
        json!({"expires": 1800.5}),
        json!({"message_ttl": 3.25}),
        json!({"message_ttl": 0}),
        json!({"max_length": 7}),
        json!({"max_length_bytes": 1_000_000}),
        json!({"max_length_bytes": 5_000_000_000_u64}),
        json!({"max_priority": 10}),
        json!({"expires": 60, "message_ttl": 10, "max_length": 5, "max_length_bytes": 4096, "max_priority": 255}),
        own(json!({"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead.ключ"})),
        own(json!({"x-dead-letter-exchange": ""})),
        own(json!({"x-overflow": "reject-publish", "x-max-length": 3})),
        own(json!({"x-single-active-consumer": true})),
        own(json!({"x-queue-mode": "lazy"})),
        own(json!({"x-queue-type": "classic"})),
        own(json!({"x-queue-type": "quorum"})),
        own(json!({"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": "dlx",
            "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"})),
        own(json!({"x-queue-type": "stream", "x-max-length-bytes": 20_000_000_000_u64, "x-max-age": "7D"})),
    ]
}

fn exchanges() -> Vec<JsonValue> {
    vec![
        json!({"type": "direct"}),
        json!({"type": "topic"}),
        json!({"type": "fanout"}),
        json!({"type": "headers"}),
        json!({"type": "direct", "durable": false}),
        json!({"type": "topic", "auto_delete": true}),
        json!({"type": "fanout", "durable": false, "auto_delete": true}),
        json!({"type": "direct", "arguments": {"alternate-exchange": "other"}}),
    ]
}

fn named(described: &JsonValue, name: &str) -> JsonValue {
    common::with(described.clone(), "name", name)
}

#[test]
fn queues_of_one_end_are_accepted_by_the_other() {
    let mut ends = Ends::amqp();
    for (first, second) in BOTH_WAYS {
        for (number, queue) in queues().iter().enumerate() {
            let name = format!("{first:?}-{number}");
            let described = named(queue, &name);
            ends.declare(first, json!({"queue": described}));
            let arguments = ends.server.queue_info(&name, "arguments");
            // A declaration that differs in any argument, its type or its unit is refused with 406.
            ends.declare(second, json!({"queue": described}));
            assert_eq!(ends.server.queue_info(&name, "arguments"), arguments);
        }
    }
    // The same from either end, as RabbitMQ stores it.
    for (number, queue) in queues().iter().enumerate() {
        for item in ["arguments", "durable", "auto_delete", "exclusive"] {
            let of = |side: &str| {
                // Arguments have no order.
                let printed = ends.server.queue_info(&format!("{side}-{number}"), item);
                let mut entries: Vec<String> =
                    printed.trim_matches(['[', ']', '{', '}']).split("},{").map(str::to_owned).collect();
                entries.sort();
                entries
            };
            assert_eq!(of("Rust"), of("Python"), "{item} of {queue}");
        }
    }
}

#[test]
fn exchanges_of_one_end_are_accepted_by_the_other() {
    let mut ends = Ends::amqp();
    for (first, second) in BOTH_WAYS {
        for (number, exchange) in exchanges().iter().enumerate() {
            let described = named(exchange, &format!("{first:?}-{number}"));
            ends.declare(first, json!({"exchange": described}));
            ends.declare(second, json!({"exchange": described}));
        }
    }
    assert_eq!(ends.server.exchanges().len(), 2 * exchanges().len());
}

#[test]
fn an_argument_that_differs_is_refused_and_harms_nothing_else() {
    let mut ends = Ends::amqp();
    ends.declare(Python, json!({"queue": {"name": "q", "message_ttl": 10}}));
    let error = ends.rust.try_declare(Queue::new("q")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error}");
    assert!(error.to_string().contains("x-message-ttl"), "{error}");
    // The next declaration, on the same connection, is none the worse for it.
    ends.declare(Rust, json!({"queue": {"name": "q", "message_ttl": 10}}));
    let error = ends.python.ask_error(json!({"do": "declare", "queue": {"name": "q", "message_ttl": 11}}));
    assert!(error["type"].as_str().unwrap().contains("PreconditionFailed"), "{error}");
}

#[test]
fn an_exclusive_queue_keeps_the_other_end_out() {
    let mut ends = Ends::amqp();
    ends.declare(Python, json!({"queue": {"name": "py", "exclusive": true}}));
    assert_eq!(ends.rust.try_declare(Queue::new("py").exclusive()).unwrap_err().kind(), ErrorKind::ResourceLocked);
    ends.declare(Rust, json!({"queue": {"name": "rs", "exclusive": true}}));
    let error = ends.python.ask_error(json!({"do": "declare", "queue": {"name": "rs", "exclusive": true}}));
    assert!(error["type"].as_str().unwrap().contains("ResourceLocked"), "{error}");
    for item in ["durable", "auto_delete", "arguments"] {
        assert_eq!(ends.server.queue_info("rs", item), ends.server.queue_info("py", item), "{item}");
    }
}

#[test]
fn routes_of_either_end_carry_messages_of_both() {
    let mut ends = Ends::amqp();
    let exchanges = [("d", "direct"), ("t", "topic"), ("f", "fanout"), ("h", "headers")];
    for (name, kind) in exchanges {
        ends.declare_on_both(json!({"exchange": {"name": name, "type": kind}}));
    }
    for binder in [Python, Rust] {
        let queue = format!("{binder:?}");
        let bindings = json!([
            {"exchange": "d", "routing_key": "key"},
            {"exchange": "t", "routing_key": "a.*.c.#"},
            {"exchange": "f"},
            {"exchange": "h", "arguments": {"x-match": "all", "color": "red", "size": 3}},
        ]);
        ends.declare(binder, json!({"queue": {"name": queue, "bindings": bindings}}));
    }
    for from in [Python, Rust] {
        for (exchange, key, headers) in [
            ("d", "key", json!({})),
            ("d", "other", json!({})),
            ("t", "a.b.c", json!({})),
            ("t", "a.b.c.d.e", json!({})),
            ("t", "a.c", json!({})),
            ("f", "any", json!({})),
            ("h", "", json!({"color": "red", "size": 3, "more": true})),
            ("h", "", json!({"color": "red", "size": 4})),
        ] {
            let body = json!({"kind": "text", "value": format!("{exchange} {key}")});
            ends.publish(
                from,
                json!({"exchange": exchange, "routing_key": key, "body": body, "options": {"headers": headers}}),
            );
        }
        let expected = ["d key", "t a.b.c", "t a.b.c.d.e", "f any", "h "];
        for (to, queue) in [(Python, "Rust"), (Rust, "Python")] {
            assert_eq!(ends.receive_texts(to, queue, expected.len()), expected, "from {from:?} to {to:?}");
        }
    }
    ends.assert_nothing_left();
}

#[test]
fn what_a_dead_letter_exchange_gets_is_the_same_for_both() {
    let mut ends = Ends::amqp();
    ends.declare_on_both(json!({"exchange": {"name": "dlx", "type": "direct"}}));
    let bindings = json!([{"exchange": "dlx", "routing_key": "dead"}]);
    ends.declare_on_both(json!({"queue": {"name": "dead", "bindings": bindings}}));
    let arguments = json!({"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead"});
    ends.declare_on_both(json!({"queue": {"name": "q", "queue_arguments": arguments}}));
    for (rejecter, reader) in BOTH_WAYS {
        ends.publish_text(rejecter, "", "q", "poison");
        match rejecter {
            Python => drop(ends.python.ask(json!({"do": "consume", "queue": "q", "settle": "reject"}))),
            Rust => {
                let message = ends.rust.queue("q").get(&ends.rust.connection).wait().unwrap().unwrap();
                message.reject().wait().unwrap();
            }
        }
        let report = ends.receive(reader, "dead", 1).remove(0);
        assert_eq!(report["body"]["value"], "poison");
        let death = &report["headers"]["x-death"][0];
        assert_eq!((&death["queue"], &death["reason"], &death["count"]), (&json!("q"), &json!("rejected"), &json!(1)));
        assert_eq!(death["routing-keys"], json!(["q"]));
        assert_eq!(death["time"]["$type"], "datetime", "{death}");
    }
    ends.assert_nothing_left();
}

#[test]
fn a_queue_that_the_server_names_is_shared_by_its_name() {
    let mut ends = Ends::amqp();
    for (owner, guest) in BOTH_WAYS {
        let name = match owner {
            Python => {
                ends.python.ask(json!({"do": "declare", "queue": {"name": ""}}))["queue"].as_str().unwrap().to_owned()
            }
            Rust => Queue::new("").declare(&ends.rust.connection).wait().unwrap().queue.to_string(),
        };
        assert!(name.starts_with("amq.gen-"), "{name}");
        ends.publish_text(guest, "", &name, "hello");
        assert_eq!(ends.receive_texts(guest, &name, 1), ["hello"]);
    }
}
