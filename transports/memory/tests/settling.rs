//! A delivery is settled once: forgotten, or back in its place.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Broker, Collect, Hear, Lane, bodies, body, numbers, wait};
use kombu_core::method::{BasicConsume, BasicGet};
use kombu_core::{Delivery, DeliveryTag, Error, ErrorKind, Scope};

fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag.0).collect()
}

#[track_caller]
fn bad_tag(result: kombu_core::Result<()>) -> Error {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::PreconditionFailed, Scope::Channel), "{error}");
    error
}

#[test]
fn tags_count_from_one_on_each_channel() {
    let broker = Broker::new();
    for lane in [broker.channel(), broker.channel()] {
        lane.queue("q");
        lane.fill("q", 0..3);
        let fetched: Vec<_> = (0..3).map(|_| lane.get("q").unwrap().tag.0).collect();
        assert_eq!(fetched, [1, 2, 3]);
        fetched.into_iter().for_each(|tag| lane.ack(DeliveryTag(tag)));
        let sink = lane.consume("q");
        lane.fill("q", 0..2);
        let got = sink.take();
        assert_eq!(tags(&got), [4, 5]);
        got.iter().for_each(|delivery| lane.ack(delivery.tag));
        lane.close();
    }
}

#[test]
fn an_empty_queue_gives_nothing() {
    let lane = Broker::new().channel();
    lane.queue("q");
    assert!(lane.get("q").is_none());
    let error = wait(lane.0.basic_get(BasicGet { queue: "none".into(), no_ack: false })).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_acked_or_rejected_does_not_come_back() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..3);
    lane.ack(lane.get("q").unwrap().tag);
    lane.0.basic_reject(lane.get("q").unwrap().tag, false).take_now().unwrap().unwrap();
    lane.get("q").unwrap();
    lane.close();
    assert_eq!(broker.channel().drain("q"), ["2"]);
}

#[test]
fn multiple_settles_up_to_the_tag() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..6);
    (0..6).for_each(|_| drop(lane.get("q")));
    lane.ack(DeliveryTag(2));
    lane.0.basic_ack(DeliveryTag(4), true).take_now().unwrap().unwrap();
    lane.0.basic_nack(DeliveryTag(5), true, true).take_now().unwrap().unwrap();
    assert_eq!(lane.ready("q"), 1);
    lane.close();
    assert_eq!(broker.channel().drain("q"), ["4", "5"]);
}

#[test]
fn tag_zero_with_multiple_means_all() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..3);
    (0..3).for_each(|_| drop(lane.get("q")));
    lane.0.basic_nack(DeliveryTag(0), true, true).take_now().unwrap().unwrap();
    lane.0.basic_ack(DeliveryTag(0), true).take_now().unwrap().unwrap();
    assert_eq!(lane.drain("q"), numbers(0..3));
}

#[test]
fn a_requeued_message_goes_back_to_its_place_and_is_flagged() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..5);
    let held: Vec<_> = (0..3).map(|_| lane.get("q").unwrap()).collect();
    assert!(held.iter().all(|delivery| !delivery.redelivered && delivery.delivery_count == Some(0)));
    // In the worst order: each must find its place before and between those already back.
    for index in [1, 2, 0] {
        lane.requeue(held[index].tag);
    }
    let again: Vec<_> = (0..5).map(|_| lane.get("q").unwrap()).collect();
    assert_eq!(bodies(&again), numbers(0..5));
    let flags: Vec<_> = again.iter().map(|delivery| (delivery.redelivered, delivery.delivery_count.unwrap())).collect();
    assert_eq!(flags, [(true, 1), (true, 1), (true, 1), (false, 0), (false, 0)]);
    lane.requeue(again[0].tag);
    assert_eq!(lane.get("q").unwrap().delivery_count, Some(2));
}

#[test]
fn nack_multiple_requeues_in_order() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..300);
    let held: Vec<_> = (0..200).map(|_| lane.get("q").unwrap()).collect();
    lane.0.basic_nack(held[199].tag, true, true).take_now().unwrap().unwrap();
    assert_eq!(lane.drain("q"), numbers(0..300));
}

#[test]
fn a_bad_tag_ends_its_channel_only() {
    let broker = Broker::new();
    let connection = broker.connect();
    let open = || Lane(wait(connection.channel()).unwrap());
    let sibling = open();
    sibling.queue("q");
    sibling.fill("q", 0..4);
    let held = sibling.get("q").unwrap();
    type Misuse = fn(&Lane, DeliveryTag) -> kombu_core::Result<()>;
    let misuses: [Misuse; 4] = [
        |lane, _| lane.0.basic_ack(DeliveryTag(7), false).take_now().unwrap(),
        |lane, own| {
            lane.ack(own);
            lane.0.basic_ack(own, false).take_now().unwrap()
        },
        |lane, own| lane.0.basic_ack(DeliveryTag(own.0 + 1), true).take_now().unwrap(),
        |lane, _| lane.0.basic_reject(DeliveryTag(0), true).take_now().unwrap(),
    ];
    for misuse in misuses {
        let lane = open();
        let hear = Hear::on(&lane);
        lane.queue("other");
        let sink = lane.consume("other");
        let own = lane.get("q").unwrap();
        let error = bad_tag(misuse(&lane, own.tag));
        assert_eq!(hear.take(), ["settle failed PreconditionFailed", "closed PreconditionFailed"]);
        assert_eq!(sink.cancelled().len(), 1, "{error}");
        let after = lane.0.basic_ack(own.tag, false).take_now().unwrap().unwrap_err();
        assert_eq!(after.kind(), ErrorKind::ChannelGone);
    }
    sibling.ack(held.tag);
    sibling.queue("q");
}

