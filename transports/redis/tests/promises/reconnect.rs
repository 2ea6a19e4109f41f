//! A lost socket costs nothing but time.

use std::collections::BTreeMap;
use std::sync::Arc;

use kombu_brokers::{Direction, FaultProxy, PATIENCE, RedisServer, eventually};
use kombu_core::ExchangeKind;
use kombu_core::method::BasicGet;

use crate::common::{Inbox, Rig, TestChannel, block_on, bodies, is_waiting, prioritised};

/// Consumes until every body of `0..count` was seen; returns how often each came unmarked.
fn drain(channel: &TestChannel, inbox: &Inbox, count: usize) -> BTreeMap<String, u32> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let whole = eventually(4 * PATIENCE, || {
        for delivery in inbox.take(0) {
            let body = bodies(std::slice::from_ref(&delivery)).remove(0);
            let is_marked = delivery.redelivered || delivery.envelope.headers.get("x-republished").is_some();
            *seen.entry(body).or_default() += u32::from(!is_marked);
            drop(channel.channel.basic_ack(delivery.tag, false));
        }
        seen.len() == count
    });
    assert!(whole, "{} of {count} came", seen.len());
    seen
}

fn kill_clients(server: &RedisServer, kind: &str) {
    server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
}

#[test]
fn killed_connections_lose_and_double_nothing() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    let inbox = channel.consume("q");
    let mut confirms = Vec::new();
    for number in 0..600 {
        confirms.push(channel.send("e", "k", number.to_string()));
        if number % 100 == 50 {
            kill_clients(&server, "normal");
        }
    }
    for confirm in confirms {
        block_on(confirm).unwrap();
    }
    let seen = drain(&channel, &inbox, 600);
    assert!(seen.values().all(|count| *count <= 1), "an unmarked double");
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
}

#[test]
fn a_restarted_server_is_found_again_and_the_consumer_goes_on() {
    let mut server = RedisServer::options().appendonly().start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    for number in 0..50 {
        channel.publish("", "q", number.to_string());
    }
    let held = inbox.take(50);
    // Acks, publishes and deliveries across the restart.
    for delivery in &held[..25] {
        drop(channel.channel.basic_ack(delivery.tag, false));
    }
    server.kill();
    let confirms: Vec<_> = (50..100).map(|number| channel.send("", "q", number.to_string())).collect();
    server.restart();
    for delivery in &held[25..] {
        channel.ack(delivery.tag).unwrap();
    }
    for confirm in confirms {
        block_on(confirm).unwrap();
    }
    drain(&channel, &inbox, 50);
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
    let disturbed = channel.events.disturbed.lock().unwrap();
    assert!(disturbed.iter().any(Option::is_some) && disturbed.last().unwrap().is_none());
    assert!(channel.events.closed.lock().unwrap().is_empty());
}

#[test]
fn an_idle_consumer_resumes_after_its_waiter_was_killed() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    for number in 0..5 {
        assert!(eventually(PATIENCE, || is_waiting(&server)));
        kill_clients(&server, "normal");
        channel.publish("", "q", number.to_string());
        channel.ack(inbox.take(1)[0].tag).unwrap();
    }
}

#[test]
fn a_killed_listener_listens_again() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("f", ExchangeKind::Fanout);
    channel.queue("q");
    channel.bind("q", "f", "");
    let inbox = channel.consume("q");
    kill_clients(&server, "pubsub");
    // What is published while nobody listens is gone; then it is heard again.
    assert!(eventually(PATIENCE, || channel.publish("f", "", "x") == Some(1)));
    inbox.wait(1);
}

