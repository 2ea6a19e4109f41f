//! The program of the front page, on every broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{on_each_broker, unique};
use kombu::prelude::*;

#[test]
fn a_hub_carries_consumer_producer_and_timers() {
    on_each_broker(|broker| {
        let (hub, connection) = broker.hub();
        let exchange = Exchange::direct(unique("exchange"));
        let queue = Queue::new(unique("queue")).bind(&exchange, "key");
        let (received, messages) = mpsc::channel();
        let consumer = connection
            .consumer(&queue)
            .on_message(move |message| {
                received.send(message.text().unwrap().to_owned()).unwrap();
                message.ack();
            })
            .consume()
            .wait()
            .unwrap();

        let producer = connection.producer().with_exchange(&exchange).with_routing_key("key");
        assert_eq!(producer.publish("first").wait().unwrap().queues, broker.reached(1));
        let again = producer.clone();
        let mut number = 0;
        hub.timer().call_repeatedly(Duration::from_millis(1), move |hub| {
            number += 1;
            drop(again.publish(format!("timer {number}")).send());
            if number == 3 {
                hub.call_later(Duration::from_millis(1), |hub| hub.stop());
            }
        });
        hub.run_forever().unwrap();
        let mut got = Vec::new();
        common::turn_until(&hub, || {
            got.extend(messages.try_iter());
            got.len() >= 4
        });
        got.truncate(4);
        assert_eq!(got, ["first", "timer 1", "timer 2", "timer 3"], "on {}", broker.name);
        drop(consumer);
    });
}

#[test]
fn two_connections_of_two_brokers_share_one_hub() {
    let hub = Hub::new().unwrap();
    let (here, there) = (common::memory(), common::redis());
    let (memory, redis) = (here.connection(), there.connection());
    memory.register_with_event_loop(&hub).unwrap();
    redis.register_with_event_loop(&hub).unwrap();

    // Messages go from memory to Redis and are counted there.
    let (from, to) = (Queue::new(unique("from")), Queue::new(unique("to")));
    let (counted, count) = mpsc::channel();
    let _sink = redis
        .consumer(&to)
        .on_message(move |message| {
            counted.send(message.text().unwrap().to_owned()).unwrap();
            message.ack();
        })
        .consume()
        .wait()
        .unwrap();
    let forward = redis.producer().with_routing_key(to.name());
    let _bridge = memory
        .consumer(&from)
        .on_message(move |message| {
            // The answer is waited for inside the callback: what is acknowledged here is safe there.
            forward.publish(message.body().clone()).wait()?;
            message.ack();
            Ok::<(), Error>(())
        })
        .consume()
        .wait()
        .unwrap();
    let producer = memory.producer().with_routing_key(from.name());
    for number in 0..100 {
        drop(producer.publish(number.to_string()).send());
    }
    let mut got = Vec::new();
    common::turn_until(&hub, || {
        got.extend(count.try_iter());
        got.len() == 100
    });
    assert_eq!(got, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn without_a_hub_the_connection_runs_by_itself() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        let queue = Queue::new(unique("queue"));
        let (received, messages) = mpsc::channel();
        let _consumer = connection
            .consumer(&queue)
            .on_message(move |message| {
                let thread = std::thread::current().name().map(str::to_owned);
                received.send((message.text().unwrap().to_owned(), thread)).unwrap();
                message.ack();
            })
            .consume()
            .wait()
            .unwrap();
        connection.producer().publish("hello").routing_key(queue.name()).wait().unwrap();
        let (text, thread) = messages.recv_timeout(common::PATIENCE).unwrap();
        assert_eq!(text, "hello");
        // The shared hub thread runs none of the application's code.
        assert_eq!(thread.as_deref(), Some("kombu-callbacks"));
    });
}

#[test]
fn bodies_come_as_they_went() {
    on_each_broker(|broker| {
        let connection = broker.connection();
        let queue = Queue::new(unique("queue"));
        queue.declare(&connection).wait().unwrap();
        let producer = connection.producer().with_routing_key(queue.name());
        let fetch = || queue.get(&connection).wait().unwrap().expect("a message");

        producer.publish("Grüße, 世界").wait().unwrap();
        let message = fetch();
        assert_eq!(message.text().unwrap(), "Grüße, 世界");
        assert_eq!((message.content_type(), message.content_encoding()), ("text/plain", "utf-8"));
        message.ack();

        let every_byte: Vec<u8> = (0..=255).collect();
        producer.publish(every_byte.clone()).wait().unwrap();
        let message = fetch();
        assert_eq!(message.body().as_ref(), every_byte);
        assert_eq!(message.payload().unwrap(), Value::Bytes(every_byte.into()));
        message.ack();

        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct Order {
            id: u64,
            lines: Vec<String>,
        }
        let order = Order { id: 7, lines: vec!["tea".into(), "rice".into()] };
        producer.publish(Json(&order)).header("attempt", 3).correlation_id("c-1").reply_to("replies").wait().unwrap();
        let message = fetch();
        assert_eq!(message.decode::<Order>().unwrap(), order);
        assert_eq!(message.headers().get("attempt"), Some(&Value::from(3)));
        assert_eq!(message.properties().correlation_id(), Some("c-1"));
        assert_eq!(message.properties().reply_to(), Some("replies"));
        message.ack();

        producer.publish("").wait().unwrap();
        let message = fetch();
        assert!(message.body().is_empty());
        message.ack();
        assert!(queue.get(&connection).wait().unwrap().is_none());
    });
}
