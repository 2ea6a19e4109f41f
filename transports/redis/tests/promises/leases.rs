//! What a consumer holds is its own while it lives, and somebody else's soon after it has died.

use std::io::BufRead;
use std::time::Duration;

use kombu_brokers::{ChildProcess, PATIENCE, RedisServer, eventually};
use kombu_core::{ErrorKind, FieldTable, Value};
use serde_json::json;

use crate::common::{Inbox, Rig, TestChannel, block_on, bodies, is_waiting, options};

const LEASE: Duration = Duration::from_secs(2);

fn short_lease() -> FieldTable {
    options([("lease", Value::from(LEASE.as_secs_f64()))])
}

fn fill(channel: &TestChannel, queue: &str, count: usize) {
    for number in 0..count {
        channel.publish("", queue, number.to_string());
    }
}

/// Takes `count` messages as they come, acknowledges them, and returns their bodies with whether they are marked.
fn take_all(channel: &TestChannel, inbox: &Inbox, count: usize) -> Vec<(String, bool)> {
    let mut taken = Vec::new();
    let whole = eventually(4 * PATIENCE, || {
        for delivery in inbox.take(0) {
            taken.push((bodies(std::slice::from_ref(&delivery)).remove(0), delivery.redelivered));
            channel.ack(delivery.tag).unwrap();
        }
        taken.len() >= count
    });
    assert!(whole, "{} of {count} came", taken.len());
    taken
}

#[test]
fn what_a_dead_consumer_held_comes_back_in_order_and_marked() {
    let server = RedisServer::start();
    let survivor = Rig::with(&server, short_lease());
    let channel = survivor.channel();
    let victim = Rig::with(&server, short_lease());
    let holding = victim.channel();
    holding.qos(600, false);
    fill(&channel, "q", 600);
    let held = holding.consume("q");
    held.wait(600);
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 600);
    // As if the process were gone: nothing runs any more.
    victim.handle.stop();
    let inbox = channel.consume("q");
    let taken = take_all(&channel, &inbox, 600);
    assert!(taken.iter().all(|(_, marked)| *marked));
    let expected: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let got: Vec<String> = taken.into_iter().map(|(body, _)| body).collect();
    assert_eq!(got.iter().collect::<std::collections::BTreeSet<_>>(), expected.iter().collect());
    assert_eq!(got.len(), 600);
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked", "unacked_index", "q"]).int() == 0));
}

#[test]
fn a_callback_that_blocks_the_hub_for_five_leases_loses_nothing() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, short_lease());
    let channel = rig.channel();
    let other = Rig::with(&server, short_lease());
    channel.publish("", "q", "x");
    let inbox = channel.consume("q");
    let held = inbox.take(1).remove(0);
    let idle = other.channel();
    let greedy = idle.consume("q");
    rig.handle.call_soon(|_| std::thread::sleep(5 * LEASE));
    // Answered once the callback is over.
    rig.run(async {});
    assert_eq!(greedy.len(), 0);
    channel.ack(held.tag).unwrap();
    assert!(eventually(PATIENCE, || server.command(&["HLEN", "unacked"]).int() == 0));
    channel.publish("", "q", "more");
    assert!(eventually(PATIENCE, || inbox.len() + greedy.len() == 1));
}

#[test]
fn work_longer_than_the_visibility_timeout_is_done_once() {
    let server = RedisServer::start();
    let table = || {
        options([
            ("visibility_timeout", Value::from(1)),
            ("unacked_restore_interval", Value::from(0.05)),
            ("unacked_restore_throttle", Value::from(1)),
        ])
    };
    let rigs = [Rig::with(&server, table()), Rig::with(&server, table())];
    let channels = [rigs[0].channel(), rigs[1].channel()];
    let inboxes = [channels[0].consume("q"), channels[1].consume("q")];
    channels[0].publish("", "q", "x");
    let count = || inboxes[0].len() + inboxes[1].len();
    assert!(eventually(PATIENCE, || count() == 1));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(count(), 1);
    let holder = usize::from(inboxes[1].len() == 1);
    channels[holder].ack(inboxes[holder].take(1)[0].tag).unwrap();
}

#[test]
fn a_lost_lease_is_reported_for_exactly_that_message() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    fill(&channel, "q", 5);
    let held = channel.consume("q").take(5);
    let tags = server.command(&["ZRANGE", "unacked_index", "0", "-1"]);
    let tags = tags.texts();
    let third = tags.iter().find(|tag| tag.ends_with(":3")).unwrap();
    server.command(&["ZREM", "unacked_index", third]);
    server.command(&["HDEL", "unacked", third]);
    let answers: Vec<_> = held.iter().map(|one| channel.channel.basic_ack(one.tag, false)).collect();
    let kinds: Vec<_> = answers.into_iter().map(|answer| block_on(answer).err().map(|error| error.kind())).collect();
    let lost = |index: usize| (index == 2).then_some(ErrorKind::LeaseLost);
    assert_eq!(kinds, (0..5).map(lost).collect::<Vec<_>>());
}

