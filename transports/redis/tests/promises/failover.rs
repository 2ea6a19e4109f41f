//! What holds when a replica takes over, whoever says so.

use std::collections::BTreeSet;

use kombu_brokers::RedisServer;
use kombu_core::{Confirm, Confirmation};

use crate::common::{Inbox, TestChannel, block_on, bodies};

/// Fails unless what is held, what waits and what is published meanwhile outlive a failover: `fail_over` takes the master away
/// once its replica has everything.
#[track_caller]
pub(crate) fn everything_outlives(channel: &TestChannel, fail_over: impl FnOnce()) {
    let inbox = channel.consume("q");
    channel.publish("", "q", "before");
    let before = inbox.take(1);
    assert_eq!(bodies(&before), ["before"]);
    channel.publish("", "waiting", "kept");
    fail_over();
    // Each waits for the new master by itself, none is asked for twice.
    let sent = (0..50).map(|number| channel.send("", "q", number.to_string())).collect();
    confirmed(sent);
    channel.ack(before[0].tag).unwrap();
    consumed(channel, &inbox, 50);
    let kept = channel.get("waiting").unwrap();
    assert_eq!(bodies(std::slice::from_ref(&kept)), ["kept"]);
    channel.ack(kept.tag).unwrap();
}

/// Fails unless each reached its queue.
#[track_caller]
pub(crate) fn confirmed(sent: Vec<Confirm>) {
    for confirm in sent {
        assert!(matches!(block_on(confirm).unwrap(), Confirmation::Confirmed { queues: Some(1) }));
    }
}

/// Takes and acknowledges until each of `0..count` came.
#[track_caller]
pub(crate) fn consumed(channel: &TestChannel, inbox: &Inbox, count: usize) {
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        for delivery in inbox.take(1) {
            seen.extend(bodies(std::slice::from_ref(&delivery)));
            channel.ack(delivery.tag).unwrap();
        }
    }
    assert_eq!(seen, (0..count).map(|number| number.to_string()).collect());
}

/// Waits until a replica of `server` has everything that was written there; `key` is written for that.
#[track_caller]
pub(crate) fn replicated(server: &RedisServer, key: &str) {
    // WAIT speaks for the writes of its own connection, and what was written before those.
    server.command(&["SET", key, "x"]);
    assert!(server.command(&["WAIT", "1", "10000"]).int() >= 1);
}
