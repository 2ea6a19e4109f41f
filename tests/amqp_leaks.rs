//! Connections to RabbitMQ that come and go leave nothing behind: no thread, no descriptor, no memory, nothing on the broker.
//!
//! Alone in its file, and so in its process: it counts what the process has.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use kombu::RetryPolicy;
use kombu::prelude::*;
use kombu_brokers::{FaultProxy, PATIENCE, RabbitServer, RabbitVhost, eventually};

/// How often a connection is made and closed, and how often one is cut.
const CONNECTS: usize = 1000;
const CUTS: usize = 200;

/// How much the process may grow over all of it, in kilobytes: what one allocator's arena may keep, far below what one leaked
/// connection's buffers and thread would sum up to.
const GROWTH: u64 = 8 * 1024;

#[derive(Debug, PartialEq)]
struct Held {
    threads: BTreeMap<String, usize>,
    descriptors: usize,
    connections: usize,
    channels: usize,
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let proxy = FaultProxy::start(server.addr());

    // What is made once stays: the shared hub's thread, the allocator's first arenas.
    come_and_go(&vhost, 50);
    let empty = settled(&vhost, |held| held.connections == 0);
    let memory = resident();
    come_and_go(&vhost, CONNECTS);
    assert_eq!(settled(&vhost, |held| *held == empty), empty, "after {CONNECTS} connections");
    let grown = resident().saturating_sub(memory);
    eprintln!("{CONNECTS} connections: {grown} kB more, {empty:?}");
    assert!(grown < GROWTH, "{CONNECTS} connections left {grown} kB behind");

    let soon = RetryPolicy { start: Duration::from_millis(1), step: Duration::ZERO, max: Duration::from_millis(1) };
    let connection = Connection::builder(&vhost.url_at(proxy.addr())).retry_policy(soon).build().unwrap();
    let queue = Queue::new("q");
    let (received, messages) = mpsc::channel();
    let consumer = connection
        .consumer(&queue)
        .on_message(move |message| {
            message.ack();
            received.send(()).unwrap();
        })
        .consume()
        .wait()
        .unwrap();
    let producer = connection.producer().with_routing_key("q");
    // There and back, however often the line was cut meanwhile: what has no answer is published again.
    let works = || {
        producer.publish("x").timeout(3 * PATIENCE).wait().unwrap();
        messages.recv_timeout(PATIENCE).unwrap();
        messages.try_iter().for_each(drop);
    };
    let cut = |times: usize| {
        for _ in 0..times {
            works();
            proxy.cut();
        }
        works();
    };
    cut(20);
    let running = settled(&vhost, |held| held.connections == 2);
    let memory = resident();
    cut(CUTS);
    assert_eq!(settled(&vhost, |held| *held == running), running, "after {CUTS} cuts");
    let grown = resident().saturating_sub(memory);
    eprintln!("{CUTS} cuts: {grown} kB more, {running:?}");
    assert!(grown < GROWTH, "{CUTS} cuts left {grown} kB behind");
    assert!(proxy.connections() >= 2 * CUTS as u64, "both connections were made again each time");

    drop((consumer, producer));
    connection.close().wait().unwrap();
    drop(connection);
    drop(proxy);
    let end = settled(&vhost, |held| (held.connections, held.channels) == (0, 0));
    let of = |held: &Held, name: &str| held.threads.get(name).copied().unwrap_or_default();
    assert_eq!(of(&end, "lapin-io-loop"), 0, "{end:?}");
}

fn come_and_go(vhost: &RabbitVhost<'_>, times: usize) {
    for _ in 0..times {
        let connection = Connection::new(&vhost.url()).unwrap();
        connection.connect().wait().unwrap();
        connection.close().wait().unwrap();
    }
}

/// Returns what is held once `wanted` says so, or whatever is held when patience is over. The broker, and threads that end,
/// take their time.
fn settled(vhost: &RabbitVhost<'_>, wanted: impl Fn(&Held) -> bool) -> Held {
    let mut held = held(vhost);
    let _settled = eventually(PATIENCE, || {
        let before = self::held(vhost);
        held = self::held(vhost);
        before == held && wanted(&held)
    });
    held
}

fn held(vhost: &RabbitVhost<'_>) -> Held {
    let (connections, channels) = (vhost.connections(), vhost.channels());
    let mut threads = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end between the look and the question.
        if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
            *threads.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    // The proxy's threads come and go with its connections, some time later; the system cuts names to 15 bytes.
    threads.remove("fault-proxy-pum");
    Held { threads, descriptors: fs::read_dir("/proc/self/fd").unwrap().count(), connections, channels }
}

/// Kilobytes of memory in use.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