#[test]
fn what_needs_no_ack_takes_none() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..1);
    let fetched = wait(lane.0.basic_get(BasicGet { queue: "q".into(), no_ack: true })).unwrap().unwrap();
    bad_tag(lane.0.basic_ack(fetched.tag, false).take_now().unwrap());

    let lane = Broker::new().channel();
    lane.queue("q");
    let sink = std::sync::Arc::new(Collect::default());
    lane.try_consume(BasicConsume { queue: "q".into(), no_ack: true, ..Default::default() }, sink.clone()).unwrap();
    lane.fill("q", 0..3);
    let got = sink.take();
    assert_eq!(tags(&got), [1, 2, 3]);
    bad_tag(lane.0.basic_ack(got[0].tag, false).take_now().unwrap());
}

#[test]
fn closing_a_channel_gives_back_in_order_and_flagged() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(4, false);
    let sink = lane.consume("q");
    lane.fill("q", 0..10);
    let fetched = lane.get("q").unwrap();
    assert_eq!((sink.len(), body(&fetched)), (4, "4".to_owned()));
    lane.ack(DeliveryTag(2));
    assert_eq!(sink.len(), 5);
    lane.close();
    assert!(sink.cancelled().is_empty(), "nobody is told of what they did themselves");
    let other = broker.channel();
    let again: Vec<_> = (0..9).map(|_| other.get("q").unwrap()).collect();
    assert_eq!(bodies(&again), ["0", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let flagged: Vec<_> = again.iter().filter(|delivery| delivery.redelivered).map(body).collect();
    assert_eq!(flagged, ["0", "2", "3", "4", "5"]);
}

#[test]
fn closing_a_connection_gives_back_across_channels_in_order() {
    let broker = Broker::new();
    let connection = broker.connect();
    let lanes: Vec<_> = (0..3).map(|_| Lane(wait(connection.channel()).unwrap())).collect();
    lanes[0].queue("q");
    lanes[0].fill("q", 0..9);
    (0..9).for_each(|number| drop(lanes[number % 3].get("q").unwrap()));
    wait(connection.close()).unwrap();
    assert_eq!(broker.channel().drain("q"), numbers(0..9));
}

#[test]
fn a_dropped_connection_gives_back() {
    let broker = Broker::new();
    let other = broker.channel();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..2);
    let held = lane.get("q").unwrap();
    drop(lane);
    assert_eq!(other.drain("q"), ["0", "1"]);
    drop(held);
}

#[test]
fn recover_gives_back_what_the_channel_holds() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..3);
    lane.get("q").unwrap();
    lane.get("q").unwrap();
    wait(lane.0.basic_recover()).unwrap();
    let again: Vec<_> = (0..3).map(|_| lane.get("q").unwrap()).collect();
    assert_eq!(bodies(&again), numbers(0..3));
    assert_eq!(tags(&again), [3, 4, 5]);
    assert!(again[0].redelivered && again[1].redelivered && !again[2].redelivered);
}

#[test]
fn what_was_delivered_from_a_deleted_queue_can_still_be_settled() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..3);
    let held: Vec<_> = (0..3).map(|_| lane.get("q").unwrap()).collect();
    lane.delete("q").unwrap();
    // Another queue in its place gets nothing of it.
    lane.queue("q");
    lane.ack(held[0].tag);
    lane.requeue(held[1].tag);
    lane.0.set_aside(&held[2], &"q".into(), "broken").take_now().unwrap().unwrap();
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn what_is_set_aside_is_kept_and_shown() {
    let broker = Broker::new();
    let lane = broker.channel();
    let hear = Hear::on(&lane);
    lane.queue("q");
    lane.fill("q", 0..3);
    for reason in ["first reason", "second reason"] {
        lane.0.set_aside(&lane.get("q").unwrap(), &"q".into(), reason).take_now().unwrap().unwrap();
    }
    assert_eq!(hear.take(), ["malformed q", "malformed q"]);
    let other = broker.channel();
    let malformed = wait(other.0.malformed("q".into(), 10)).unwrap();
    let kept: Vec<_> = malformed.iter().map(|one| (one.raw.as_ref(), one.reason.as_str())).collect();
    assert_eq!(kept, [(&b"0"[..], "first reason"), (&b"1"[..], "second reason")]);
    assert_eq!(wait(other.0.malformed("q".into(), 1)).unwrap().len(), 1);
    assert_eq!(lane.drain("q"), ["2"]);
}
