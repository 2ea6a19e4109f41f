//! What is no message is set aside with its bytes, reported, and stops nobody.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::BasicConsume;

use crate::common::{Rig, bodies};

const BAD: [&[u8]; 4] = [b"not json", b"{\"body\": 1}", b"{\"half\": ", b"{\xff}"];

#[test]
fn good_messages_around_bad_ones_arrive() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for (number, bad) in BAD.iter().enumerate() {
        channel.publish("", "q", number.to_string());
        server.command(&[b"LPUSH".as_slice(), b"q", bad]);
    }
    channel.publish("", "q", "last");
    let inbox = channel.consume("q");
    assert_eq!(bodies(&inbox.take(5)), ["0", "1", "2", "3", "last"]);
    assert!(eventually(PATIENCE, || channel.events.malformed.lock().unwrap().len() == BAD.len()));
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 5));
    let mut aside = channel.call(|channel| async move { channel.malformed("q".into(), 10).await }).unwrap();
    aside.sort_by(|left, right| left.raw.cmp(&right.raw));
    let mut expected: Vec<_> = BAD.to_vec();
    expected.sort_unstable();
    assert_eq!(aside.iter().map(|one| &one.raw[..]).collect::<Vec<_>>(), expected);
    assert!(aside.iter().all(|one| !one.reason.is_empty() && one.queue == "q"));
}

#[test]
fn an_idle_consumer_survives_them_one_by_one() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    for (number, bad) in BAD.iter().enumerate() {
        server.command(&[b"LPUSH".as_slice(), b"q", bad]);
        assert!(eventually(PATIENCE, || channel.events.malformed.lock().unwrap().len() == number + 1));
        channel.publish("", "q", number.to_string());
        assert_eq!(bodies(&inbox.take(1)), [number.to_string()]);
    }
    assert_eq!(server.command(&["LLEN", "_kombu.rs.malformed.q"]).int(), 4);
}

#[test]
fn get_passes_them_over() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for bad in BAD {
        server.command(&[b"LPUSH".as_slice(), b"q", bad]);
    }
    channel.publish("", "q", "good");
    let mut got = None;
    assert!(eventually(PATIENCE, || {
        got = channel.get("q");
        got.is_some()
    }));
    assert_eq!(&got.unwrap().envelope.body[..], b"good");
}

#[test]
fn a_consumer_without_acknowledgement_sets_them_aside_too() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for bad in BAD {
        server.command(&[b"LPUSH".as_slice(), b"q", bad]);
    }
    channel.publish("", "q", "good");
    let inbox = channel.try_consume(BasicConsume { queue: "q".into(), no_ack: true, ..Default::default() }).unwrap();
    assert_eq!(bodies(&inbox.take(1)), ["good"]);
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "_kombu.rs.malformed.q"]).int() == 4));
}

#[test]
fn what_nobody_can_handle_is_set_aside_by_hand() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.publish("", "q", "poison");
    let delivery = channel.get("q").unwrap();
    channel.settle(channel.channel.set_aside(&delivery, &"q".into(), "it bites")).unwrap();
    let aside = channel.call(|channel| async move { channel.malformed("q".into(), 10).await }).unwrap();
    assert_eq!(aside[0].reason, "it bites");
    assert!(aside[0].raw.starts_with(b"{"));
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
}
