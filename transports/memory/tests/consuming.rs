//! Consumers get what is theirs, in order, no more than they asked for, and in turn.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;

use common::{Broker, Collect, Hear, Lane, numbers, queue, wait};
use kombu_core::method::BasicConsume;
use kombu_core::{DeliveryTag, ErrorKind, Scope};

#[test]
fn a_thousand_come_in_order() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..500);
    lane.qos(0, false);
    let sink = lane.consume("q");
    assert_eq!(sink.len(), 500, "zero means no limit");
    lane.fill("q", 500..1000);
    assert_eq!(sink.take_bodies(), numbers(0..1000));
}

#[test]
fn a_window_is_exact() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.qos(10, false);
    let sink = lane.consume("q");
    lane.fill("q", 0..40);
    let mut held = sink.take();
    assert_eq!(held.len(), 10);
    for acks in [1, 3, 10] {
        held.drain(..acks).for_each(|delivery| lane.ack(delivery.tag));
        let more = sink.take();
        assert_eq!(more.len(), acks);
        held.extend(more);
    }
    // Fetching is not limited, and makes no room.
    let fetched = lane.get("q").unwrap();
    lane.ack(fetched.tag);
    assert_eq!(sink.len(), 0);
    let last = held.last().unwrap().tag;
    lane.0.basic_ack(last, true).take_now().unwrap().unwrap();
    assert_eq!(sink.len(), 10);
    lane.0.basic_nack(DeliveryTag(0), true, true).take_now().unwrap().unwrap();
    assert_eq!(sink.len(), 20);
}

#[test]
fn a_window_is_each_consumers_own() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.qos(2, false);
    let (one, two) = (lane.consume("q"), lane.consume("q"));
    lane.qos(3, false);
    let three = lane.consume("q");
    lane.fill("q", 0..20);
    assert_eq!((one.len(), two.len(), three.len()), (2, 2, 3));
}

#[test]
fn a_global_window_is_the_channels() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.queue("r");
    lane.qos(0, false);
    lane.qos(5, true);
    let (q, r) = (lane.consume("q"), lane.consume("r"));
    lane.fill("q", 0..10);
    lane.fill("r", 0..10);
    assert_eq!((q.len(), r.len()), (5, 0));
    // Room goes to both in turn, not to the first for ever.
    (1..=4).for_each(|tag| lane.ack(DeliveryTag(tag)));
    assert_eq!(q.len() + r.len(), 9);
    assert!(r.len() >= 2, "q {}, r {}", q.len(), r.len());
    // A window that grows is filled at once; none takes all.
    lane.qos(7, true);
    assert_eq!(q.len() + r.len(), 11);
    lane.qos(0, true);
    assert_eq!((q.len(), r.len()), (10, 10));
    let other = broker.channel();
    other.qos(0, false);
    let more = other.consume("q");
    lane.fill("q", 0..2);
    assert_eq!(more.len(), 1, "another channel is not limited by this one");
}

#[test]
fn a_slow_consumer_blocks_nobody() {
    let broker = Broker::new();
    let (slow, fast) = (broker.channel(), broker.channel());
    slow.queue("q");
    slow.qos(1, false);
    let (stuck, busy) = (slow.consume("q"), fast.consume("q"));
    for number in 0..50 {
        slow.publish("", "q", &number.to_string());
        busy.take().iter().for_each(|delivery| fast.ack(delivery.tag));
    }
    assert_eq!(stuck.len(), 1);
    assert_eq!(fast.ready("q"), 0);
}

#[test]
fn consumers_take_turns() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let lanes = [lane.clone(), lane.clone(), broker.channel()];
    let sinks: Vec<_> = lanes.iter().map(|lane| lane.consume("q")).collect();
    lane.fill("q", 0..99);
    assert_eq!(sinks.iter().map(|sink| sink.len()).collect::<Vec<_>>(), [33, 33, 33]);
    assert_eq!(sinks[0].take_bodies()[..3], ["0", "3", "6"]);
}

#[test]
fn who_makes_room_before_its_turn_comes_keeps_its_turn() {
    let broker = Broker::new();
    let (one, two, publisher) = (broker.channel(), broker.channel(), broker.channel());
    publisher.queue("q");
    one.qos(1, false);
    two.qos(2, false);
    let sinks = [one.consume("q"), two.consume("q")];
    publisher.fill("q", 0..2);
    let [first] = &sinks[0].take()[..] else { panic!("the first message is the first consumer's") };
    one.ack(first.tag);
    publisher.fill("q", 2..3);
    assert_eq!((sinks[0].take_bodies(), sinks[1].take_bodies()), (vec!["2".to_owned()], vec!["1".to_owned()]));
}