#[test]
fn after_a_flush_a_consumer_goes_on_under_another_name() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, short_lease());
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "before");
    let held = inbox.take(1).remove(0);
    for round in 0..3 {
        assert!(eventually(PATIENCE, || is_waiting(&server)));
        server.flushall();
        channel.publish("", "q", round.to_string());
        let again = inbox.take(1).remove(0);
        channel.ack(again.tag).unwrap();
    }
    assert_eq!(channel.ack(held.tag).unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[test]
fn leaving_gives_everything_back_at_once_and_leaves_no_trace() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(5, false);
    fill(&channel, "q", 20);
    let inbox = channel.consume("q");
    let _idle = channel.consume("other");
    inbox.wait(5);
    rig.close().unwrap();
    assert_eq!(server.keys(), ["q"]);
    assert_eq!(server.command(&["LLEN", "q"]).int(), 20);
}

#[test]
fn a_full_window_captures_nothing() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.qos(1, true);
    let (one, two) = (channel.consume("one"), channel.consume("two"));
    assert!(eventually(PATIENCE, || is_waiting(&server)));
    channel.publish("", "one", "x");
    one.wait(1);
    // Its only place is taken: what comes now stays where others find it.
    for _ in 0..5 {
        channel.publish("", "two", "y");
    }
    assert!(eventually(PATIENCE, || server.command(&["LLEN", "two"]).int() == 5));
    assert!(eventually(PATIENCE, || !is_waiting(&server)));
    assert_eq!((server.command(&["LLEN", "two"]).int(), two.len()), (5, 0));
    channel.ack(one.take(1)[0].tag).unwrap();
    two.wait(1);
}

// ---- processes

#[test]
#[ignore = "run by the other tests as a process of its own"]
fn consumes_what_it_is_told() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let request: serde_json::Value = serde_json::from_str(&line).unwrap();
    let rig = Rig::try_at(request["url"].as_str().unwrap(), short_lease()).unwrap();
    let channel = rig.channel();
    let inbox = channel.consume(request["queue"].as_str().unwrap());
    println!("\n{}", json!({"ready": true}));
    let mut held = Vec::new();
    line.clear();
    while std::io::stdin().lock().read_line(&mut line).unwrap() > 0 {
        let order: serde_json::Value = serde_json::from_str(&line).unwrap();
        line.clear();
        if let Some(count) = order["hold"].as_u64() {
            held.extend(inbox.take(usize::try_from(count).unwrap()));
            println!("\n{}", json!({"held": held.len()}));
        } else {
            let kinds = held.drain(..).map(|one| channel.ack(one.tag).err().map(|error| format!("{:?}", error.kind())));
            println!("\n{}", json!({"acked": kinds.collect::<Vec<_>>()}));
        }
    }
}

fn child(server: &RedisServer, queue: &str) -> ChildProcess {
    let mut child = ChildProcess::this_test("leases::consumes_what_it_is_told").spawn();
    child.send_json(&json!({"url": server.url(), "queue": queue}));
    assert_eq!(child.recv_json(4 * PATIENCE)["ready"], true);
    child
}

/// Kombu loses all of these: what a frozen consumer popped was in its socket when it was killed.
#[test]
fn a_frozen_idle_consumer_that_is_killed_loses_nothing() {
    const COUNT: usize = 20;
    let server = RedisServer::start();
    // It lives itself, however slow the machine is.
    let rig = Rig::with(&server, options([("lease", Value::from(10.0))]));
    let channel = rig.channel();
    let mut children: Vec<_> = (0..COUNT).map(|number| child(&server, &format!("q{number}"))).collect();
    let waiting = || {
        let clients = server.command(&["CLIENT", "LIST"]);
        clients.text().lines().filter(|line| line.contains(" flags=b ")).count()
    };
    assert!(eventually(4 * PATIENCE, || waiting() == COUNT), "{} wait", waiting());
    children.iter().for_each(ChildProcess::pause);
    for number in 0..COUNT {
        channel.publish("", &format!("q{number}"), number.to_string());
    }
    let inboxes = server.keys().into_iter().filter(|key| key.starts_with("_kombu.rs.inbox.")).count();
    assert_eq!(inboxes, COUNT, "each was handed to the one that waited");
    children.iter_mut().for_each(ChildProcess::kill);
    for number in 0..COUNT {
        let inbox = channel.consume(&format!("q{number}"));
        let taken = take_all(&channel, &inbox, 1);
        assert_eq!(taken, [(number.to_string(), false)], "it never reached the application");
        channel.cancel(&inbox);
    }
}

#[test]
fn a_process_that_stops_for_longer_than_its_lease_loses_it_and_learns_so() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, short_lease());
    let channel = rig.channel();
    let mut child = child(&server, "q");
    fill(&channel, "q", 3);
    child.send_json(&json!({"hold": 3}));
    assert_eq!(child.recv_json(PATIENCE)["held"], 3);
    child.pause();
    let inbox = channel.consume("q");
    let taken = take_all(&channel, &inbox, 3);
    assert!(taken.iter().all(|(_, marked)| *marked), "{taken:?}");
    child.resume();
    child.send_json(&json!({"ack": true}));
    let lost = json!(["LeaseLost", "LeaseLost", "LeaseLost"]);
    assert_eq!(child.recv_json(PATIENCE)["acked"], lost);
    // It goes on, under another name.
    channel.cancel(&inbox);
    fill(&channel, "q", 2);
    child.send_json(&json!({"hold": 2}));
    assert_eq!(child.recv_json(4 * PATIENCE)["held"], 2);
    child.send_json(&json!({"ack": true}));
    assert_eq!(child.recv_json(PATIENCE)["acked"], json!([null, null]));
}