#[test]
fn an_answer_lost_on_the_way_loses_no_claimed_message() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    let other = Rig::new(&server);
    let publisher = other.channel();
    for number in 0..300 {
        publisher.publish("", "q", number.to_string());
    }
    channel.qos(100, false);
    let sink = channel.consume("q");
    let first = sink.take(100);
    // The claims are executed, their answers never arrive.
    proxy.blackhole(Direction::ToClient);
    drop(channel.channel.basic_ack(first[99].tag, true));
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "q"]).int() < 200));
    proxy.cut();
    proxy.pass();
    let seen = drain(&channel, &sink, 200);
    assert_eq!(seen.len(), 200);
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
    assert_eq!(server.command(&["LLEN", "q"]).int(), 0);
}

#[test]
fn what_was_recovered_after_a_lost_answer_goes_back_to_the_list_it_came_from() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    let other = Rig::new(&server);
    let publisher = other.channel();
    for (body, priority) in [("low", Some(0)), ("high", Some(9)), ("none", None)] {
        block_on(publisher.channel.basic_publish(Default::default(), prioritised("", "q", body, priority))).unwrap();
    }
    proxy.blackhole(Direction::ToClient);
    let fetch = || {
        let fetching = Arc::clone(&channel.channel);
        let method = BasicGet { queue: "q".into(), no_ack: false };
        channel.handle.spawn(async move { fetching.basic_get(method).await })
    };
    let fetches = [fetch(), fetch(), fetch()];
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 3));
    proxy.cut();
    proxy.pass();
    let held = fetches.map(|fetch| block_on(fetch).unwrap().unwrap().unwrap());
    for delivery in held.iter().rev() {
        channel.settle(channel.channel.basic_reject(delivery.tag, true)).unwrap();
    }
    let lengths = ["q", "q\u{6}\u{16}9"].map(|list| server.command(&["LLEN", list]).int());
    assert_eq!(lengths, [2, 1]);
    let order: Vec<_> = (0..3).map(|_| channel.get("q").unwrap()).collect();
    assert_eq!(bodies(&order), ["low", "none", "high"]);
}

#[test]
fn a_publish_whose_answer_was_lost_is_repeated_and_marked() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    proxy.blackhole(Direction::ToClient);
    let confirm = channel.send("", "q", "x");
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "q"]).int() == 1));
    proxy.cut();
    proxy.pass();
    block_on(confirm).unwrap();
    let (first, second) = (channel.get("q").unwrap(), channel.get("q").unwrap());
    assert!(first.envelope.headers.get("x-republished").is_none());
    assert!(second.envelope.headers.get("x-republished").is_some());
}

#[test]
fn a_settle_whose_answer_was_lost_is_no_lost_message() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    for body in ["acked", "requeued"] {
        channel.publish("", "q", body);
    }
    let (acked, requeued) = (channel.get("q").unwrap(), channel.get("q").unwrap());
    proxy.blackhole(Direction::ToClient);
    let answers = [channel.channel.basic_ack(acked.tag, false), channel.channel.basic_reject(requeued.tag, true)];
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
    proxy.cut();
    proxy.pass();
    for answer in answers {
        block_on(answer).unwrap();
    }
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
}

#[test]
fn the_server_is_told_to_end_the_connection_before() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    let _inbox = channel.consume("q");
    let waits = || is_waiting(&server);
    assert!(eventually(PATIENCE, waits));
    // Each of the three sockets asks for its number when it greets.
    let greeted = || {
        let stats = server.command(&["INFO", "commandstats"]);
        let mut greetings = stats.text().lines().filter_map(|line| line.strip_prefix("cmdstat_client|id:calls="));
        greetings.any(|rest| {
            rest.split(',').next().and_then(|count| count.parse().ok()).is_some_and(|count: u32| count >= 3)
        })
    };
    assert!(eventually(PATIENCE, greeted));
    proxy.cut();
    // MONITOR is silent about this command.
    let killed = || {
        let stats = server.command(&["INFO", "commandstats"]);
        stats.text().lines().any(|line| line.starts_with("cmdstat_client|kill:calls=3"))
    };
    assert!(eventually(PATIENCE, killed), "{}", server.command(&["INFO", "commandstats"]).text());
    assert!(eventually(PATIENCE, waits));
    channel.publish("", "q", "x");
}
