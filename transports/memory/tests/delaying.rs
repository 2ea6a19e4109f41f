//! A delayed exchange holds messages back until they are due.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::time::Duration;

use common::{Lane, body, exchange, manual, wait};
use kombu_core::{Confirmation, ErrorKind, ExchangeKind, Value};

fn delayed(lane: &Lane, name: &str, kind: &str) {
    let mut method = exchange(name, ExchangeKind::Other("x-delayed-message".into()));
    method.arguments.insert("x-delayed-type", kind);
    wait(lane.0.exchange_declare(method)).unwrap();
}

fn later(lane: &Lane, body: &str, milliseconds: i64) -> Confirmation {
    lane.send("a.b", body, |envelope| {
        envelope.exchange = "later".into();
        envelope.headers.table_mut().insert("x-delay", milliseconds);
    })
    .unwrap()
}

#[test]
fn a_message_comes_when_it_is_due_and_not_before() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    delayed(&lane, "later", "topic");
    lane.queue("q");
    lane.bind("q", "later", "a.*");
    assert_eq!(later(&lane, "third", 3000), Confirmation::Confirmed { queues: None });
    later(&lane, "first", 1000);
    later(&lane, "second", 1000);
    assert_eq!(later(&lane, "now", 0), Confirmation::Confirmed { queues: Some(1) });
    assert_eq!(lane.publish("later", "a.c", "too"), 1);
    assert_eq!(lane.drain("q"), ["now", "too"]);
    clock.advance(Duration::from_millis(999));
    assert_eq!(lane.ready("q"), 0);
    clock.advance(Duration::from_millis(1));
    let first = lane.get("q").unwrap();
    assert_eq!((body(&first), first.envelope.headers.get("x-delay")), ("first".into(), Some(&Value::from(-1000))));
    assert_eq!(lane.drain("q"), ["second"]);
    // Where it goes is found when it is due.
    lane.queue("p");
    lane.bind("p", "later", "#");
    clock.advance(Duration::from_secs(2));
    assert_eq!((lane.drain("q"), lane.drain("p")), (vec!["third".to_owned()], vec!["third".to_owned()]));
}

#[test]
fn a_delayed_exchange_says_how_it_routes() {
    let (broker, _clock) = manual();
    let lane = broker.channel();
    let method = exchange("later", ExchangeKind::Other("x-delayed-message".into()));
    let error = wait(lane.0.exchange_declare(method)).unwrap_err();
    assert_eq!((error.kind(), error.context("argument")), (ErrorKind::PreconditionFailed, Some("x-delayed-type")));
    let lane = broker.channel();
    let error = wait(lane.0.exchange_declare(exchange("x", ExchangeKind::Other("x-random".into())))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn dead_letters_may_be_delayed() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    delayed(&lane, "later", "direct");
    lane.queue_with("q", [("x-dead-letter-exchange", Value::from("later"))]);
    lane.bind("q", "later", "q");
    lane.send("q", "again", |envelope| drop(envelope.headers.table_mut().insert("x-delay", 500))).unwrap();
    lane.reject(lane.get("q").unwrap().tag);
    assert_eq!(lane.ready("q"), 0);
    clock.advance(Duration::from_millis(500));
    assert_eq!(lane.drain("q"), ["again"]);
}
