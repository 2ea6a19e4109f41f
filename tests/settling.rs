//! Every message gets exactly one answer, and none is lost for want of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::{Broker, PATIENCE, on_each_broker, unique};
use kombu::ConnectionEvent;
use kombu::prelude::*;

fn queue_with(broker: &Broker, bodies: &[&str]) -> (Connection, Queue) {
    let connection = broker.connection();
    let queue = Queue::new(unique("queue"));
    queue.declare(&connection).wait().unwrap();
    let producer = connection.producer().with_routing_key(queue.name());
    for body in bodies {
        producer.publish(*body).wait().unwrap();
    }
    (connection, queue)
}

fn fetch(connection: &Connection, queue: &Queue) -> Message {
    queue.get(connection).wait().unwrap().expect("a message")
}

fn is_empty(connection: &Connection, queue: &Queue) -> bool {
    queue.get(connection).wait().unwrap().is_none()
}

/// Waits until so many messages are ready in the queue.
fn wait_for_count(connection: &Connection, queue: &Queue, count: u32) {
    let deadline = Instant::now() + PATIENCE;
    while queue.declare(connection).wait().unwrap().message_count != count {
        assert!(Instant::now() < deadline, "there are never {count} messages");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn acked_and_rejected_messages_do_not_come_back() {
    on_each_broker(|broker| {
        let (connection, queue) = queue_with(broker, &["a", "b"]);
        fetch(&connection, &queue).ack().wait().unwrap();
        fetch(&connection, &queue).reject().wait().unwrap();
        connection.close().wait().unwrap();
        let again = broker.connection();
        assert!(is_empty(&again, &queue), "on {}", broker.name);
    });
}

#[test]
fn a_requeued_message_comes_back_first_and_flagged() {
    on_each_broker(|broker| {
        let (connection, queue) = queue_with(broker, &["a", "b"]);
        let message = fetch(&connection, &queue);
        assert!(!message.redelivered());
        message.requeue().wait().unwrap();
        let message = fetch(&connection, &queue);
        assert_eq!((message.text().unwrap(), message.redelivered()), ("a", true), "on {}", broker.name);
        assert!(message.maybe_duplicate());
        message.ack();
        let message = fetch(&connection, &queue);
        assert_eq!((message.text().unwrap(), message.redelivered()), ("b", false));
        message.ack();
    });
}

#[test]
fn a_dropped_message_comes_back() {
    on_each_broker(|broker| {
        let (connection, queue) = queue_with(broker, &["a"]);
        drop(fetch(&connection, &queue));
        let message = fetch(&connection, &queue);
        assert!(message.redelivered());
        message.ack();
    });
}

#[test]
fn what_is_held_goes_back_when_the_connection_closes() {
    on_each_broker(|broker| {
        let (connection, queue) = queue_with(broker, &["a", "b", "c"]);
        let held = [fetch(&connection, &queue), fetch(&connection, &queue)];
        connection.close().wait().unwrap();
        held.into_iter().for_each(Message::leave_unacked);

        let again = broker.connection();
        for (body, redelivered) in [("a", true), ("b", true), ("c", false)] {
            let message = fetch(&again, &queue);
            assert_eq!((message.text().unwrap(), message.redelivered()), (body, redelivered), "on {}", broker.name);
            message.ack();
        }
    });
}

#[test]
fn what_was_prefetched_goes_back_when_the_last_clone_goes() {
    on_each_broker(|broker| {
        let (connection, queue) = queue_with(broker, &["a", "b", "c"]);
        let (hold, held) = mpsc::channel();
        let consumer =
            connection.consumer(&queue).on_message(move |message| hold.send(message)).consume().wait().unwrap();
        let first = held.recv_timeout(PATIENCE).unwrap();
        first.ack().wait().unwrap();
        drop((consumer, connection, held));

        let again = broker.connection();
        let mut left = vec![fetch(&again, &queue), fetch(&again, &queue)];
        left.sort_by_key(|message| message.text().unwrap().to_owned());
        assert_eq!(left.iter().map(|message| message.text().unwrap()).collect::<Vec<_>>(), ["b", "c"]);
        left.into_iter().for_each(|message| drop(message.ack()));
    });
}

#[test]
fn a_panicking_handler_gives_back_and_goes_on() {
    on_each_broker(|broker| {
        let (connection, queue) = queue_with(broker, &["a", "b"]);
        let failures = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&failures);
        connection.on_event(move |event| {
            if let ConnectionEvent::HandlerFailed(error) = event {
                told.lock().unwrap().push(error.kind());
            }
        });
        let (received, messages) = mpsc::channel();
        let calls = AtomicUsize::new(0);
        let _consumer = connection
            .consumer(&queue)
            .on_message(move |message| {
                if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    panic!("the first message is too much");
                }
                received.send((message.text().unwrap().to_owned(), message.redelivered())).unwrap();
                message.ack();
            })
            .consume()
            .wait()
            .unwrap();
        let mut got = [messages.recv_timeout(PATIENCE).unwrap(), messages.recv_timeout(PATIENCE).unwrap()];
        got.sort();
        assert_eq!(got, [("a".to_owned(), true), ("b".to_owned(), false)], "on {}", broker.name);
        assert!(common::eventually(PATIENCE, || failures.lock().unwrap().contains(&ErrorKind::Panicked)));
    });
}

