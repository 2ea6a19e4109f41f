//! Messages and queues go when their time has come, and not before.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::time::Duration;

use common::{Lane, manual, numbers, queue, wait};
use kombu_core::method::QueueDeclare;
use kombu_core::{ErrorKind, Value};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn exists(lane: &Lane, name: &str) -> bool {
    match wait(lane.0.queue_declare(QueueDeclare { passive: true, ..queue(name) })) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            false
        }
    }
}

fn expiring(lane: &Lane, queue: &str, body: &str, after: Duration) {
    lane.send(queue, body, |envelope| envelope.properties.set_expiration(after)).unwrap();
}

#[test]
fn a_message_is_not_delivered_late() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    lane.queue_with("q", [("x-message-ttl", Value::from(1000))]);
    lane.fill("q", 0..2);
    clock.advance(SECOND - MILLISECOND);
    lane.fill("q", 2..4);
    assert_eq!(lane.ready("q"), 4);
    clock.advance(MILLISECOND);
    // Not even to a consumer that comes first of all.
    assert_eq!(lane.consume("q").take_bodies(), numbers(2..4));
    lane.close();
    let lane = broker.channel();
    assert_eq!(lane.ready("q"), 2);
    clock.advance(SECOND);
    assert!(lane.get("q").is_none());
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn what_is_given_back_to_an_empty_queue_goes_when_its_time_has_come() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    lane.queue("q");
    let sink = lane.consume("q");
    expiring(&lane, "q", "held", SECOND);
    assert_eq!(sink.take_bodies(), ["held"]);
    lane.close();
    let lane = broker.channel();
    assert_eq!(lane.ready("q"), 1);
    clock.advance(SECOND);
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn the_shorter_time_of_queue_and_message_counts() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    lane.queue_with("q", [("x-message-ttl", Value::from(2000))]);
    expiring(&lane, "q", "long", SECOND * 60);
    lane.queue_with("p", [("x-message-ttl", Value::from(2000))]);
    expiring(&lane, "p", "short", SECOND);
    clock.advance(SECOND);
    assert_eq!((lane.ready("q"), lane.ready("p")), (1, 0));
    clock.advance(SECOND);
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn a_message_behind_a_living_one_goes_when_it_comes_to_the_head() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..1);
    expiring(&lane, "q", "gone", SECOND);
    lane.fill("q", 1..2);
    clock.advance(SECOND * 2);
    assert_eq!(lane.ready("q"), 3);
    lane.ack(lane.get("q").unwrap().tag);
    assert_eq!(lane.ready("q"), 1);
    assert_eq!(lane.drain("q"), ["1"]);
}

#[test]
fn a_message_that_may_not_wait_is_delivered_at_once_or_not() {
    let (broker, _clock) = manual();
    let lane = broker.channel();
    lane.queue("q");
    expiring(&lane, "q", "nobody there", Duration::ZERO);
    assert_eq!(lane.ready("q"), 0);
    let sink = lane.consume("q");
    expiring(&lane, "q", "somebody there", Duration::ZERO);
    let held = sink.take();
    assert_eq!(common::bodies(&held), ["somebody there"]);
    // Given back, it would have to wait.
    lane.requeue(held[0].tag);
    assert_eq!((sink.len(), lane.ready("q")), (0, 0));
}

#[test]
fn a_message_given_back_keeps_its_time() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    lane.queue("q");
    expiring(&lane, "q", "a", SECOND);
    let held = lane.get("q").unwrap();
    clock.advance(SECOND / 2);
    lane.requeue(held.tag);
    let held = lane.get("q").unwrap();
    assert!(held.redelivered);
    clock.advance(SECOND / 2);
    lane.requeue(held.tag);
    assert!(lane.get("q").is_none());
}

#[test]
fn an_unused_queue_goes_and_use_puts_it_off() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    let declare = || lane.queue_with("q", [("x-expires", Value::from(1000))]);
    let almost = || clock.advance(SECOND - MILLISECOND);
    declare();
    almost();
    declare();
    almost();
    lane.get("q");
    almost();
    assert!(exists(&lane, "q"));
    almost();
    // A publish is no use.
    lane.fill("q", 0..1);
    clock.advance(MILLISECOND);
    assert!(!exists(&lane, "q"));

    let lane = broker.channel();
    lane.queue_with("p", [("x-expires", Value::from(1000))]);
    let tag = lane.consume_into("p", std::sync::Arc::new(common::Collect::default()));
    clock.advance(SECOND * 60);
    wait(lane.0.basic_cancel(tag)).unwrap();
    almost();
    assert!(exists(&lane, "p"));
    clock.advance(SECOND);
    assert!(!exists(&lane, "p"));
}
