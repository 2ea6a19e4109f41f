//! What a process held when it was killed is restored by the other end, into its queue, once, and flagged.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::io::BufRead;

use common::{ChildProcess, Ends, Incoming, Peer, Python, Rust, eventually, length, members, texts};
use kombu::{Connection, ErrorKind, Exchange, Queue};
use kombu_brokers::{PATIENCE, RedisServer};
use serde_json::{Value as JsonValue, json};

/// A visibility timeout by which everything is overdue: our entries are written down with the next whole second.
const ALL: i64 = -1;

/// Starts a Rust program that consumes `queues` of the topic exchange `t` and holds `count` messages, then kills it with them.
fn killed_holding(server: &RedisServer, queues: &[(&str, &str)], count: usize) {
    let mut child = ChildProcess::this_test("holds_what_it_gets").spawn();
    // Killed while it looks for overdue messages, it keeps others from doing so until its lock expires.
    let url = format!("{}?unacked_mutex_expire=1", server.url());
    child.send_json(&json!({"url": url, "queues": queues, "count": count}));
    let held = child.recv_json(PATIENCE);
    assert_eq!(held["held"].as_u64(), Some(count as u64));
    child.kill();
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked_mutex"]).int() == 0));
}

#[test]
#[ignore = "run by the other tests as a process of its own"]
fn holds_what_it_gets() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let request: JsonValue = serde_json::from_str(&line).unwrap();
    let connection = Connection::new(request["url"].as_str().unwrap()).unwrap();
    let exchange = Exchange::topic("t");
    let consumers: Vec<Incoming> = request["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| {
            let queue = Queue::new(each[0].as_str().unwrap()).bind(&exchange, each[1].as_str().unwrap());
            Incoming::start(&connection, &queue)
        })
        .collect();
    let count = request["count"].as_u64().unwrap() as usize / consumers.len();
    let held: Vec<_> = consumers.iter().map(|incoming| incoming.take(count)).collect();
    println!("\n{}", json!({"held": held.iter().map(Vec::len).sum::<usize>()}));
    // Until it is killed, or the test that started it is gone.
    while std::io::stdin().lock().read_line(&mut line).unwrap() > 0 {}
}

/// Fails unless `queue` holds each of `expected` once and flagged; Python takes them.
fn assert_restored(python: &mut Peer, queue: &str, expected: &[&str]) {
    let answer = python.ask(json!({"do": "consume", "queue": queue, "count": expected.len()}));
    let reports = answer["messages"].as_array().unwrap();
    let arrived = texts(reports);
    assert_eq!(arrived.len(), expected.len(), "{queue} has {arrived:?}");
    let unique: HashSet<&str> = arrived.iter().map(String::as_str).collect();
    assert_eq!(unique, expected.iter().copied().collect(), "in {queue}");
    assert!(reports.iter().all(|report| report["redelivered"] == true), "all are flagged in {queue}");
}

#[test]
fn python_restores_what_a_killed_rust_process_held() {
    let mut ends = Ends::new();
    ends.declare_on_both(json!({"exchange": {"name": "t", "type": "topic"}}));
    for (queue, key) in [("one", "a.*"), ("two", "#")] {
        let bindings = json!([{"exchange": "t", "routing_key": key}]);
        ends.declare_on_both(json!({"queue": {"name": queue, "bindings": bindings}}));
    }
    for (from, text) in [(Python, "0"), (Rust, "1"), (Python, "2")] {
        ends.publish_text(from, "t", "a.b", text);
    }
    killed_holding(&ends.server, &[("one", "a.*"), ("two", "#")], 6);
    assert_eq!((length(&ends.server, "one"), length(&ends.server, "two")), (0, 0));
    assert_eq!(ends.server.command(&["HLEN", "unacked"]).int(), 6, "each copy has an entry of its own");
    assert_eq!(ends.python.ask(json!({"do": "sweep", "visibility_timeout": 3600}))["left"], 6, "none is overdue");
    assert_eq!(ends.python.ask(json!({"do": "sweep", "visibility_timeout": ALL}))["left"], 0);
    // Although the exchange routes each message to both queues, each goes back to its own.
    assert_restored(&mut ends.python, "one", &["0", "1", "2"]);
    assert_restored(&mut ends.python, "two", &["0", "1", "2"]);
    ends.assert_nothing_left();
}

