//! What a channel leaves until a callback catches up: an acknowledgement that was put off counts as given, and a delivery that was
//! kept as delivered.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{Broker, Hear, Lane, bodies, numbers, wait};
use kombu_core::{Connection, Delivery, DeliverySink, DeliveryTag, Error, ErrorKind, Message, Put, Queue};
use kombu_hub as _;

fn put_off(lane: &Lane, tag: u64) {
    lane.0.put_off_ack(DeliveryTag(tag)).take_now().unwrap().unwrap();
}

#[test]
fn what_was_acknowledged_does_not_come_back_when_the_channel_ends() {
    let broker = Broker::new();
    for ends in [|lane: &Lane| lane.close(), |lane: &Lane| wait(lane.0.basic_recover()).unwrap()] {
        let lane = broker.channel();
        lane.queue("q");
        lane.fill("q", 0..4);
        let sink = lane.consume("q");
        assert_eq!(sink.take_bodies(), numbers(0..4));
        put_off(&lane, 1);
        put_off(&lane, 3);
        ends(&lane);
        let back = sink.take_bodies();
        let left = broker.channel().drain("q");
        assert_eq!([back, left].concat(), ["1", "3"]);
        lane.close();
        assert_eq!(broker.channel().drain("q").len() % 2, 0);
    }
}

#[test]
fn what_was_acknowledged_does_not_come_back_when_the_connection_ends() {
    let broker = Broker::new();
    let transport = broker.connect();
    let lane = Lane(wait(transport.channel()).unwrap());
    lane.queue("q");
    lane.fill("q", 0..3);
    let sink = lane.consume("q");
    assert_eq!(sink.len(), 3);
    put_off(&lane, 2);
    wait(transport.close()).unwrap();
    assert_eq!(broker.channel().drain("q"), ["0", "2"]);
    let late = lane.0.put_off_ack(DeliveryTag(1)).take_now().unwrap().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::ChannelGone);
}

#[test]
fn they_make_room_when_they_are_carried_out_and_when_they_are_many() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..300);
    lane.qos(100, false);
    let sink = lane.consume("q");
    assert_eq!(sink.take_bodies(), numbers(0..100));
    (1..=10).for_each(|tag| put_off(&lane, tag));
    lane.0.catch_up();
    assert_eq!(sink.take_bodies(), numbers(100..110));
    (11..=110).for_each(|tag| put_off(&lane, tag));
    assert!(sink.len() >= 50, "{}", sink.len());
    lane.0.catch_up();
    assert_eq!(sink.take_bodies(), numbers(110..210));
    lane.0.catch_up();
    assert_eq!(sink.len(), 0);
}

#[test]
fn they_make_room_in_the_window_of_the_channel() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.qos(2, true);
    let sinks = ["p", "q"].map(|queue| {
        lane.queue(queue);
        lane.consume(queue)
    });
    lane.fill("p", 0..2);
    lane.fill("q", 0..2);
    assert_eq!(sinks.each_ref().map(|sink| sink.len()), [2, 0]);
    put_off(&lane, 1);
    put_off(&lane, 2);
    lane.0.catch_up();
    assert_eq!(sinks.map(|sink| sink.len()), [2, 2]);
}

#[test]
fn those_up_to_a_tag_are_told_from_the_others() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..4);
    let sink = lane.consume("q");
    assert_eq!(sink.take().len(), 4);
    put_off(&lane, 2);
    lane.0.basic_nack(DeliveryTag(3), true, true).take_now().unwrap().unwrap();
    assert_eq!(sink.take_bodies(), ["0", "2"]);
}

#[test]
fn a_tag_that_nobody_was_given_ends_the_channel() {
    let broker = Broker::new();
    let lane = broker.channel();
    let hear = Hear::on(&lane);
    put_off(&lane, 7);
    assert_eq!(hear.take(), Vec::<String>::new());
    lane.0.catch_up();
    assert_eq!(hear.take(), ["settle failed PreconditionFailed", "closed PreconditionFailed"]);
}

