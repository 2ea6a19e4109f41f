//! A queue holds what it may, and serves what is urgent first.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Broker, Lane, numbers};
use kombu_core::{Confirmation, ErrorKind, ExchangeKind, Outcome, Scope, Value};

fn send(lane: &Lane, queue: &str, body: &str, priority: Option<u8>) {
    let sent = lane.send(queue, body, |envelope| envelope.properties.priority = priority).unwrap();
    assert_eq!(sent, Confirmation::Confirmed { queues: Some(1) });
}

#[test]
fn the_oldest_gives_way() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue_with("q", [("x-max-length", Value::from(2))]);
    lane.fill("q", 0..5);
    assert_eq!(lane.ready("q"), 2);
    // What is held does not count, until it comes back: then it is the oldest.
    let held = lane.get("q").unwrap();
    lane.fill("q", 5..6);
    assert_eq!(lane.ready("q"), 2);
    lane.requeue(held.tag);
    assert_eq!(lane.drain("q"), numbers(4..6));
}

#[test]
fn bodies_are_counted_in_bytes() {
    let lane = Broker::new().channel();
    lane.queue_with("q", [("x-max-length-bytes", Value::from(10))]);
    for body in ["11111", "22222", "33"] {
        lane.publish("", "q", body);
    }
    let held = lane.get("q").unwrap();
    assert_eq!(common::body(&held), "22222");
    lane.publish("", "q", "44444");
    lane.requeue(held.tag);
    assert_eq!(lane.ready("q"), 2);
    lane.publish("", "q", &"x".repeat(20));
    assert_eq!(lane.ready("q"), 0);
    lane.publish("", "q", "5");
    assert_eq!(lane.drain("q"), ["5"]);
}

#[test]
fn a_full_queue_refuses_what_is_new() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue_with("q", [("x-max-length", Value::from(1)), ("x-overflow", Value::from("reject-publish"))]);
    lane.exchange("all", ExchangeKind::Fanout);
    lane.queue("open");
    lane.bind("q", "all", "");
    lane.bind("open", "all", "");
    lane.fill("q", 0..1);
    for (exchange, key) in [("", "q"), ("all", "")] {
        let error = lane.try_publish(exchange, key, "1", false).unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::Nacked, Scope::Operation));
        assert_eq!((error.outcome(), error.context("queue")), (Some(Outcome::Unknown), Some("q")));
    }
    // The others got it.
    assert_eq!(lane.drain("open"), ["1"]);
    assert_eq!(lane.drain("q"), ["0"]);
    lane.fill("q", 2..3);

    lane.queue("dead");
    lane.queue_with(
        "p",
        [
            ("x-max-length", Value::from(1)),
            ("x-overflow", Value::from("reject-publish-dlx")),
            ("x-dead-letter-exchange", Value::from("")),
            ("x-dead-letter-routing-key", Value::from("dead")),
        ],
    );
    lane.fill("p", 0..1);
    assert_eq!(lane.try_publish("", "p", "1", false).unwrap_err().kind(), ErrorKind::Nacked);
    assert_eq!((lane.drain("dead"), lane.drain("p")), (numbers(1..2), numbers(0..1)));
}

#[test]
fn the_higher_priority_is_served_first() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue_with("q", [("x-max-priority", Value::from(3))]);
    let all = [("a", Some(0)), ("b", Some(2)), ("c", Some(9)), ("d", None), ("e", Some(3)), ("f", Some(2))];
    for (body, priority) in all {
        send(&lane, "q", body, priority);
    }
    assert_eq!(lane.ready("q"), 6);
    // Each goes back to its own place.
    let held: Vec<_> = (0..3).map(|_| lane.get("q").unwrap()).collect();
    assert_eq!(common::bodies(&held), ["c", "e", "b"]);
    for index in [2, 0, 1] {
        lane.requeue(held[index].tag);
    }
    let sink = lane.consume("q");
    assert_eq!(sink.take_bodies(), ["c", "e", "b", "f", "a", "d"]);
}

#[test]
fn a_full_queue_with_priorities_loses_its_head() {
    let lane = Broker::new().channel();
    lane.queue_with("q", [("x-max-priority", Value::from(3)), ("x-max-length", Value::from(4))]);
    for (body, priority) in [("a", Some(0)), ("b", Some(3)), ("c", Some(9)), ("d", None), ("e", Some(1))] {
        send(&lane, "q", body, priority);
    }
    // What RabbitMQ 3.10.8 does.
    assert_eq!(lane.drain("q"), ["c", "e", "a", "d"]);
}

#[test]
fn priorities_are_ignored_where_none_are_asked_for() {
    let lane = Broker::new().channel();
    lane.queue("q");
    send(&lane, "q", "a", Some(1));
    send(&lane, "q", "b", Some(9));
    assert_eq!(lane.drain("q"), ["a", "b"]);
    lane.queue_with("p", [("x-max-priority", Value::from(9))]);
    send(&lane, "p", "a", Some(9));
    send(&lane, "p", "b", Some(1));
    assert_eq!(common::wait(lane.0.queue_purge("p".into())).unwrap(), 2);
    send(&lane, "p", "c", Some(1));
    assert_eq!(lane.delete("p").unwrap(), 1);
}

#[test]
fn what_was_set_aside_is_bounded() {
    let url = "memory://bounded-malformed?malformed_limit=2";
    let lane = Lane(common::wait(common::connect(url).channel()).unwrap());
    lane.queue("q");
    lane.fill("q", 0..3);
    for _ in 0..3 {
        lane.0.set_aside(&lane.get("q").unwrap(), &"q".into(), "because").take_now().unwrap().unwrap();
    }
    let kept = common::wait(lane.0.malformed("q".into(), 10)).unwrap();
    let raw: Vec<_> = kept.iter().map(|malformed| malformed.raw.to_vec()).collect();
    assert_eq!(raw, [b"1", b"2"]);
    let config = |url: &str| kombu_core::TransportConfig {
        url: url.parse().unwrap(),
        alternates: Vec::new(),
        options: [("malformed_limit", "many")].into_iter().collect(),
        clock: std::sync::Arc::new(kombu_core::SystemClock),
    };
    let error = (kombu_memory::ENTRY.make)(config("memory://bounded-malformed-2")).err().unwrap();
    assert_eq!((error.kind(), error.context("option")), (ErrorKind::InvalidArgument, Some("malformed_limit")));
}
