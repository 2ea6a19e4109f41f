//! A server that falls silent, or is gone without a word, is left, and everything goes on over the next connection.

use std::time::Duration;

use kombu_brokers::{FaultProxy, PATIENCE, RedisServer};
use kombu_core::{ErrorKind, ExchangeKind, Outcome, Value};

use crate::common::{Inbox, Rig, TestChannel, block_on, options};
use crate::seen::{Seen, each_wake, settled, wary};

const SHORT: Duration = Duration::from_millis(300);

/// A consumer of `q` that reaches the server by a proxy, idle after a few messages.
struct Behind {
    server: RedisServer,
    proxy: FaultProxy,
    _rig: Rig,
    channel: TestChannel,
    inbox: Inbox,
}

impl Behind {
    fn new(wake: &str) -> Self {
        let server = RedisServer::start();
        let proxy = FaultProxy::start(server.addr());
        let rig = Rig::try_at(&server.url_at(proxy.addr()), wary(wake)).unwrap();
        let channel = rig.channel();
        let inbox = channel.consume("q");
        for number in 0..3 {
            channel.publish("", "q", number.to_string());
            channel.ack(inbox.take(1)[0].tag).unwrap();
        }
        settled(&server, wake);
        Behind { server, proxy, _rig: rig, channel, inbox }
    }
}

#[test]
fn a_connection_that_swallows_everything_is_left() {
    each_wake(|wake| {
        let behind = Behind::new(wake);
        let (channel, proxy) = (&behind.channel, &behind.proxy);
        let connections = proxy.connections();
        proxy.blackhole_both();
        let early = channel.send_within(SHORT, "", "q", "early");
        let patient: Vec<_> = (0..20).map(|number| channel.send("", "q", format!("patient {number}"))).collect();
        assert_eq!(block_on(early).unwrap_err().kind(), ErrorKind::Timeout);
        // What the server hands to a blocking pop that nobody reads from is lost, so with that one nothing may come meanwhile.
        let others = if wake == "brpop" { 0 } else { 20 };
        let other = Rig::new(&behind.server);
        let publisher = other.channel();
        for number in 0..others {
            publisher.publish("", "q", format!("other {number}"));
        }
        assert!(proxy.wait_for_connections(connections + 1, PATIENCE), "the silence is not noticed");
        if wake == "brpop" {
            behind.server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        }
        proxy.pass();
        for confirm in patient {
            block_on(confirm).unwrap();
        }
        let mut seen = Seen::default();
        // The early one may have been on its way.
        seen.drain(channel, &behind.inbox, 20 + others);
        while !(0..20).all(|number| seen.has(&format!("patient {number}"))) {
            let count = seen.len() + 1;
            seen.drain(channel, &behind.inbox, count);
        }
        seen.finish(&behind.server, "q", channel, &behind.inbox);
    });
}

#[test]
fn a_connection_whose_other_end_has_forgotten_it_is_left() {
    each_wake(|wake| {
        let behind = Behind::new(wake);
        let connections = behind.proxy.connections();
        behind.proxy.blackhole_both();
        // The server ends it and says so; nobody hears.
        behind.server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let other = Rig::new(&behind.server);
        let publisher = other.channel();
        for number in 0..20 {
            publisher.publish("", "q", number.to_string());
        }
        // The waiter finds out by itself, with nothing to send.
        assert!(behind.proxy.wait_for_connections(connections + 1, PATIENCE), "nothing is noticed");
        behind.proxy.pass();
        let mut seen = Seen::default();
        seen.drain(&behind.channel, &behind.inbox, 20);
        seen.finish(&behind.server, "q", &behind.channel, &behind.inbox);
    });
}

#[test]
fn publishers_get_an_answer_in_time_while_the_server_stands_still() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, wary("auto"));
    let channel = rig.channel();
    for exchange in ["bound", "unroutable"] {
        channel.exchange(exchange, ExchangeKind::Direct);
    }
    channel.bind("q", "bound", "k");
    let inbox = channel.consume("q");
    channel.publish("bound", "k", "before");
    let before = inbox.take(1).remove(0);
    settled(&server, "blmove");
    server.pause();
    let late = [
        channel.send_within(SHORT, "", "q", "a"),
        channel.send_within(SHORT, "bound", "k", "b"),
        channel.send_within(SHORT, "unroutable", "k", "c"),
    ];
    let outcomes = late.map(|confirm| {
        let error = block_on(confirm).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        error.outcome()
    });
    // Those on the wire may have been done; the one that waits for its routes was never sent.
    assert_eq!(outcomes, [Some(Outcome::Unknown), Some(Outcome::Unknown), Some(Outcome::NotSent)]);
    let ack = channel.channel.basic_ack(before.tag, false);
    let patient = channel.send("bound", "k", "patient");
    server.resume();
    block_on(patient).unwrap();
    block_on(ack).unwrap();
    let mut seen = Seen::default();
    while !seen.has("patient") {
        let count = seen.len() + 1;
        seen.drain(&channel, &inbox, count);
    }
    assert!(!seen.has("c"), "what was not sent did not come: {seen:?}");
    seen.finish(&server, "q", &channel, &inbox);
}

#[test]
fn closing_does_not_wait_for_a_server_that_stands_still() {
    let server = RedisServer::start();
    let lease = || options([("lease", Value::from(2))]);
    let rig = Rig::with(&server, lease());
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "held");
    inbox.wait(1);
    server.pause();
    let publish = channel.send("", "q", "under way");
    let error = rig.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(block_on(publish).is_err());
    server.resume();
    // What could not be given back comes back by itself.
    let other = Rig::with(&server, lease());
    let channel = other.channel();
    let inbox = channel.consume("q");
    let mut seen = Seen::default();
    while !seen.has("held") {
        let count = seen.len() + 1;
        seen.drain(&channel, &inbox, count);
    }
    seen.finish(&server, "q", &channel, &inbox);
}