#[test]
fn a_backlog_is_shared_by_those_with_room() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(10, false);
    let (one, two) = (lane.consume("q"), lane.consume("q"));
    lane.fill("q", 0..200);
    let mut counts = [0, 0];
    while lane.ready("q") > 0 {
        for (sink, count) in [&one, &two].into_iter().zip(&mut counts) {
            let got = sink.take();
            *count += got.len();
            got.iter().for_each(|delivery| lane.ack(delivery.tag));
        }
    }
    assert!(counts.iter().all(|count| (80..=120).contains(count)), "{counts:?}");
}

#[test]
fn cancel_stops_and_keeps() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(2, false);
    let sink = Arc::new(Collect::default());
    let tag = lane.consume_into("q", sink.clone());
    lane.fill("q", 0..5);
    wait(lane.0.basic_cancel(tag.clone())).unwrap();
    wait(lane.0.basic_cancel(tag)).unwrap();
    let held = sink.take();
    assert_eq!(held.len(), 2);
    lane.ack(held[0].tag);
    lane.fill("q", 5..6);
    assert_eq!((sink.len(), sink.cancelled().len()), (0, 0));
    lane.close();
    assert_eq!(broker.channel().drain("q"), numbers(1..6));
}

#[test]
fn deleting_a_queue_tells_its_consumers() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let (one, two) = (lane.consume("q"), broker.channel());
    let two_sink = two.consume("q");
    lane.fill("q", 0..2);
    lane.delete("q").unwrap();
    for sink in [&one, &two_sink] {
        let reasons = sink.cancelled();
        assert_eq!(reasons.len(), 1);
        assert_eq!((reasons[0].kind(), reasons[0].scope()), (ErrorKind::NotFound, Scope::Operation));
    }
    // The channel goes on, and so does the tag.
    lane.queue("q");
    lane.consume_into("q", Arc::new(Collect::default()));
}

#[test]
fn a_tag_is_used_once_on_a_channel() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let named = || BasicConsume { queue: "q".into(), consumer_tag: "mine".into(), ..Default::default() };
    let sink = || Arc::new(Collect::default());
    assert_eq!(lane.try_consume(named(), sink()).unwrap(), "mine");
    broker.channel().try_consume(named(), sink()).unwrap();
    wait(lane.0.basic_cancel("mine".into())).unwrap();
    lane.try_consume(named(), sink()).unwrap();
    let chosen = [lane.consume_into("q", sink()), lane.consume_into("q", sink())];
    assert_ne!(chosen[0], chosen[1]);
}

#[test]
fn a_tag_used_twice_ends_the_connection() {
    let broker = Broker::new();
    let connection = broker.connect();
    let (lane, sibling) = (Lane(wait(connection.channel()).unwrap()), Lane(wait(connection.channel()).unwrap()));
    let (hear, hear_sibling) = (Hear::on(&lane), Hear::on(&sibling));
    lane.queue("q");
    let named = || BasicConsume { queue: "q".into(), consumer_tag: "mine".into(), ..Default::default() };
    let sink = Arc::new(Collect::default());
    lane.try_consume(named(), sink.clone()).unwrap();
    let error = lane.try_consume(named(), Arc::new(Collect::default())).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::AccessRefused, Scope::Connection));
    assert_eq!(error.context("consumer_tag"), Some("mine"));
    assert_eq!(
        (hear.take(), hear_sibling.take()),
        (vec!["closed AccessRefused".into()], vec!["closed AccessRefused".into()])
    );
    assert_eq!(sink.cancelled().len(), 1);
    assert_eq!(wait(connection.channel()).err().map(|error| error.kind()), Some(ErrorKind::Closed));
    // Others are not touched, and the queue is free.
    broker.channel().try_consume(named(), Arc::new(Collect::default())).unwrap();
}

#[test]
fn consumers_of_a_higher_priority_are_served_first() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(2, false);
    let with = |priority: i64| {
        let mut method = BasicConsume { queue: "q".into(), ..Default::default() };
        method.arguments.insert("x-priority", priority);
        let sink = Arc::new(Collect::default());
        lane.try_consume(method, sink.clone()).unwrap();
        sink
    };
    let (low, high, usual) = (with(-1), with(10), with(0));
    lane.fill("q", 0..5);
    assert_eq!(
        (high.take_bodies(), usual.take_bodies(), low.take_bodies()),
        (numbers(0..2), numbers(2..4), numbers(4..5))
    );
    let mut method = BasicConsume { queue: "q".into(), ..Default::default() };
    method.arguments.insert("x-priority", "high");
    let error = broker.channel().try_consume(method, Arc::new(Collect::default())).unwrap_err();
    assert_eq!((error.kind(), error.context("argument")), (ErrorKind::PreconditionFailed, Some("x-priority")));
}