#[test]
fn a_message_that_is_always_dropped_is_set_aside_in_the_end() {
    on_each_broker(|broker| {
        let connection = Connection::builder(&broker.url).delivery_limit(3).build().unwrap();
        let queue = Queue::new(unique("queue"));
        queue.declare(&connection).wait().unwrap();
        let producer = connection.producer().with_routing_key(queue.name());
        producer.publish("poison").wait().unwrap();
        producer.publish("good").wait().unwrap();
        let (received, messages) = mpsc::channel();
        let drops = Arc::new(AtomicUsize::new(0));
        let dropped = Arc::clone(&drops);
        let _consumer = connection
            .consumer(&queue)
            .on_message(move |message| {
                if message.text()? == "poison" {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    return Err(Error::new(ErrorKind::Decode, "cannot handle it"));
                }
                received.send(()).unwrap();
                message.ack();
                Ok(())
            })
            .consume()
            .wait()
            .unwrap();
        messages.recv_timeout(PATIENCE).unwrap();
        let aside = || connection.malformed(queue.name(), 10).wait().unwrap();
        assert!(common::eventually(PATIENCE, || aside().len() == 1), "on {}", broker.name);
        // Three times given back, dropped once more, set aside.
        assert_eq!(drops.load(Ordering::Relaxed), 4, "on {}", broker.name);
        let aside = &aside()[0];
        assert!(aside.reason.contains("dropped unanswered"), "{}", aside.reason);
        assert!(!aside.raw.is_empty());
    });
}

#[test]
fn what_waits_for_a_cancelled_consumer_goes_back_in_order() {
    on_each_broker(|broker| {
        // Enough to be given back in several steps, whichever way the transport does it.
        let bodies: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
        let (connection, queue) = queue_with(broker, &[]);
        let producer = connection.producer().with_routing_key(queue.name());
        let answers: Vec<_> = bodies.iter().map(|body| producer.publish(body.as_str()).send()).collect();
        for answer in answers {
            answer.wait().unwrap();
        }

        let taker = broker.connection();
        let (entered, inside) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let handler = move |message: Message| -> Result<()> {
            entered.send(()).unwrap();
            let _ = released.recv();
            message.ack();
            Ok(())
        };
        let consumer = taker.consumer(&queue).prefetch(2000).on_message(handler).consume().wait().unwrap();
        inside.recv_timeout(PATIENCE).unwrap();
        wait_for_count(&connection, &queue, 0);
        consumer.cancel().wait().unwrap();
        release.send(()).unwrap();

        wait_for_count(&connection, &queue, 1999);
        for body in &bodies[1..] {
            let message = fetch(&connection, &queue);
            assert_eq!(message.text().unwrap(), *body, "on {}", broker.name);
            message.ack();
        }
    });
}
