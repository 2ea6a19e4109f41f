//! A lost broker connection is made again, with everything that was declared and consumed on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod common;
#[path = "common/flaky.rs"]
mod flaky;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{PATIENCE, eventually, unique};
use flaky::Switch;
use kombu::prelude::*;
use kombu::{ConnectionEvent, Outcome, RetryPolicy};

fn flaky() -> (Arc<Switch>, Connection) {
    let name = unique("flaky");
    let switch = Switch::of(&name);
    let soon = RetryPolicy { start: Duration::from_millis(1), step: Duration::ZERO, max: Duration::from_millis(1) };
    let connection = Connection::builder(&format!("flaky://{name}")).retry_policy(soon).build().unwrap();
    (switch, connection)
}

#[test]
fn consumers_resume_by_themselves() {
    let (switch, connection) = flaky();
    let exchange = Exchange::topic(unique("exchange"));
    let queue = Queue::new(unique("queue")).bind(&exchange, "a.#");
    let (received, messages) = mpsc::channel();
    let _consumer = connection
        .consumer(&queue)
        .on_message(move |message| {
            let text = message.text().unwrap().to_owned();
            // Answered before the test goes on to cut the line: otherwise it would rightly come again.
            message.ack();
            received.send(text).unwrap();
        })
        .consume()
        .wait()
        .unwrap();
    let producer = connection.producer().with_exchange(&exchange);
    for round in 0..5 {
        producer.publish(round.to_string()).routing_key("a.b").wait().unwrap();
        assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), round.to_string());
        switch.cut();
        assert!(eventually(PATIENCE, || switch.connects.load(Ordering::SeqCst) == round + 2));
    }
}

#[test]
fn operations_wait_for_the_broker_until_their_deadline() {
    let (switch, connection) = flaky();
    let queue = Queue::new(unique("queue"));
    queue.declare(&connection).wait().unwrap();
    switch.off();
    let late =
        connection.producer().publish("late").routing_key(queue.name()).timeout(Duration::from_millis(20)).wait();
    assert_eq!(late.unwrap_err().outcome(), Some(Outcome::NotSent));
    let patient = connection.producer().publish("patient").routing_key(queue.name()).send();
    switch.on();
    assert_eq!(patient.wait().unwrap().queues, Some(1));
    // What timed out before it was sent is never sent.
    let message = queue.get(&connection).wait().unwrap().unwrap();
    assert_eq!(message.text().unwrap(), "patient");
    message.ack();
    assert!(queue.get(&connection).wait().unwrap().is_none());
}

#[test]
fn losses_and_returns_are_told() {
    let (switch, connection) = flaky();
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    connection.on_event(move |event| {
        events.lock().unwrap().push(match event {
            ConnectionEvent::Connected { .. } => "connected",
            ConnectionEvent::Disconnected(_) => "disconnected",
            _ => return,
        });
    });
    let _stream = connection.consumer(Queue::new(unique("queue"))).stream().wait().unwrap();
    switch.cut();
    let expected = ["connected", "disconnected", "connected"];
    assert!(eventually(PATIENCE, || *told.lock().unwrap() == expected), "{:?}", told.lock().unwrap());
}

#[test]
fn a_declaration_that_does_not_fit_any_more_keeps_nothing_else_from_coming_back() {
    let (switch, connection) = flaky();
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    connection.on_event(move |event| {
        if let ConnectionEvent::DeclareFailed(error) = event {
            events.lock().unwrap().push(error.kind());
        }
    });
    let name = unique("exchange");
    Exchange::direct(name.as_str()).declare(&connection).wait().unwrap();
    let queue = Queue::new(unique("queue"));
    let (received, messages) = mpsc::channel();
    let _consumer = connection
        .consumer(&queue)
        .on_message(move |message| {
            message.ack();
            received.send(()).unwrap();
        })
        .consume()
        .wait()
        .unwrap();
    // Somebody makes it another one, while this connection is away.
    let other = Connection::new(&format!("memory://{}", connection.url().host().unwrap())).unwrap();
    switch.off();
    Exchange::direct(name.as_str()).delete(&other).wait().unwrap();
    Exchange::fanout(name.as_str()).declare(&other).wait().unwrap();
    switch.on();
    connection.producer().publish("x").routing_key(queue.name()).wait().unwrap();
    messages.recv_timeout(PATIENCE).unwrap();
    assert!(eventually(PATIENCE, || *told.lock().unwrap() == [ErrorKind::PreconditionFailed]));
}

#[test]
fn a_first_connection_that_fails_says_why_and_how_often() {
    let (switch, _) = flaky();
    switch.off();
    let name = unique("flaky");
    Switch::of(&name).off();
    let soon = RetryPolicy { start: Duration::from_millis(1), step: Duration::ZERO, max: Duration::from_millis(1) };
    let connection = Connection::builder(&format!("flaky://{name}"))
        .retry_policy(soon)
        .connect_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = connection.connect().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(
        error.context("attempts").is_some() && error.context("broker") == Some(&format!("flaky://{name}")),
        "{error}"
    );
}

#[test]
fn the_next_url_of_a_list_is_tried() {
    let (first, second) = (unique("flaky"), unique("flaky"));
    Switch::of(&first).off();
    let connection = Connection::new(&format!("flaky://{first};flaky://{second}")).unwrap();
    connection.connect().wait().unwrap();
    assert_eq!(connection.url().host(), Some(second.as_str()));
}
