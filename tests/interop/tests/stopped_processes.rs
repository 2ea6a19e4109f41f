//! A process that stands still for longer than its lease handles nothing afterwards that was given to somebody else meanwhile.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::BufRead;

use common::{ChildProcess, Incoming, eventually};
use kombu::{Connection, ErrorKind, Hub, Message, Queue};
use kombu_brokers::{PATIENCE, RedisServer};
use serde_json::{Value as JsonValue, json};

const COUNT: usize = 10;

/// Says what it gets, and holds the first until it is told to go on.
fn handle(message: Message, is_first: bool) {
    println!("\n{}", json!({"got": message.text().unwrap()}));
    if is_first {
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    }
    let lost = message.ack().wait().is_err_and(|error| error.kind() == ErrorKind::LeaseLost);
    assert_eq!(lost, is_first);
}

#[test]
#[ignore = "run by the other tests as a process of its own"]
fn consumer() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let order: JsonValue = serde_json::from_str(&line).unwrap();
    let connection = Connection::new(order["url"].as_str().unwrap()).unwrap();
    let queue = Queue::new("q");
    let consumer = connection.consumer(&queue).prefetch(COUNT as u16);
    let mut is_first = true;
    match order["face"].as_str().unwrap() {
        "callback" => {
            let on_message = move |message: Message| handle(message, std::mem::replace(&mut is_first, false));
            let _consumer = consumer.on_message(on_message).consume().wait().unwrap();
            // Until it is killed, or the test that started it is gone.
            loop {
                std::thread::park();
            }
        }
        _ => {
            let mut stream = consumer.stream().wait().unwrap();
            let hub = Hub::new().unwrap();
            while let Some(message) = hub.block_on(stream.next()).unwrap() {
                handle(message.unwrap(), std::mem::replace(&mut is_first, false));
            }
        }
    }
}

fn what_others_got_is_not_handled(face: &str) {
    let server = RedisServer::start();
    let url = format!("{}?lease=1", server.url());
    let publishing = Connection::new(&server.url()).unwrap();
    let publish = |text: String| publishing.producer().publish(text).routing_key("q").wait().unwrap();
    for number in 0..COUNT {
        publish(number.to_string());
    }
    let mut child = ChildProcess::this_test("consumer").spawn();
    child.send_json(&json!({"url": url, "face": face}));
    assert_eq!(child.recv_json(4 * PATIENCE)["got"], "0");
    let unacked = || server.command(&["HLEN", "unacked"]).int();
    assert!(eventually(PATIENCE, || unacked() == COUNT as i64), "{}", unacked());
    child.pause();
    let other = Connection::new(&url).unwrap();
    let incoming = Incoming::start(&other, &Queue::new("q"));
    for message in incoming.take(COUNT) {
        message.ack().wait().unwrap();
    }
    incoming.cancel();
    other.close().wait().unwrap();
    assert!(eventually(PATIENCE, || unacked() == 0));
    // It goes on before it can know what has happened.
    child.send_json(&json!({"go": "on"}));
    child.resume();
    publish("end".to_owned());
    assert_eq!(child.recv_json(4 * PATIENCE)["got"], "end", "of what it held only the first was handled");
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "q", "unacked"]).int() == 0));
}

#[test]
fn a_callback_handles_nothing_that_others_got() {
    what_others_got_is_not_handled("callback");
}

#[test]
fn a_stream_hands_over_nothing_that_others_got() {
    what_others_got_is_not_handled("stream");
}
