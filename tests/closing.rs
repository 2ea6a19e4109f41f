//! What is under way when something ends is brought to its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod common;

use std::time::Duration;

use common::{PATIENCE, eventually, on_each_broker, unique};
use kombu::prelude::*;

fn bodies(connection: &Connection, queue: &Queue) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(message) = queue.get(connection).wait().unwrap() {
        bodies.push(message.text().unwrap().to_owned());
        message.ack();
    }
    bodies
}

#[test]
fn closing_gives_back_what_a_stream_has_not_handed_over() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        let queue = Queue::new(unique("queue"));
        queue.declare(&connection).wait().unwrap();
        for text in ["a", "b", "c"] {
            connection.producer().publish(text).routing_key(queue.name()).wait().unwrap();
        }
        let mut stream = connection.consumer(&queue).stream().wait().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime.block_on(stream.next()).unwrap().unwrap();
        first.ack().wait().unwrap();
        connection.close().wait().unwrap();
        assert!(runtime.block_on(stream.next()).is_none());
        let again = broker.connection();
        assert_eq!(bodies(&again, &queue), ["b", "c"], "on {}", broker.name);
    });
}

#[test]
fn what_was_published_before_the_close_is_sent() {
    on_each_broker(|broker| {
        let queue = Queue::new(unique("queue"));
        let later = broker.connection();
        queue.declare(&later).wait().unwrap();

        let connection = broker.connection();
        drop(connection.producer().publish("closed").routing_key(queue.name()).send());
        connection.close().wait().unwrap();

        let connection = broker.connection();
        drop(connection.producer().publish("dropped").routing_key(queue.name()).send());
        drop(connection);

        let (hub, connection) = broker.hub();
        drop(connection.producer().publish("hub closed").routing_key(queue.name()).send());
        drop(hub);

        assert_eq!(bodies(&later, &queue), ["closed", "dropped", "hub closed"], "on {}", broker.name);
    });
}

#[test]
fn a_consumer_that_cannot_start_says_so_once_and_harms_nobody() {
    let broker = common::memory();
    let (hub, connection) = broker.hub();
    let good = Queue::new(unique("good"));
    let mut stream = connection.consumer(&good).stream().wait().unwrap();
    let missing = Queue::new(unique("missing"));
    let error = connection.consumer(&missing).auto_declare(false).stream().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    connection.producer().publish("still here").routing_key(good.name()).wait().unwrap();
    let message = hub.block_on(stream.next()).unwrap().unwrap().unwrap();
    assert_eq!(message.text().unwrap(), "still here");
    message.ack();
}

#[test]
fn a_stream_that_lost_one_queue_lets_go_of_the_others() {
    let broker = common::memory();
    let connection = broker.connection();
    let (gone, kept) = (Queue::new(unique("gone")), Queue::new(unique("kept")));
    let mut stream = connection.consumer([&gone, &kept]).stream().wait().unwrap();
    let other = broker.connection();
    gone.delete(&other).wait().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(stream.next()).unwrap().expect_err("its queue was deleted");
    assert!(runtime.block_on(stream.next()).is_none());
    let has_no_consumer = || kept.declare(&other).wait().unwrap().consumer_count == 0;
    assert!(eventually(PATIENCE, has_no_consumer));
    other.producer().publish("for others").routing_key(kept.name()).wait().unwrap();
    assert_eq!(bodies(&other, &kept), ["for others"]);
}

#[test]
fn time_outs_of_any_length_are_taken() {
    on_each_broker(|broker| {
        let connection = Connection::builder(&broker.url)
            .connect_timeout(Duration::MAX)
            .operation_timeout(Duration::MAX)
            .publish_timeout(Duration::MAX)
            .build()
            .unwrap();
        let queue = Queue::new(unique("queue"));
        queue.declare(&connection).wait().unwrap();
        connection.producer().publish("x").routing_key(queue.name()).timeout(Duration::MAX).wait().unwrap();
        assert_eq!(bodies(&connection, &queue), ["x"]);
    });
}
