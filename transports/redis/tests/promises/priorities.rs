//! The lowest number first, as Kombu has it on Redis, and the order of publishing within one step.

use kombu_brokers::RedisServer;
use kombu_core::method::BasicPublish;

use crate::common::{Rig, block_on, bodies, options, prioritised};

#[test]
fn lower_steps_are_served_first_and_each_in_order() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for (body, priority) in [
        ("9", Some(9)),
        ("0", Some(0)),
        ("none", None),
        ("5", Some(5)),
        ("3", Some(3)),
        ("7", Some(7)),
        ("200", Some(200)),
    ] {
        let envelope = prioritised("", "q", body, priority);
        block_on(channel.channel.basic_publish(BasicPublish::default(), envelope)).unwrap();
    }
    assert_eq!(channel.queue("q").message_count, 7);
    let inbox = channel.consume("q");
    assert_eq!(bodies(&inbox.take(7)), ["0", "none", "5", "3", "7", "9", "200"]);
}

#[test]
fn a_requeued_message_goes_back_to_its_step() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for (body, priority) in [("high", 0), ("low", 9)] {
        let envelope = prioritised("", "q", body, Some(priority));
        block_on(channel.channel.basic_publish(BasicPublish::default(), envelope)).unwrap();
    }
    let (high, low) = (channel.get("q").unwrap(), channel.get("q").unwrap());
    channel.settle(channel.channel.basic_reject(low.tag, true)).unwrap();
    channel.settle(channel.channel.basic_reject(high.tag, true)).unwrap();
    assert_eq!(bodies(&[channel.get("q").unwrap(), channel.get("q").unwrap()]), ["high", "low"]);
}

#[test]
fn the_highest_number_first_is_an_option_and_changes_no_list() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("priority_order", "high_first")]));
    let capabilities = rig.transport.capabilities();
    assert_eq!(capabilities.priority.unwrap().order, kombu_core::PriorityOrder::HighFirst);
    let publisher = Rig::new(&server);
    assert_eq!(publisher.transport.capabilities().priority.unwrap().order, kombu_core::PriorityOrder::LowFirst);
    let (channel, other) = (rig.channel(), publisher.channel());
    for (body, priority) in [("none", None), ("0", Some(0)), ("9", Some(9)), ("5", Some(5)), ("8", Some(8))] {
        for channel in [&channel, &other] {
            let envelope = prioritised("", "q", body, priority);
            block_on(channel.channel.basic_publish(BasicPublish::default(), envelope)).unwrap();
        }
    }
    assert_eq!(bodies(&[channel.get("q").unwrap()]), ["9"]);
    assert_eq!(bodies(&[other.get("q").unwrap()]), ["none"]);
    let inbox = channel.consume("q");
    assert_eq!(bodies(&inbox.take(8)), ["9", "8", "8", "5", "5", "none", "0", "0"]);
    // What wakes an idle consumer keeps the order as well.
    let envelope = prioritised("", "q", "late", Some(7));
    block_on(other.channel.basic_publish(BasicPublish::default(), envelope)).unwrap();
    assert_eq!(bodies(&inbox.take(1)), ["late"]);
}

#[test]
fn steps_are_an_option() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("priority_steps", "0,5")]));
    let channel = rig.channel();
    for (body, priority) in [("low", 9), ("high", 4)] {
        let envelope = prioritised("", "q", body, Some(priority));
        block_on(channel.channel.basic_publish(BasicPublish::default(), envelope)).unwrap();
    }
    assert_eq!(server.keys(), ["q", "q\u{6}\u{16}5"]);
    assert_eq!(bodies(&[channel.get("q").unwrap(), channel.get("q").unwrap()]), ["high", "low"]);
}
