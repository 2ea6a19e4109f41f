//! What a client took and never settled goes back to its queue, whoever it was.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::{ExchangeKind, FieldTable, Value};

use crate::common::{Rig, bodies, options};

const BODY: &str = r#"{"body": "eA==", "content-encoding": "utf-8", "content-type": "text/plain", "headers": {}, "properties": {"delivery_info": {"exchange": "e", "routing_key": "k"}, "priority": 0, "body_encoding": "base64", "delivery_tag": "t-1"}}"#;

fn often() -> FieldTable {
    options([
        ("visibility_timeout", Value::from(60)),
        ("unacked_restore_interval", Value::from(0.05)),
        ("unacked_restore_throttle", Value::from(1)),
    ])
}

#[test]
fn entries_of_python_and_ours_come_back_and_bad_ones_are_set_aside() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, often());
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    let overdue = "100.5";
    for (tag, value) in [
        ("python", format!("[{BODY}, \"e\", \"k\"]")),
        ("dead:1", format!("[{},\"\",\"other\"]", BODY.replace("t-1", "t-2"))),
        ("lost", format!("[{}, \"e\", \"nowhere\"]", BODY.replace("t-1", "t-3"))),
        ("bad", "not json".to_owned()),
    ] {
        server.command(&["HSET", "unacked", tag, &value]);
        server.command(&["ZADD", "unacked_index", overdue, tag]);
    }
    server.command(&["ZADD", "unacked_index", overdue, "nothing"]);
    let (inbox, other) = (channel.consume("q"), channel.consume("other"));
    for delivery in [inbox.take(1).remove(0), other.take(1).remove(0)] {
        assert!(delivery.redelivered);
        assert_eq!(bodies(std::slice::from_ref(&delivery)), ["x"]);
        channel.ack(delivery.tag).unwrap();
    }
    assert!(eventually(PATIENCE, || server.command(&["ZCARD", "unacked_index"]).int() == 0));
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
    assert_eq!(server.command(&["LLEN", "_kombu.rs.malformed.nowhere"]).int(), 1);
    assert_eq!(server.command(&["LLEN", "_kombu.rs.malformed.unacked"]).int(), 1);
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked_mutex"]).int() == 0));
}

#[test]
fn what_is_not_overdue_stays_and_a_held_lock_is_respected() {
    let server = RedisServer::start();
    server.command(&["HSET", "unacked", "python", &format!("[{BODY}, \"\", \"q\"]")]);
    server.command(&["ZADD", "unacked_index", "100", "python"]);
    server.command(&["SET", "unacked_mutex", "somebody"]);
    let rig = Rig::with(&server, often());
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "fresh");
    assert_eq!(bodies(&inbox.take(1)), ["fresh"]);
    let mut monitor = server.monitor();
    let mut attempts = 0;
    assert!(eventually(PATIENCE, || {
        attempts += monitor.take().iter().filter(|command| command.name() == "SET").count();
        attempts >= 3
    }));
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 2);
    server.command(&["DEL", "unacked_mutex"]);
    // The old one comes back; the fresh one, which is held, does not.
    assert_eq!(bodies(&inbox.take(1)), ["x"]);
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 2);
}
