//! No more than the window is ever unsettled.

use kombu_brokers::{PATIENCE, RedisServer, eventually};

use crate::common::{Rig, TestChannel};

/// Publishes `count` messages and waits until what can be delivered is.
fn settle_down(server: &RedisServer, channel: &TestChannel, delivered: usize, count: impl Fn() -> usize) {
    assert!(eventually(PATIENCE, || count() == delivered), "{} instead of {delivered}", count());
    // A fence: whatever was under way on the connection is over when this is answered.
    channel.publish("", "fence", "x");
    channel.get("fence").unwrap();
    assert_eq!(count(), delivered);
    assert_eq!(server.command(&["LLEN", "q"]).int() as usize, 20 - delivered);
}

#[test]
fn a_consumer_holds_its_window_and_each_ack_frees_one_place() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(3, false);
    for number in 0..20 {
        channel.publish("", "q", number.to_string());
    }
    let inbox = channel.consume("q");
    settle_down(&server, &channel, 3, || inbox.len());
    for tag in 1..=2 {
        drop(channel.channel.basic_ack(kombu_core::DeliveryTag(tag), false));
    }
    settle_down(&server, &channel, 5, || inbox.len());
}

#[test]
fn windows_count_per_consumer() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(2, false);
    for number in 0..20 {
        channel.publish("", "q", number.to_string());
    }
    let (one, two) = (channel.consume("q"), channel.consume("q"));
    settle_down(&server, &channel, 4, || one.len() + two.len());
    assert_eq!((one.len(), two.len()), (2, 2));
}

#[test]
fn a_global_window_counts_for_the_whole_channel() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(5, true);
    for number in 0..20 {
        channel.publish("", "q", number.to_string());
    }
    let (one, two) = (channel.consume("q"), channel.consume("q"));
    settle_down(&server, &channel, 5, || one.len() + two.len());
}

#[test]
fn zero_is_no_limit() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(0, false);
    let inbox = channel.consume("q");
    for number in 0..600 {
        drop(channel.send("", "q", number.to_string()));
    }
    inbox.wait(600);
}

#[test]
fn a_full_window_does_not_block_another_consumer() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let (slow, quick) = (rig.channel(), rig.channel());
    slow.qos(1, false);
    let (full, free) = (slow.consume("slow"), quick.consume("quick"));
    slow.publish("", "slow", "1");
    slow.publish("", "slow", "2");
    full.wait(1);
    for number in 0..10 {
        quick.publish("", "quick", number.to_string());
    }
    free.wait(10);
    assert_eq!(full.len(), 1);
    slow.ack(full.take(1)[0].tag).unwrap();
    full.wait(1);
}
