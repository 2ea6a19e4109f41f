//! What a client took and never settled goes back to its queue, whoever it was.

use std::time::Duration;

use kombu_brokers::{Direction, FaultProxy, Monitor, PATIENCE, RedisServer, eventually};
use kombu_core::method::QueueDeclare;
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

/// Leaves an overdue message of `queue`, as by a client that died.
fn leave_overdue(server: &RedisServer, tag: &str, queue: &str) {
    server.command(&["HSET", "unacked", tag, &format!("[{BODY}, \"\", \"{queue}\"]")]);
    server.command(&["ZADD", "unacked_index", "100", tag]);
}

/// Waits until a sweep tries to take the lock.
fn wait_for_attempt(monitor: &mut Monitor) {
    assert!(eventually(PATIENCE, || monitor.take().iter().any(|command| command.name() == "SET")));
}

/// A sweep with so much to do, over so slow a line, that it is still at it for seconds.
fn long_sweep() -> (RedisServer, FaultProxy, Rig) {
    let server = RedisServer::start();
    for chunk in 0..30 {
        let tags: Vec<String> = (0..100).map(|number| format!("dead:{}", chunk * 100 + number)).collect();
        let value = format!("[{BODY}, \"\", \"elsewhere\"]");
        let mut entries = vec!["HSET", "unacked"];
        let mut index = vec!["ZADD", "unacked_index"];
        for tag in &tags {
            entries.extend([tag.as_str(), &value]);
            index.extend(["100", tag]);
        }
        server.command(&entries);
        server.command(&index);
    }
    let proxy = FaultProxy::start(server.addr());
    proxy.delay(Direction::ToClient, Duration::from_millis(30));
    let rig = Rig::try_at(&server.url_at(proxy.addr()), often()).unwrap();
    (server, proxy, rig)
}

fn overdue(server: &RedisServer) -> i64 {
    server.command(&["ZCOUNT", "unacked_index", "-inf", "1000"]).int()
}

#[test]
fn a_lock_whose_answer_was_lost_is_ours() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::try_at(&server.url_at(proxy.addr()), often()).unwrap();
    let channel = rig.channel();
    let inbox = channel.consume("q");
    proxy.blackhole(Direction::ToClient);
    leave_overdue(&server, "dead:1", "q");
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked_mutex"]).int() == 1));
    proxy.cut();
    proxy.pass();
    assert_eq!(bodies(&inbox.take(1)), ["x"]);
}

#[test]
fn a_sweep_that_is_closed_releases_the_lock() {
    let (server, _proxy, rig) = long_sweep();
    let channel = rig.channel();
    let _inbox = channel.consume("q");
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "elsewhere"]).int() > 0));
    rig.close().unwrap();
    assert!(overdue(&server) > 0, "the sweep was over before the close");
    assert_eq!(server.command(&["EXISTS", "unacked_mutex"]).int(), 0);
}

#[test]
fn a_lock_is_short_and_renewed_and_a_sweep_that_lost_it_ends() {
    let (server, _proxy, rig) = long_sweep();
    let mut monitor = server.monitor();
    let channel = rig.channel();
    let _inbox = channel.consume("q");
    let mut heard = Vec::new();
    let mut count = |name: &str| {
        heard.extend(monitor.take());
        let about_lock = heard.iter().filter(|command| {
            command.name() == name && command.texts()[1] == "unacked_mutex" && command.texts().contains(&"30000".into())
        });
        about_lock.count()
    };
    assert!(eventually(PATIENCE, || count("PEXPIRE") >= 2), "the lock is not renewed");
    assert_eq!(count("SET"), 1);
    server.command(&["SET", "unacked_mutex", "somebody"]);
    wait_for_attempt(&mut monitor);
    assert!(overdue(&server) > 0, "the sweep went on without the lock");
    assert_eq!(server.command(&["GET", "unacked_mutex"]).text(), "somebody");
}

#[test]
fn scripts_the_server_has_lost_are_loaded_again() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, often());
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    let arguments = options([("x-expires", Value::from(60_000))]);
    channel.declare(QueueDeclare { queue: "q".into(), arguments, ..QueueDeclare::default() }).unwrap();
    server.command(&["SCRIPT", "FLUSH"]);
    channel.bind("q", "e", "k");
    let mut monitor = server.monitor();
    let inbox = channel.consume("q");
    assert!(eventually(PATIENCE, || monitor.take().iter().any(|command| command.name() == "BLMOVE")));
    server.command(&["SCRIPT", "FLUSH"]);
    leave_overdue(&server, "dead:1", "q");
    assert_eq!(bodies(&inbox.take(1)), ["x"]);
}

#[test]
fn an_entry_that_cannot_be_moved_does_not_keep_the_others() {
    let server = RedisServer::start();
    // Neither the malformed list nor the table of the exchange is what it should be.
    server.command(&["SET", "_kombu.rs.malformed.unacked", "a text"]);
    server.command(&["SET", "_kombu.binding.e", "a text"]);
    for (tag, value) in [("bad", "not json".to_owned()), ("lost", format!("[{BODY}, \"e\", \"k\"]"))] {
        server.command(&["HSET", "unacked", tag, &value]);
        server.command(&["ZADD", "unacked_index", "200", tag]);
    }
    leave_overdue(&server, "dead:1", "q");
    let rig = Rig::with(&server, often());
    let channel = rig.channel();
    let inbox = channel.consume("q");
    let came = inbox.take(1);
    assert_eq!(bodies(&came), ["x"]);
    channel.ack(came[0].tag).unwrap();
    assert!(eventually(PATIENCE, || server.command(&["HKEYS", "unacked"]).items().len() == 2));
    assert_eq!(overdue(&server), 2);
}
