//! What holds when a replica takes over, whoever says so.

use std::collections::BTreeSet;

use kombu_brokers::RedisServer;
use kombu_core::method::{BasicPublish, QueueDeclare};
use kombu_core::{Confirm, Confirmation, Envelope, FieldTable};

use crate::common::{Inbox, TestChannel, block_on, bodies, envelope, options};

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

/// Fails unless queues do after a failover what they were declared to do before it, with what they got before and after.
#[track_caller]
pub(crate) fn policies_outlive(channel: &TestChannel, fail_over: impl FnOnce()) {
    let dying = |more: FieldTable| {
        let mut all = options([("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "dead")]);
        all.extend(more);
        all
    };
    let declare = |queue: &str, arguments: FieldTable| {
        channel.declare(QueueDeclare { queue: queue.into(), arguments, ..QueueDeclare::default() }).unwrap();
    };
    channel.queue("dead");
    declare("rejected", dying(FieldTable::new()));
    declare("fleeting", dying(options([("x-message-ttl", 2000)])));
    declare("short", dying(options([("x-max-length", 2)])));
    channel.delayed_exchange("later", "direct");
    channel.bind("dead", "later", "k");
    let late = |body: &str| {
        let mut late = Envelope::clone(&envelope("later", "k", body));
        late.headers = FieldTable::from([("x-delay", 2000)]).into();
        block_on(channel.channel.basic_publish(BasicPublish::default(), late.into())).unwrap();
    };
    let dead = channel.consume("dead");
    channel.publish("", "rejected", "rejected");
    let held = channel.get("rejected").unwrap();
    channel.publish("", "fleeting", "expired before");
    late("late before");
    for body in ["pushed out before", "pushed out after", "kept"] {
        channel.publish("", "short", body);
    }
    fail_over();
    channel.publish("", "short", "new");
    channel.publish("", "fleeting", "expired after");
    late("late after");
    channel.settle(channel.channel.basic_reject(held.tag, false)).unwrap();
    let expected = [
        "expired after",
        "expired before",
        "late after",
        "late before",
        "pushed out after",
        "pushed out before",
        "rejected",
    ];
    let mut seen = BTreeSet::new();
    while seen.len() < expected.len() {
        for delivery in dead.take(1) {
            seen.extend(bodies(std::slice::from_ref(&delivery)));
            channel.ack(delivery.tag).unwrap();
        }
    }
    assert!(seen.iter().eq(expected.iter()), "{seen:?}");
    let left: Vec<_> = (0..2).map(|_| channel.get("short").unwrap()).collect();
    assert_eq!(bodies(&left), ["kept", "new"]);
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
