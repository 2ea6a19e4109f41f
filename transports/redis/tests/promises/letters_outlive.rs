//! What is on its way to a dead-letter queue gets there once, whatever dies, restarts or forgets meanwhile.

use std::collections::BTreeMap;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicConsume, QueueDeclare};
use kombu_core::{FieldTable, Value};

use crate::common::{Inbox, Rig, TestChannel, bodies, keys, options};

/// Declares a durable queue whose dead letters go to `dead`.
fn declare<const N: usize>(channel: &TestChannel, queue: &str, dead: &str, more: [(&str, Value); N]) {
    let mut arguments = FieldTable::from(more);
    arguments.insert("x-dead-letter-exchange", "");
    arguments.insert("x-dead-letter-routing-key", dead);
    channel.declare(QueueDeclare { queue: queue.into(), durable: true, arguments, ..QueueDeclare::default() }).unwrap();
}

/// Counts how often each body comes to an inbox, until there are `count` different ones.
#[track_caller]
fn count_all(channel: &TestChannel, inbox: &Inbox, count: usize, mut meanwhile: impl FnMut()) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let whole = eventually(6 * PATIENCE, || {
        meanwhile();
        for delivery in inbox.take(0) {
            *counts.entry(bodies(std::slice::from_ref(&delivery)).remove(0)).or_insert(0) += 1;
            channel.ack(delivery.tag).unwrap();
        }
        counts.len() >= count
    });
    assert!(whole, "{} of {count} came", counts.len());
    counts
}

fn is_at_rest(server: &RedisServer) -> bool {
    server.command(&["EXISTS", "_kombu.rs.letters", "_kombu.rs.due", "unacked", "unacked_index"]).int() == 0
}

/// Three processes stop dead while they reject, each after another number of messages: what they had rejected goes on its way by
/// another's hand, and what they had not comes back and is rejected by another.
#[test]
fn consumers_that_die_while_they_reject_lose_and_double_nothing() {
    const EACH: usize = 150;
    let server = RedisServer::start();
    let short = || options([("lease", Value::from(1.5))]);
    let survivor = Rig::with(&server, short());
    let channel = survivor.channel();
    let dead = channel.consume("dead");
    let mut works = Vec::new();
    for (victim, rejects) in [0, 77, 149].into_iter().enumerate() {
        let rig = Rig::with(&server, short());
        let holding = rig.channel();
        let work = format!("work{victim}");
        declare(&holding, &work, "dead", []);
        for number in 0..EACH {
            holding.publish("", &work, format!("{victim}.{number}"));
        }
        let held = holding.consume(&work).take(EACH);
        for delivery in held.iter().take(rejects) {
            drop(holding.channel.basic_reject(delivery.tag, false));
        }
        // As if the process were gone: nothing runs any more, wherever it was.
        rig.handle.stop();
        works.push((channel.consume(&work), rig));
    }
    let reject_all = || {
        for (work, _) in &works {
            for delivery in work.take(0) {
                channel.settle(channel.channel.basic_reject(delivery.tag, false)).unwrap();
            }
        }
    };
    let counts = count_all(&channel, &dead, 3 * EACH, reject_all);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert!(eventually(PATIENCE, || is_at_rest(&server)), "{:?}", keys(&server));
    assert_eq!((counts.len(), dead.len()), (3 * EACH, 0));
}

#[test]
fn of_many_that_look_after_a_queue_one_sends_each_message_on() {
    const EACH: usize = 40;
    let server = RedisServer::start();
    let rigs: Vec<Rig> = (0..3).map(|_| Rig::new(&server)).collect();
    let channels: Vec<TestChannel> = rigs.iter().map(Rig::channel).collect();
    for (index, channel) in channels.iter().enumerate() {
        declare(channel, "retry", "work", [("x-message-ttl", 60.into())]);
        for number in 0..EACH {
            channel.publish("", "retry", format!("{index}.{number}"));
        }
    }
    let inbox = channels[0].consume("work");
    let counts = count_all(&channels[0], &inbox, 3 * EACH, || ());
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert!(eventually(PATIENCE, || is_at_rest(&server)), "{:?}", keys(&server));
    assert_eq!(inbox.len(), 0);
}

#[test]
fn what_is_due_is_looked_after_when_the_server_comes_back() {
    let mut server = RedisServer::options().appendonly().start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "retry", "work", [("x-message-ttl", 800.into())]);
    for number in 0..10 {
        channel.publish("", "retry", number.to_string());
    }
    server.kill();
    server.restart();
    let inbox = channel.consume("work");
    let counts = count_all(&channel, &inbox, 10, || ());
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_server_that_lost_everything_is_told_the_policies_again() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "work", "dead", [("x-max-length", 2.into())]);
    server.flushall();
    assert!(eventually(PATIENCE, || server.command(&["HEXISTS", "_kombu.rs.policies", "work"]).int() == 1));
    for number in 0..4 {
        channel.publish("", "work", number.to_string());
    }
    let left: Vec<_> = std::iter::from_fn(|| channel.get("work")).collect();
    assert_eq!(bodies(&left), ["2", "3"]);
}

/// What a client of another kind puts into a queue with a time to live waits there until one of ours looks; from then it has that
/// time. What is too much goes with the next publish of ours.
#[test]
fn what_somebody_else_publishes_is_looked_after_from_when_it_is_seen() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "retry", "work", [("x-message-ttl", 100.into()), ("x-max-length", 2.into())]);
    let text = |number: u32| {
        format!(
            r#"{{"body": "{number}", "content-encoding": "utf-8", "content-type": "text/plain", "headers": {{}}, "properties": {{"delivery_info": {{"exchange": "", "routing_key": "retry"}}, "delivery_tag": "t{number}", "priority": 0}}}}"#
        )
    };
    for number in 0..3 {
        server.command(&["LPUSH", "retry", &text(number)]);
    }
    channel.publish("", "retry", "ours");
    let inbox = channel.consume("work");
    let mut came = inbox.take(4);
    came.sort_by_key(|delivery| bodies(std::slice::from_ref(delivery)));
    assert_eq!(bodies(&came), ["0", "1", "2", "ours"]);
    let reason = |delivery: &kombu_core::Delivery| {
        let deaths = delivery.envelope.headers.get("x-death").and_then(Value::as_list).unwrap();
        deaths[0].as_map().unwrap().get("reason").and_then(Value::as_str).unwrap().to_owned()
    };
    assert_eq!(came.iter().map(reason).collect::<Vec<_>>(), ["maxlen", "maxlen", "expired", "expired"]);
}

#[test]
fn a_client_for_which_nothing_is_due_any_more_is_silent_again() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("polling_interval", 0.2)]));
    let channel = rig.channel();
    declare(&channel, "retry", "work", [("x-message-ttl", 50.into())]);
    let inbox = channel.try_consume(BasicConsume { queue: "work".into(), ..BasicConsume::default() }).unwrap();
    channel.publish("", "retry", "one");
    channel.ack(inbox.take(1)[0].tag).unwrap();
    assert!(eventually(PATIENCE, || is_at_rest(&server)));
    let mut monitor = server.monitor();
    // In a row without anything else in between but one sign of life.
    let (mut waits, mut signs) = (0, 0);
    assert!(
        eventually(2 * PATIENCE, || {
            for command in monitor.take() {
                match command.name().as_str() {
                    "BLMOVE" => waits += 1,
                    _ if command.client == "lua" => {}
                    "EVALSHA" if signs == 0 => signs = 1,
                    _ => (waits, signs) = (0, 0),
                }
            }
            waits >= 12
        }),
        "{waits} waits in a row"
    );
}
