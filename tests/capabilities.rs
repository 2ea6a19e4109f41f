//! A program learns at the connect whether the broker can do what it needs, and uses it in AMQP's words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use kombu::prelude::*;
use kombu::{ErrorKind, ManualClock};
use kombu_core::PriorityOrder;

#[test]
fn what_is_missing_is_listed_in_one_error() {
    let connection = Connection::new("memory://requirements").unwrap();
    connection.require(["dead_letter", "delayed", "priority"]).wait().unwrap();
    connection.require([PriorityOrder::HighFirst]).wait().unwrap();
    let error = connection.require(["durable", "dead_letter", "multi_process"]).wait().unwrap_err();
    assert_eq!((error.kind(), error.context("missing")), (ErrorKind::Unsupported, Some("durable, multi_process")));
}

#[test]
fn a_broker_that_lacks_something_is_not_connected_to() {
    let with = |need: &str| Connection::builder("memory://requirements").require("nack").require(need).build().unwrap();
    let connection = with("persistent");
    let error = connection.connect().wait().unwrap_err();
    assert_eq!((error.kind(), error.context("missing")), (ErrorKind::Unsupported, Some("persistent")));
    assert!(!connection.is_connected());
    with("message_ttl").connect().wait().unwrap();
    assert_eq!(with("mesage_ttl").connect().wait().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_is_in_use_is_kept_by_a_deletion_with_a_condition() {
    let connection = Connection::new("memory://conditions").unwrap();
    let exchange = Exchange::direct("used");
    let queue = Queue::new("full").bind(&exchange, "key");
    queue.declare(&connection).wait().unwrap();
    connection.producer().publish("kept").routing_key("full").wait().unwrap();
    let refused = |result: kombu::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::PreconditionFailed);
    refused(queue.delete_if_empty(&connection).wait().map(drop));
    refused(exchange.delete_if_unused(&connection).wait());
    let idle = Queue::new("idle");
    let consumer = connection.consumer(idle.clone()).on_message(Message::leave_unacked).consume().wait().unwrap();
    refused(idle.delete_if_unused(&connection).wait().map(drop));
    consumer.cancel().wait().unwrap();
    assert_eq!(idle.delete_if_unused(&connection).wait().unwrap(), 0);
    assert_eq!(queue.delete_if_unused(&connection).wait().unwrap(), 1);
    exchange.delete_if_unused(&connection).wait().unwrap();
    queue.declare(&connection).wait().unwrap();
    assert_eq!(queue.delete_if_empty(&connection).wait().unwrap(), 0);
}

#[test]
fn exchanges_are_bound_and_messages_delayed() {
    let clock = ManualClock::new();
    let hub = Hub::with_clock(Arc::new(clock.clone())).unwrap();
    let connection = Connection::builder("memory://bound-and-delayed").clock(Arc::new(clock.clone())).build().unwrap();
    connection.register_with_event_loop(&hub).unwrap();
    let later = Exchange::direct("later").delayed();
    let all = Exchange::topic("all");
    all.bind_to(&connection, &later.binding("a.b")).wait().unwrap();
    let queue = Queue::new("q").bind(&all, "a.*");
    queue.declare(&connection).wait().unwrap();
    let producer = connection.producer();
    let publish = |text: &str| producer.publish(text).exchange(&later).routing_key("a.b");
    assert_eq!(publish("soon").delay(Duration::from_secs(1)).wait().unwrap().queues, None);
    assert_eq!(publish("now").wait().unwrap().queues, Some(1));
    let next = || {
        queue.get(&connection).wait().unwrap().map(|message| {
            let text = message.text().unwrap().to_owned();
            message.ack();
            text
        })
    };
    assert_eq!((next().as_deref(), next()), (Some("now"), None));
    clock.advance(Duration::from_secs(1));
    assert_eq!(next().as_deref(), Some("soon"));
    all.unbind_from(&connection, &later.binding("a.b")).wait().unwrap();
    assert_eq!(publish("nowhere").wait().unwrap().queues, Some(0));
}
