//! A broker short of memory takes no publishes; acks go on.

use std::time::Duration;

use kombu_brokers::{PATIENCE, RabbitServer, eventually};
use kombu_core::{ErrorKind, Message, Outcome, Queue};

use crate::common::{Diary, connection, wait_for};

#[test]
fn publishers_wait_with_their_deadline_while_acks_flow() {
    let server = RabbitServer::start();
    let connection = connection(&server.url());
    let diary = Diary::of(&connection);
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    let producer = connection.producer();
    let (sender, messages) = std::sync::mpsc::channel();
    let _consumer =
        connection.consumer(&queue).on_message(move |message: Message| sender.send(message).unwrap()).consume().wait();
    for number in 0..10 {
        producer.publish(number.to_string()).routing_key("q").wait().unwrap();
    }
    let held: Vec<Message> = (0..10).map(|_| messages.recv_timeout(PATIENCE).unwrap()).collect();

    server.block_publishers();
    // The first one makes the broker say so; it may have it.
    let first = producer.publish("first").routing_key("q").send();
    wait_for("the broker says so", || diary.count("blocked") == 1);
    let second = producer.publish("second").routing_key("q").timeout(Duration::from_millis(200)).wait().unwrap_err();
    assert_eq!((second.kind(), second.outcome()), (ErrorKind::Timeout, Some(Outcome::NotSent)), "{second}");
    let waiting = producer.publish("third").routing_key("q").send();
    held.into_iter().for_each(|message| message.ack().wait().unwrap());
    let unacknowledged = "lists:sum([N || [{_, N}] <- [rabbit_amqqueue:info(Q, [messages_unacknowledged]) || Q <- rabbit_amqqueue:list()]])";
    assert!(eventually(PATIENCE, || server.eval(unacknowledged) == "0"), "acks flow: {}", server.eval(unacknowledged));

    server.unblock_publishers();
    first.wait().unwrap();
    waiting.wait().unwrap();
    wait_for("the broker says so", || diary.count("unblocked") == 1);
    let mut bodies: Vec<String> = (0..2)
        .map(|_| messages.recv_timeout(PATIENCE).unwrap())
        .map(|message| {
            let text = message.text().unwrap().to_owned();
            message.ack();
            text
        })
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["first", "third"], "what timed out was never sent");
}