#[test]
fn a_single_active_consumer_has_an_heir() {
    let broker = Broker::new();
    let lane = broker.channel();
    let mut declare = queue("q");
    declare.arguments.insert("x-single-active-consumer", true);
    wait(lane.0.queue_declare(declare)).unwrap();
    let (first, second) = (Arc::new(Collect::default()), Arc::new(Collect::default()));
    let tag = lane.consume_into("q", first.clone());
    lane.consume_into("q", second.clone());
    lane.fill("q", 0..3);
    assert_eq!((first.take_bodies(), second.len()), (numbers(0..3), 0));
    wait(lane.0.basic_cancel(tag)).unwrap();
    lane.fill("q", 3..5);
    assert_eq!((first.len(), second.take_bodies()), (0, numbers(3..5)));
    let exclusive = BasicConsume { queue: "q".into(), exclusive: true, ..Default::default() };
    let error = broker.channel().try_consume(exclusive, Arc::new(Collect::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessRefused);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let sink = || Arc::new(Collect::default());
    let exclusive = || BasicConsume { queue: "q".into(), exclusive: true, ..Default::default() };
    let tag = lane.try_consume(exclusive(), sink()).unwrap();
    for method in [exclusive(), BasicConsume { queue: "q".into(), ..Default::default() }] {
        let error = broker.channel().try_consume(method, sink()).unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::AccessRefused, Scope::Channel));
    }
    wait(lane.0.basic_cancel(tag)).unwrap();
    let shared = broker.channel();
    shared.consume_into("q", sink());
    assert_eq!(broker.channel().try_consume(exclusive(), sink()).unwrap_err().kind(), ErrorKind::AccessRefused);
}

#[test]
fn consuming_needs_a_queue_and_known_arguments() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let mut method = BasicConsume { queue: "q".into(), ..Default::default() };
    method.arguments.insert("x-stream-offset", 5);
    let error = lane.try_consume(method, Arc::new(Collect::default())).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::Unsupported, Scope::Operation));
    let method = BasicConsume { queue: "none".into(), ..Default::default() };
    assert_eq!(lane.try_consume(method, Arc::new(Collect::default())).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn sinks_and_observers_go_with_their_consumer_and_channel() {
    let broker = Broker::new();
    let (lane, other) = (broker.channel(), broker.channel());
    lane.queue("q");
    let hear = Hear::on(&lane);
    let cancelled = Arc::new(Collect::default());
    let tag = lane.consume_into("q", cancelled.clone());
    wait(lane.0.basic_cancel(tag)).unwrap();
    assert_eq!(Arc::strong_count(&cancelled), 1);
    let refused = Arc::new(Collect::default());
    other.try_consume(BasicConsume { queue: "none".into(), ..Default::default() }, refused.clone()).unwrap_err();
    assert_eq!(Arc::strong_count(&refused), 1);
    let closed = lane.consume("q");
    let replaced = Hear::on(&lane);
    assert_eq!(Arc::strong_count(&hear), 1);
    lane.close();
    assert_eq!((Arc::strong_count(&closed), Arc::strong_count(&replaced)), (1, 1));
}

#[test]
fn closed_things_say_closed() {
    let broker = Broker::new();
    let connection = broker.connect();
    let lane = Lane(wait(connection.channel()).unwrap());
    lane.queue("q");
    lane.close();
    lane.close();
    let error = wait(lane.0.queue_declare(common::queue("q"))).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Closed, Some("queue.declare")));
    assert_eq!(lane.try_publish("", "q", "x", false).unwrap_err().kind(), ErrorKind::Closed);
    let error = lane.0.basic_ack(DeliveryTag(1), false).take_now().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelGone);
    let second = Lane(wait(connection.channel()).unwrap());
    wait(connection.close()).unwrap();
    wait(connection.close()).unwrap();
    assert!(wait(connection.channel()).is_err_and(|error| error.kind() == ErrorKind::Closed));
    assert_eq!(second.try_publish("", "q", "x", false).unwrap_err().kind(), ErrorKind::Closed);
    assert!(wait(connection.connect()).is_err());
}
