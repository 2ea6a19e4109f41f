//! One verb, three endings: await, wait, drop; from a thread, a callback, an executor; with a deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{PATIENCE, memory, on_each_broker, unique};
use kombu::Outcome;
use kombu::prelude::*;

#[test]
fn a_dropped_answer_leaves_the_operation_under_way() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        let exchange = Exchange::direct(unique("exchange"));
        let queue = Queue::new(unique("queue")).bind(&exchange, "key");
        drop(queue.declare(&connection));
        for number in 0..10 {
            drop(connection.producer().publish(number.to_string()).exchange(&exchange).routing_key("key").send());
        }
        // Operations take effect in the order of the calls: this answer comes after all of the above.
        assert_eq!(queue.declare(&connection).wait().unwrap().message_count, 10, "on {}", broker.name);
    });
}

#[test]
fn a_callback_may_wait_and_no_other_callback_runs_meanwhile() {
    on_each_broker(|broker| {
        let (hub, connection) = broker.hub();
        let (work, done) = (Queue::new(unique("work")), Queue::new(unique("done")));
        done.declare(&connection).wait().unwrap();
        let producer = connection.producer();
        let (trace, traces) = mpsc::channel();
        let outer = connection.clone();
        let answers = done.clone();
        let _consumer = connection
            .consumer(&work)
            .on_message(move |message| {
                let text = message.text()?.to_owned();
                trace.send(format!("{text} begins")).unwrap();
                outer.producer().publish(text.clone()).routing_key(answers.name()).wait()?;
                trace.send(format!("{text} ends")).unwrap();
                message.ack();
                Ok::<(), Error>(())
            })
            .consume()
            .wait()
            .unwrap();
        for text in ["a", "b"] {
            drop(producer.publish(text).routing_key(work.name()).send());
        }
        let mut got = Vec::new();
        common::turn_until(&hub, || {
            got.extend(traces.try_iter());
            got.len() == 4
        });
        assert_eq!(got, ["a begins", "a ends", "b begins", "b ends"], "on {}", broker.name);
        assert_eq!(done.declare(&connection).wait().unwrap().message_count, 2);
    });
}

#[test]
fn answers_are_awaited_on_any_executor() {
    on_each_broker(|broker| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let connection = broker.connection();
            let queue = Queue::new(unique("queue"));
            let mut messages = connection.consumer(&queue).stream().await.unwrap();
            for text in ["a", "b", "c"] {
                connection.producer().publish(text).routing_key(queue.name()).await.unwrap();
            }
            for text in ["a", "b", "c"] {
                let message = messages.next().await.unwrap().unwrap();
                assert_eq!(message.text().unwrap(), text);
                message.ack().await.unwrap();
            }
            connection.close().await.unwrap();
            assert!(messages.next().await.is_none(), "a closed connection ends the stream");
        });
    });
}

#[test]
fn a_dropped_stream_gives_back_what_it_holds() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        let queue = Queue::new(unique("queue"));
        let stream = connection.consumer(&queue).stream().wait().unwrap();
        for text in ["a", "b"] {
            connection.producer().publish(text).routing_key(queue.name()).wait().unwrap();
        }
        drop(stream);
        let get = || queue.get(&connection).wait().unwrap();
        for text in ["a", "b"] {
            let mut message = None;
            assert!(common::eventually(PATIENCE, || {
                message = get();
                message.is_some()
            }));
            let message = message.unwrap();
            assert_eq!(message.text().unwrap(), text, "on {}", broker.name);
            message.ack();
        }
    });
}

#[test]
fn a_wait_on_a_hub_that_nobody_turns_ends_and_says_so() {
    let broker = memory();
    let hub = Hub::new().unwrap();
    let connection = Connection::builder(&broker.url).operation_timeout(Duration::from_millis(50)).build().unwrap();
    connection.register_with_event_loop(&hub).unwrap();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| Queue::new("q").declare(&connection).wait().unwrap_err()).join().unwrap()
    });
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("not running"), "{error}");
}

#[test]
fn a_mandatory_publish_that_matches_no_queue_comes_back() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        let exchange = Exchange::direct(unique("exchange"));
        let queue = Queue::new(unique("queue")).bind(&exchange, "here");
        queue.declare(&connection).wait().unwrap();
        let producer = connection.producer().with_exchange(&exchange);
        assert_eq!(producer.publish("a").routing_key("here").mandatory().wait().unwrap().queues, broker.reached(1));
        assert_eq!(producer.publish("b").routing_key("nowhere").wait().unwrap().queues, broker.reached(0));
        let error = producer.publish("c").routing_key("nowhere").mandatory().wait().unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Returned, Some(Outcome::NotSent)),
            "on {}",
            broker.name
        );
        assert!(error.to_string().contains("nowhere"), "{error}");
    });
}

#[test]
fn a_closed_connection_says_so() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        connection.connect().wait().unwrap();
        connection.close().wait().unwrap();
        connection.close().wait().unwrap();
        let error = Queue::new("q").declare(&connection).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        let error = connection.producer().publish("x").routing_key("q").wait().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Some(Outcome::NotSent)));
    });
}
