//! A connection is registered with one hub, before its first operation; another try is refused and changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod common;

use common::memory;
use kombu::ErrorKind;
use kombu::prelude::*;

#[track_caller]
fn refused(connection: &Connection, hub: &Hub) {
    let error = connection.register_with_event_loop(hub).unwrap_err();
    assert_eq!(
        (error.kind(), error.operation()),
        (ErrorKind::InvalidState, Some("register_with_event_loop")),
        "{error}"
    );
    assert!(error.to_string().contains("before its first operation"), "{error}");
}

#[test]
fn a_connection_that_is_in_use_stays_where_it_is() {
    let connection = memory().connection();
    let queue = Queue::new("queue");
    queue.declare(&connection).wait().unwrap();
    let hub = Hub::new().unwrap();
    refused(&connection, &hub);
    // Nor does the end of that hub end the connection.
    hub.close();
    connection.producer().publish("x").routing_key(queue.name()).wait().unwrap();
    let message = queue.get(&connection).wait().unwrap().unwrap();
    assert_eq!(message.text().unwrap(), "x");
    message.ack();
}

#[test]
fn a_connection_is_registered_once() {
    let connection = memory().connection();
    let hubs = [Hub::new().unwrap(), Hub::new().unwrap()];
    connection.register_with_event_loop(&hubs[0]).unwrap();
    hubs.iter().for_each(|hub| refused(&connection, hub));
    hubs[0].block_on(Queue::new("queue").declare(&connection)).unwrap().unwrap();
    hubs[0].block_on(connection.close()).unwrap().unwrap();
}
