//! A publish is confirmed when whoever the option `confirm` names has the message, and not before.

use std::time::Duration;

use kombu_brokers::{FaultProxy, PATIENCE, RedisServer, eventually};
use kombu_core::method::BasicPublish;
use kombu_core::{Confirmation, ErrorKind, FieldTable, Outcome};

use crate::common::{Rig, TestChannel, block_on, bodies, envelope, options};

/// A master and its replica.
fn pair() -> (RedisServer, RedisServer) {
    let master = RedisServer::start();
    let replica = RedisServer::options().replica_of(master.addr()).start();
    let linked = || replica.command(&["INFO", "replication"]).text().contains("master_link_status:up");
    assert!(eventually(PATIENCE, linked));
    (master, replica)
}

fn waiting(server: &RedisServer) -> Rig {
    Rig::with(server, options([("confirm", "wait(1)")]))
}

#[track_caller]
fn fails_within(channel: &TestChannel, timeout: Duration) -> kombu_core::Error {
    let method = BasicPublish { timeout: Some(timeout), ..BasicPublish::default() };
    match block_on(channel.channel.basic_publish(method, envelope("", "q", "x"))) {
        Err(error) => error,
        Ok(confirmation) => panic!("{confirmation:?}"),
    }
}

fn waits(server: &RedisServer) -> usize {
    let stats = server.command(&["INFO", "commandstats"]).text().to_owned();
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls=").map(str::to_owned));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_replica_has_what_is_confirmed() {
    let (master, replica) = pair();
    let rig = waiting(&master);
    let channel = rig.channel();
    assert_eq!(channel.publish("", "q", "first"), Some(1));
    assert_eq!(replica.command(&["LLEN", "q"]).int(), 1);
    let before = waits(&master);
    let sent: Vec<_> = (0..500).map(|number| channel.send("", "q", format!("{number}"))).collect();
    for confirm in sent {
        assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
    }
    assert_eq!(replica.command(&["LLEN", "q"]).int(), 501);
    let asked = waits(&master) - before;
    assert!((1..250).contains(&asked), "one WAIT speaks for many publishes, not {asked} for 500");
}

#[test]
fn without_enough_replicas_a_publish_fails_by_its_deadline_and_says_what_is_known() {
    let server = RedisServer::start();
    let rig = waiting(&server);
    let channel = rig.channel();
    let error = fails_within(&channel, Duration::from_millis(700));
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Some(Outcome::Unknown)), "{error}");
    assert!(error.to_string().contains("0 of the 1 replicas"), "{error}");
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
}

#[test]
fn a_replica_that_is_slow_is_waited_for_while_others_go_on() {
    let (master, replica) = pair();
    let rig = waiting(&master);
    let channel = rig.channel();
    channel.publish("", "other", "x");
    replica.pause();
    let confirm = channel.send("", "q", "held");
    // The same socket carries everything else meanwhile.
    let delivery = channel.get("other").unwrap();
    channel.ack(delivery.tag).unwrap();
    assert!(eventually(PATIENCE, || waits(&master) >= 3), "it is asked for again");
    replica.resume();
    assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
    assert_eq!(master.command(&["LLEN", "q"]).int(), 1, "once");
}

#[test]
fn what_a_lost_connection_leaves_open_is_published_again_and_marked() {
    let (master, replica) = pair();
    let proxy = FaultProxy::start(master.addr());
    let rig = Rig::try_at(&master.url_at(proxy.addr()), options([("confirm", "wait(1)")])).unwrap();
    let channel = rig.channel();
    channel.publish("", "q", "before");
    replica.pause();
    let asked = waits(&master);
    let confirm = channel.send("", "q", "twice");
    assert!(eventually(PATIENCE, || waits(&master) >= asked + 2), "the server has it, and was asked about its replica");
    proxy.cut();
    replica.resume();
    assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
    assert_eq!(master.command(&["LLEN", "q"]).int(), 3);
    let inbox = channel.consume("q");
    let deliveries = inbox.take(3);
    assert_eq!(bodies(&deliveries), ["before", "twice", "twice"]);
    let marked: Vec<bool> = deliveries.iter().map(|one| one.envelope.headers.get("x-republished").is_some()).collect();
    assert_eq!(marked, [false, false, true]);
}

#[test]
fn closing_waits_for_what_is_held() {
    let (master, replica) = pair();
    let rig = waiting(&master);
    let channel = rig.channel();
    channel.publish("", "q", "before");
    replica.pause();
    let asked = waits(&master);
    let confirm = channel.send("", "q", "held");
    assert!(eventually(PATIENCE, || waits(&master) > asked));
    let resuming = std::thread::spawn(move || {
        replica.resume();
        replica
    });
    rig.close().unwrap();
    assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
    drop(resuming.join().unwrap());
}

#[test]
fn a_server_that_cannot_is_refused() {
    let server = RedisServer::start();
    let Err(error) = Rig::try_at(&server.url(), options([("confirm", "fsync")])) else {
        // A server that knows WAITAOF and writes nothing to disk cannot either.
        panic!("a server without a disk confirms what is on it")
    };
    assert_eq!((error.kind(), error.context("option")), (ErrorKind::Unsupported, Some("confirm")), "{error}");
    assert!(error.to_string().contains("7.2") || error.to_string().contains("appendonly"), "{error}");
    for wrong in ["wait", "wait(0)", "wait(x)", "disk"] {
        let Err(error) = Rig::try_at(&server.url(), options([("confirm", wrong)])) else { panic!("{wrong} will do") };
        assert_eq!((error.kind(), error.context("option")), (ErrorKind::InvalidArgument, Some("confirm")), "{error}");
        assert!(error.to_string().contains(wrong), "{error}");
    }
    Rig::try_at(&server.url(), FieldTable::new()).unwrap();
}
