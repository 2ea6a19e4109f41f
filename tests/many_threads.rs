//! Whoever publishes from several threads is heard in full, each in the order of its calls, and no wake-up is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

use common::PATIENCE;
use kombu::prelude::*;

const THREADS: u64 = 3;
const MESSAGES: u64 = 5_000;

/// Publishes from several threads, each now and then pausing until the consumer has nothing left to do.
fn publish(connection: &Connection, queue: &str) -> Vec<thread::JoinHandle<()>> {
    let publisher = |number: u64| {
        let producer = connection.producer().with_routing_key(queue);
        move || {
            for index in 0..MESSAGES {
                assert_eq!(producer.publish(format!("{number} {index}")).wait().unwrap().queues, Some(1));
                if index % 50 == number {
                    thread::yield_now();
                }
            }
        }
    };
    (0..THREADS).map(|number| thread::spawn(publisher(number))).collect()
}

/// What came so far, by thread.
#[derive(Default)]
struct Heard(HashMap<u64, u64>);

impl Heard {
    /// Takes a message, which must be the next of its thread; says whether it was the last of all.
    fn take(&mut self, text: &str) -> bool {
        let (thread, index) = text.split_once(' ').unwrap();
        let next = self.0.entry(thread.parse().unwrap()).or_default();
        assert_eq!(index.parse::<u64>().unwrap(), *next, "thread {thread}");
        *next += 1;
        self.0.values().sum::<u64>() == THREADS * MESSAGES
    }
}

#[test]
fn a_callback_hears_every_thread_in_order() {
    let connection = Connection::new("memory://many-threads-callback").unwrap();
    let (sender, receiver) = mpsc::channel();
    let mut heard = Heard::default();
    let on_message = move |message: Message| {
        if heard.take(message.text().unwrap()) {
            sender.send(()).unwrap();
        }
        message.ack();
    };
    let consumer = connection.consumer(Queue::new("many")).prefetch(100).on_message(on_message).consume();
    let _consumer = consumer.wait().unwrap();
    let publishers = publish(&connection, "many");
    receiver.recv_timeout(PATIENCE).unwrap();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
}

#[test]
fn a_stream_hears_every_thread_in_order() {
    let connection = Connection::new("memory://many-threads-stream").unwrap();
    let mut stream = connection.consumer(Queue::new("many")).prefetch(100).stream().wait().unwrap();
    let publishers = publish(&connection, "many");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let hear = async {
        let mut heard = Heard::default();
        loop {
            let message = stream.next().await.unwrap().unwrap();
            let is_last = heard.take(message.text().unwrap());
            message.ack();
            if is_last {
                break;
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, hear).await }).unwrap();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
}