/// The whole way: the callback acknowledges, and the connection ends before the callback does.
#[test]
fn a_callback_that_is_still_running_has_settled_what_it_acknowledged() {
    let [first, second] = [(); 2].map(|()| Connection::new("memory://still-running").unwrap());
    let queue = Queue::new("q");
    queue.declare(&first).wait().unwrap();
    let producer = second.producer().with_routing_key("q");
    for number in 0..3 {
        producer.publish(number.to_string()).wait().unwrap();
    }
    let (acknowledged, came) = mpsc::channel();
    let (goes_on, go_on) = mpsc::channel::<()>();
    let on_message = move |message: Message| {
        if message.text().unwrap() == "1" {
            acknowledged.send(()).unwrap();
            // As long as the other connection takes to look.
            go_on.recv().unwrap();
        }
        message.ack();
    };
    let _consumer = first.consumer(&queue).on_message(on_message).consume().wait().unwrap();
    came.recv_timeout(PATIENCE).unwrap();
    first.close().wait().unwrap();
    let left: Vec<_> = std::iter::from_fn(|| queue.get(&second).wait().unwrap())
        .map(|message| {
            let text = message.text().unwrap().to_owned();
            message.ack();
            text
        })
        .collect();
    goes_on.send(()).unwrap();
    assert_eq!(left, ["1", "2"]);
}

/// An application that comes back for deliveries.
#[derive(Default)]
struct Comes {
    deliveries: Mutex<Vec<Delivery>>,
    calls: Mutex<Vec<&'static str>>,
}

impl Comes {
    fn consume(lane: &Lane) -> (Arc<Self>, kombu_core::ConsumerTag) {
        let comes = Arc::new(Comes::default());
        let tag = lane.consume_into("q", comes.clone());
        (comes, tag)
    }

    fn take(&self) -> Vec<String> {
        bodies(&std::mem::take(&mut *self.deliveries.lock().unwrap()))
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }
}

impl DeliverySink for Comes {
    fn deliver(&self, delivery: Delivery) {
        self.note("deliver");
        self.deliveries.lock().unwrap().push(delivery);
    }

    fn put(&self, delivery: Delivery) -> Put {
        self.note("put");
        self.deliveries.lock().unwrap().push(delivery);
        Put::Wake
    }

    fn wake(&self) {
        self.note("wake");
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn put_all(&self, deliveries: &mut Vec<Delivery>) {
        self.note("put all");
        self.deliveries.lock().unwrap().append(deliveries);
    }

    fn cancelled(&self, _: Error) {
        self.note("cancelled");
    }
}

#[test]
fn an_application_that_comes_back_is_told_once_and_gets_all_in_order() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let (sink, _) = Comes::consume(&lane);
    lane.fill("q", 0..4);
    assert_eq!((sink.take(), sink.calls()), (numbers(0..1), vec!["put", "wake"]));
    lane.0.catch_up();
    assert_eq!((sink.take(), sink.calls()), (numbers(1..4), vec!["put all"]));
    // It is still busy.
    lane.fill("q", 4..6);
    assert_eq!(sink.take(), numbers(0..0));
    lane.0.catch_up();
    assert_eq!((sink.take(), sink.calls()), (numbers(4..6), vec!["put all"]));
    // Now it rests, and is told of the next one.
    lane.0.catch_up();
    lane.fill("q", 6..8);
    assert_eq!((sink.take(), sink.calls()), (numbers(6..7), vec!["put", "wake"]));
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn what_was_kept_is_handed_over_before_the_consumer_ends() {
    for ends in [
        |lane: &Lane, tag| wait(lane.0.basic_cancel(tag)).unwrap(),
        |lane: &Lane, _| assert_eq!(lane.delete("q").unwrap(), 0),
    ] {
        let broker = Broker::new();
        let lane = broker.channel();
        lane.queue("q");
        let (sink, tag) = Comes::consume(&lane);
        lane.fill("q", 0..3);
        ends(&lane, tag);
        assert_eq!(sink.take(), numbers(0..3));
        assert_eq!(sink.calls()[..3], ["put", "wake", "put all"]);
    }
}

#[test]
fn what_was_kept_goes_back_with_the_rest() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let (sink, _) = Comes::consume(&lane);
    lane.fill("q", 0..3);
    sink.take();
    wait(lane.0.basic_recover()).unwrap();
    lane.0.catch_up();
    assert_eq!(sink.take(), numbers(0..3));
    lane.fill("q", 3..5);
    lane.close();
    assert_eq!(sink.take(), numbers(0..0));
    assert_eq!(broker.channel().drain("q"), numbers(0..5));
}

const PATIENCE: Duration = Duration::from_secs(60);