/// The one deliberate difference between what Kombu writes into `unacked` and what Rust does: Kombu's own entries would be lost
/// here, because this Python takes the exchange for a direct one.
#[test]
fn a_python_process_that_never_declared_the_exchange_restores_too() {
    let server = RedisServer::start();
    let connection = Connection::new(&server.url()).unwrap();
    let exchange = Exchange::topic("t");
    for (name, key) in [("one", "a.*"), ("two", "a.#")] {
        Queue::new(name).bind(&exchange, key).declare(&connection).wait().unwrap();
    }
    for text in ["0", "1"] {
        connection.producer().publish(text).exchange(&exchange).routing_key("a.b").wait().unwrap();
    }
    killed_holding(&server, &[("one", "a.*"), ("two", "a.#")], 4);
    let mut python = Peer::connect(&server.url());
    assert_eq!(python.ask(json!({"do": "sweep", "visibility_timeout": ALL, "fresh": true}))["left"], 0);
    assert_eq!((length(&server, "one"), length(&server, "two")), (2, 2));
    assert_restored(&mut python, "one", &["0", "1"]);
    assert_restored(&mut python, "two", &["0", "1"]);
    assert_eq!(members(&server, "_kombu.binding.t").len(), 2);
    assert_eq!(server.command(&["EXISTS", "unacked", "unacked_index"]).int(), 0);
}

#[test]
fn rust_restores_what_a_killed_python_process_held() {
    let server = RedisServer::start();
    let mut victim = Peer::connect(&server.url());
    victim.ask(json!({"do": "declare", "exchange": {"name": "t", "type": "topic"},
        "queue": {"name": "q", "bindings": [{"exchange": "t", "routing_key": "a.#"}]}}));
    let body = json!({"kind": "text", "value": "x"});
    for (exchange, key) in [("t", "a.b"), ("", "plain")] {
        victim.ask(json!({"do": "publish", "exchange": exchange, "routing_key": key, "body": body, "count": 3, "numbered": true}));
    }
    for queue in ["q", "plain"] {
        let request =
            json!({"do": "consume", "queue": queue, "count": 3, "settle": "leave", "channel": queue, "prefetch": 3});
        assert_eq!(victim.ask(request)["messages"].as_array().unwrap().len(), 3);
    }
    victim.kill();
    assert_eq!(server.command(&["ZCARD", "unacked_index"]).int(), 6);

    // This program never declares the exchange.
    let url = format!("{}?visibility_timeout=1&unacked_restore_interval=0.2&unacked_restore_throttle=1", server.url());
    let connection = Connection::new(&url).unwrap();
    for queue in ["q", "plain"] {
        let incoming = Incoming::start(&connection, &Queue::new(queue));
        let mut ids = HashSet::new();
        for message in incoming.take(3) {
            assert!(message.redelivered());
            assert!(ids.insert(message.headers().get("id").unwrap().as_i64().unwrap()), "each comes once");
            message.ack().wait().unwrap();
        }
        assert_eq!(ids, HashSet::from([0, 1, 2]), "of {queue}");
        incoming.cancel();
    }
    let forgotten = || server.command(&["EXISTS", "unacked", "unacked_index", "q", "plain"]).int() == 0;
    assert!(eventually(PATIENCE, forgotten), "{:?}", server.keys());
}

#[test]
fn rust_restores_what_a_killed_rust_process_held() {
    let server = RedisServer::start();
    let url = format!("{}?visibility_timeout=1&unacked_restore_interval=0.2&unacked_restore_throttle=1", server.url());
    let connection = Connection::new(&url).unwrap();
    let queue = Queue::new("q").bind(&Exchange::topic("t"), "#");
    queue.declare(&connection).wait().unwrap();
    for text in ["0", "1", "2"] {
        connection.producer().publish(text).routing_key("q").wait().unwrap();
    }
    killed_holding(&server, &[("q", "#")], 3);
    let incoming = Incoming::start(&connection, &queue);
    let arrived: HashSet<String> = incoming
        .take(3)
        .into_iter()
        .inspect(|message| assert!(message.redelivered()))
        .map(|message| {
            let text = message.text().unwrap().to_owned();
            message.ack().wait().unwrap();
            text
        })
        .collect();
    assert_eq!(arrived, ["0", "1", "2"].map(str::to_owned).into());
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked", "unacked_index", "q"]).int() == 0));
}

/// Kombu's sweep judges by the age of an entry alone, and takes from the living too: whoever held the message learns of it.
#[test]
fn a_living_rust_process_learns_that_its_message_was_given_to_python() {
    let mut ends = Ends::new();
    ends.publish_text(Python, "", "q", "x");
    let message = ends.rust.queue("q").get(&ends.rust.connection).wait().unwrap().unwrap();
    assert_eq!(ends.python.ask(json!({"do": "sweep", "visibility_timeout": 3600}))["left"], 1, "it is young");
    assert_eq!(ends.python.ask(json!({"do": "sweep", "visibility_timeout": ALL}))["left"], 0);
    let answer = ends.python.ask(json!({"do": "get", "queue": "q", "settle": "leave", "channel": "c"}));
    assert_eq!((&answer["message"]["body"]["value"], &answer["message"]["redelivered"]), (&json!("x"), &json!(true)));
    assert_eq!(message.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    // What Python holds is still Python's.
    let tag = &answer["message"]["delivery_tag"];
    ends.python.ask(json!({"do": "settle", "channel": "c", "delivery_tag": tag, "how": "requeue"}));
    assert_eq!(ends.receive_texts(Rust, "q", 1), ["x"]);
    ends.assert_nothing_left();
}
