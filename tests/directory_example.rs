//! The transport of `examples/directory`: a killed process loses nothing, and two do not share a directory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

#[path = "../examples/directory/transport.rs"]
mod transport;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kombu::prelude::*;
use kombu::{ErrorKind, ManualClock};

/// A directory of one test, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        Place(std::env::temp_dir().join(format!("kombu-directory-{name}-{}", std::process::id())))
    }

    fn url(&self) -> String {
        format!("directory://{}", self.0.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Runs `child` in a process of its own until it says that it is done.
fn child(place: &Place) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "publishes_and_waits", "--nocapture"]).env("KOMBU_DIRECTORY", place.url());
    let mut child = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("done")), "the child ended early");
    child
}

const MESSAGES: usize = 200;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "what `child` runs as a process of its own"]
fn publishes_and_waits() {
    let Ok(url) = std::env::var("KOMBU_DIRECTORY") else { return };
    let connection = Connection::new(&url).unwrap();
    let exchange = Exchange::topic("media");
    let queue = Queue::new("a/b.\u{e9}").bind(&exchange, "video.#").max_priority(2);
    queue.declare(&connection).wait().unwrap();
    for number in 0..MESSAGES {
        let publish = connection.producer();
        let priority = u8::from(number >= MESSAGES - 10);
        publish
            .publish(number.to_string())
            .exchange(&exchange)
            .routing_key("video.new")
            .priority(priority)
            .header("number", number as i64)
            .wait()
            .unwrap();
    }
    let later = Exchange::fanout("later").delayed();
    queue.clone().bind(&later, "").declare(&connection).wait().unwrap();
    connection.producer().publish("delayed").exchange(&later).delay(Duration::from_secs(3600)).wait().unwrap();
    // The most urgent ten are done with, the next ten are held.
    let mut held = Vec::new();
    for number in 0..20 {
        let message = queue.get(&connection).wait().unwrap().unwrap();
        if number < 10 {
            message.ack().wait().unwrap();
        } else {
            held.push(message);
        }
    }
    println!("done");
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn a_killed_process_loses_nothing() {
    let place = Place::new("killed");
    drop(child(&place));
    // An hour later.
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(2 * 3600));
    let connection = Connection::builder(&place.url()).clock(Arc::new(clock)).build().unwrap();
    let queue = Queue::new("a/b.\u{e9}").max_priority(2);
    assert_eq!(queue.declare(&connection).wait().unwrap().message_count as usize, MESSAGES - 10);
    let mut numbers = Vec::new();
    let mut redelivered = true;
    while let Some(message) = queue.get(&connection).wait().unwrap() {
        redelivered &= message.redelivered();
        numbers.push(message.text().unwrap().parse::<usize>().unwrap());
        assert_eq!(
            message.headers().get("number").and_then(kombu::Value::as_i64),
            Some(numbers[numbers.len() - 1] as i64)
        );
        message.ack().wait().unwrap();
    }
    assert!(redelivered);
    assert_eq!(numbers, (0..MESSAGES - 10).collect::<Vec<_>>());
    // What was held back comes once its exchange is known again, and the bindings are.
    Exchange::topic("media").declare(&connection).wait().unwrap();
    Exchange::fanout("later").delayed().declare(&connection).wait().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let on_message = move |message: Message| {
        sender.send(message.text().unwrap().to_owned()).unwrap();
        message.ack();
    };
    let _consumer = connection.consumer(&queue).on_message(on_message).consume().wait().unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), "delayed");
    let sent = connection.producer().publish("x").exchange(&Exchange::topic("media")).routing_key("video.new").wait();
    assert_eq!(sent.unwrap().queues, Some(1));
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let place = Place::new("shared");
    let child = child(&place);
    let connection = Connection::new(&place.url()).unwrap();
    let error = Queue::new("q").declare(&connection).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceLocked);
    drop(child);
    Queue::new("q").declare(&connection).wait().unwrap();
}

#[test]
fn a_first_delivery_is_no_repeat() {
    let place = Place::new("first");
    let connection = Connection::new(&place.url()).unwrap();
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    connection.producer().publish("a").routing_key("q").wait().unwrap();
    let message = queue.get(&connection).wait().unwrap().unwrap();
    assert!(!message.redelivered());
    message.requeue().wait().unwrap();
    let message = queue.get(&connection).wait().unwrap().unwrap();
    assert_eq!((message.redelivered(), message.delivery_count()), (true, Some(1)));
    message.ack().wait().unwrap();
    connection.close().wait().unwrap();
    drop(connection);
    // Nothing is left of what is done with.
    let connection = Connection::new(&place.url()).unwrap();
    assert_eq!(queue.declare(&connection).wait().unwrap().message_count, 0);
}
