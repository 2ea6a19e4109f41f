//! Ten thousand lost sockets leave nothing behind: no memory, no descriptor, nothing on the server.
//!
//! Alone in its file, and so in its process: it counts what the process has. Each socket waits for a moment before it comes back,
//! so a hundred connections lose theirs at once, again and again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kombu::prelude::*;
use kombu_brokers::{PATIENCE, RedisServer, eventually};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 100;
/// Commands, the wait for messages, and the signs of life.
const SOCKETS: usize = 3 * CONNECTIONS;
const RECONNECTS: usize = 10_000;

struct Rig {
    server: RedisServer,
    connections: Vec<Connection>,
    consumers: Vec<Consumer>,
    received: Arc<AtomicUsize>,
}

#[derive(Debug, PartialEq)]
struct Held {
    descriptors: usize,
    keys: usize,
}

impl Rig {
    fn new() -> Self {
        let server = RedisServer::start();
        let received = Arc::new(AtomicUsize::new(0));
        let mut rig = Rig { server, connections: Vec::new(), consumers: Vec::new(), received };
        for number in 0..CONNECTIONS {
            let connection = Connection::new(&rig.server.url()).unwrap();
            let received = Arc::clone(&rig.received);
            let on_message = move |message: Message| {
                message.ack();
                received.fetch_add(1, Ordering::SeqCst);
            };
            let queue = Queue::new(format!("q{number}"));
            rig.consumers.push(connection.consumer(&queue).on_message(on_message).consume().wait().unwrap());
            rig.connections.push(connection);
        }
        rig
    }

    /// Publishes and consumes through every connection.
    fn works(&self) {
        let before = self.received.load(Ordering::SeqCst);
        for (number, connection) in self.connections.iter().enumerate() {
            connection.producer().with_routing_key(format!("q{number}")).publish("x").wait().unwrap();
        }
        let came = || self.received.load(Ordering::SeqCst) >= before + CONNECTIONS;
        assert!(eventually(PATIENCE, came), "messages are missing");
        assert!(eventually(PATIENCE, || self.server.command(&["HLEN", "unacked"]).int() == 0));
    }

    /// Waits until every socket is there, and every consumer idle.
    fn settle(&self) {
        let settled = || {
            let clients = self.server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
            let waiting = clients.text().lines().filter(|line| line.contains("cmd=blmove")).count();
            // The last one asks.
            clients.text().lines().count() == SOCKETS + 1 && waiting == CONNECTIONS
        };
        assert!(eventually(PATIENCE, settled), "{}", self.server.command(&["CLIENT", "LIST"]).text());
    }

    fn cut(&self) {
        self.server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        self.settle();
    }

    fn held(&self) -> Held {
        Held { descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(), keys: self.server.keys().len() }
    }

    /// Returns how much the server has noted of the consumers: a few things about each, more while it lives for a while.
    fn noted(&self) -> i64 {
        let keys = self.server.keys();
        let entries = keys.iter().filter(|key| key.starts_with("_kombu.rs.consumer."));
        entries.map(|key| self.server.command(&["HLEN", key]).int()).sum()
    }
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[test]
fn ten_thousand_reconnects_leave_nothing_behind() {
    let rig = Rig::new();
    rig.settle();
    // Tables and buffers grow to the size they need.
    for _ in 0..4 {
        rig.cut();
        rig.works();
    }
    rig.settle();
    let (held, before) = (rig.held(), allocated());
    for _ in 0..RECONNECTS.div_ceil(SOCKETS) {
        rig.cut();
    }
    rig.works();
    rig.settle();
    assert_eq!(rig.held(), held);
    let noted = rig.noted();
    assert!(noted <= 10 * CONNECTIONS as i64, "{noted} things are noted of {CONNECTIONS} consumers");
    let grown = allocated().saturating_sub(before);
    eprintln!("{RECONNECTS} reconnects: {grown} bytes more, {held:?}");
    // Less than the smallest thing that could be left each time; what a busy connection's buffers hold differs by a kilobyte or two.
    assert!(grown < 40 * RECONNECTS, "{grown} bytes are left");
    for connection in &rig.connections {
        connection.close().wait().unwrap();
    }
}
