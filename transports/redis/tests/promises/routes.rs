//! A publish to a named exchange is one command, and reaches every queue that was bound before it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use kombu_brokers::{Direction, FaultProxy, MonitoredCommand, PATIENCE, RedisServer, eventually};
use kombu_core::{Confirm, Confirmation, ErrorKind, ExchangeKind};

use crate::common::{Rig, TestChannel, block_on};

const TABLE: &str = "_kombu.binding.e";

/// Returns the member that binds `queue` to a direct exchange by the key `k`.
fn member(queue: &str) -> String {
    format!("k\u{6}\u{16}\u{6}\u{16}{queue}")
}

/// Declares a direct exchange that the queue `q` is bound to, and publishes once, so that the routes are known.
fn prepared(rig: &Rig) -> TestChannel {
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    assert_eq!(channel.publish("e", "k", "first"), Some(1));
    channel
}

fn queues(confirm: Confirm) -> u32 {
    match block_on(confirm).unwrap() {
        Confirmation::Confirmed { queues } => queues.unwrap(),
        other => panic!("not confirmed: {other:?}"),
    }
}

fn texts(server: &RedisServer, list: &str) -> Vec<String> {
    server.command(&["LRANGE", list, "0", "-1"]).texts().into_iter().map(str::to_owned).collect()
}

fn count(server: &RedisServer, command: &str) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let line = stats.text().lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn names(heard: &[MonitoredCommand]) -> Vec<String> {
    heard.iter().map(MonitoredCommand::name).collect()
}

#[test]
fn a_publish_to_a_named_exchange_is_one_command() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = prepared(&rig);
    let mut monitor = server.monitor();
    monitor.take();
    for number in 0..50 {
        assert_eq!(channel.publish("e", "k", number.to_string()), Some(1));
    }
    let confirms: Vec<Confirm> = (50..300).map(|number| channel.send("e", "k", number.to_string())).collect();
    assert!(confirms.into_iter().all(|confirm| queues(confirm) == 1));
    assert_eq!(names(&monitor.take()), vec!["LPUSH"; 300]);
}

#[test]
fn topics_and_queues_in_any_number_are_one_round_trip() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("t", ExchangeKind::Topic);
    for queue in ["a", "b"] {
        channel.queue(queue);
        channel.bind(queue, "t", "x.#");
    }
    channel.publish("t", "x.first", "first");
    let mut monitor = server.monitor();
    monitor.take();
    for number in 0..20 {
        // Keys never seen before are matched here.
        assert_eq!(channel.publish("t", &format!("x.{number}"), "x"), Some(2));
    }
    let heard = names(&monitor.take());
    assert_eq!(heard, ["MULTI", "LPUSH", "LPUSH", "EXEC"].repeat(20));
}

#[test]
fn a_queue_bound_before_a_publish_gets_it_though_the_news_comes_late() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = prepared(&rig);
    for round in 0..5 {
        proxy.blackhole(Direction::ToClient);
        let (late, later) = (format!("late{round}"), format!("later{round}"));
        server.command(&["SADD", TABLE, &member(&late)]);
        let confirm = channel.send("e", "k", round.to_string());
        assert!(eventually(PATIENCE, || server.command(&["LINDEX", "q", "0"]).text().contains("delivery_tag")
            && server.command(&["LLEN", "q"]).int() == round + 2));
        assert_eq!(server.command(&["LLEN", &late]).int(), 0, "it was sent by what was known");
        server.command(&["SADD", TABLE, &member(&later)]);
        proxy.pass();
        // The queue bound while it was under way may have it, too.
        assert!(queues(confirm) >= 2 + 2 * u32::try_from(round).unwrap());
        assert_eq!(server.command(&["LLEN", &late]).int(), 1);
        let copies = [texts(&server, &late), texts(&server, "q")].concat();
        let tags: HashSet<&str> = copies.iter().filter_map(|text| text.split("\"delivery_tag\": ").nth(1)).collect();
        assert_eq!(tags.len(), copies.len(), "each copy has a tag of its own");
    }
}

#[test]
fn a_queue_bound_while_nobody_listened_gets_what_is_repeated() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = prepared(&rig);
    proxy.blackhole_both();
    let confirms: Vec<Confirm> = (0..5).map(|number| channel.send("e", "k", number.to_string())).collect();
    server.command(&["SADD", TABLE, &member("late")]);
    proxy.cut();
    proxy.pass();
    assert!(confirms.into_iter().all(|confirm| queues(confirm) == 2));
    assert_eq!((server.command(&["LLEN", "late"]).int(), server.command(&["LLEN", "q"]).int()), (5, 6));
    assert_eq!(channel.publish("e", "k", "x"), Some(2));
}

#[test]
fn the_first_publish_by_a_key_somebody_has_just_bound_is_never_unroutable() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = prepared(&rig);
    for number in 0..100 {
        let key = format!("key{number}");
        server.command(&["SADD", TABLE, &format!("{key}\u{6}\u{16}\u{6}\u{16}q")]);
        assert_eq!(channel.publish("e", &key, "x"), Some(1), "{key}");
    }
}

/// Another client binds and unbinds queues, 700 times, while publishes are under way all the time.
#[test]
fn no_bound_queue_misses_a_publish_while_another_client_binds_and_unbinds() {
    const BINDS: usize = 700;
    /// How many queues stay bound.
    const BOUND: usize = 3;
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = prepared(&rig);
    let (bound, unbinding) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // By number: how many were bound when it was sent, and how many were not bound any more when it was confirmed.
    let mut published: Vec<(usize, usize)> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            for number in 0..BINDS {
                client.command(&["SADD", TABLE, &member(&format!("r{number}"))]);
                bound.store(number + 1, Ordering::SeqCst);
                if number >= BOUND {
                    unbinding.store(number + 1 - BOUND, Ordering::SeqCst);
                    client.command(&["SREM", TABLE, &member(&format!("r{}", number - BOUND))]);
                }
            }
        });
        let mut under_way = std::collections::VecDeque::new();
        while bound.load(Ordering::SeqCst) < BINDS || published.len() < 500 {
            let before = bound.load(Ordering::SeqCst);
            under_way.push_back((before, channel.send("e", "k", published.len().to_string() + ";")));
            published.push((before, 0));
            if under_way.len() > 16 {
                let (_, confirm) = under_way.pop_front().unwrap();
                assert!(queues(confirm) >= 1);
                let confirmed = published.len() - 1 - under_way.len();
                published[confirmed].1 = unbinding.load(Ordering::SeqCst);
            }
        }
        for (_, confirm) in under_way {
            assert!(queues(confirm) >= 1);
        }
        published.iter_mut().rev().take(16).for_each(|(_, unbound)| *unbound = BINDS - BOUND);
    });
    let bodies: Vec<HashSet<Vec<u8>>> = (0..BINDS).map(|number| in_queue(&rig, &format!("r{number}"))).collect();
    let all = in_queue(&rig, "q");
    let mut owed = 0;
    for (number, (bound, unbound)) in published.iter().enumerate() {
        let body = format!("{number};").into_bytes();
        assert!(all.contains(&body), "message {number} is nowhere");
        for (queue, had) in bodies.iter().enumerate().take(*bound).skip(*unbound) {
            owed += 1;
            assert!(had.contains(&body), "message {number} is missing in r{queue}, {bound} {unbound}");
        }
    }
    assert!(owed > 0, "there were races to be won");
}

/// Takes everything out of a queue.
fn in_queue(rig: &Rig, queue: &str) -> HashSet<Vec<u8>> {
    let channel = rig.channel();
    let method = || kombu_core::method::BasicGet { queue: queue.into(), no_ack: true };
    let mut bodies = HashSet::new();
    while let Some(delivery) = channel
        .call(move |channel| {
            let method = method();
            async move { channel.basic_get(method).await }
        })
        .unwrap()
    {
        bodies.insert(delivery.envelope.body.to_vec());
    }
    channel.close().unwrap();
    bodies
}

#[test]
fn after_a_flush_everything_is_bound_again_and_nothing_is_lost() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = prepared(&rig);
    // Known to the server only, which forgets it.
    server.command(&["SADD", TABLE, &member("foreign")]);
    assert_eq!(channel.publish("e", "k", "x"), Some(2));
    proxy.blackhole(Direction::ToClient);
    server.flushall();
    // Somebody else is quicker: the table is not empty.
    server.command(&["SADD", TABLE, &member("other")]);
    let confirm = channel.send("e", "k", "by what was known");
    proxy.pass();
    assert!(queues(confirm) >= 2);
    assert!(eventually(PATIENCE, || server.command(&["SISMEMBER", TABLE, &member("q")]).int() == 1));
    assert_eq!(channel.publish("e", "k", "after"), Some(2));
    assert_eq!((server.command(&["LLEN", "q"]).int(), server.command(&["LLEN", "other"]).int()), (2, 2));
    // Without anybody else.
    server.flushall();
    assert!(channel.publish("e", "k", "again") >= Some(1));
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
    assert_eq!(server.command(&["SMEMBERS", TABLE]).texts(), [member("q")]);
}

#[test]
fn a_server_that_comes_back_empty_learns_the_bindings_again() {
    let mut server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = prepared(&rig);
    server.kill();
    server.restart();
    server.command(&["SADD", TABLE, &member("other")]);
    let confirm = channel.send("e", "k", "x");
    assert!(queues(confirm) >= 1);
    assert!(eventually(PATIENCE, || server.command(&["SISMEMBER", TABLE, &member("q")]).int() == 1));
    assert_eq!(channel.publish("e", "k", "y"), Some(2));
    assert!(server.command(&["LLEN", "q"]).int() >= 1);
}

#[test]
fn without_the_right_to_be_told_the_routes_are_read_for_each_publish() {
    for forbidden in ["-client|tracking", "-client|caching", "-hello"] {
        let server = RedisServer::start();
        let user = ["ACL", "SETUSER", "worker", "on", ">pw", "~*", "&*", "+@all", forbidden];
        server.command(&user);
        let rig = Rig::at(&format!("redis://worker:pw@{}/0", server.addr()));
        let channel = prepared(&rig);
        let before = count(&server, "smembers");
        for number in 0..20 {
            let queue = format!("r{number}");
            server.command(&["SADD", TABLE, &member(&queue)]);
            assert_eq!(channel.publish("e", "k", "x"), Some(number + 2), "{forbidden}");
        }
        assert_eq!(count(&server, "smembers") - before, 20, "{forbidden}");
    }
}

#[test]
fn what_another_connection_of_the_process_changes_is_known_at_once() {
    let server = RedisServer::start();
    let (rig, other) = (Rig::new(&server), Rig::new(&server));
    let (channel, changing) = (prepared(&rig), other.channel());
    for _ in 0..100 {
        changing.bind("p", "e", "k");
        assert_eq!(channel.publish("e", "k", "x"), Some(2));
        changing.unbind("p", "e", "k");
        // Not one too many.
        assert_eq!(channel.publish("e", "k", "x"), Some(1));
    }
}

#[test]
fn a_table_that_is_gone_is_not_found() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    server.command(&["SADD", TABLE, &member("q")]);
    // An exchange that only others know.
    assert_eq!(channel.publish("e", "k", "x"), Some(1));
    assert_eq!(channel.publish("e", "k", "x"), Some(1));
    server.command(&["DEL", TABLE]);
    let gone = eventually(PATIENCE, || match block_on(channel.send("e", "k", "x")) {
        Err(error) => error.kind() == ErrorKind::NotFound,
        Ok(_) => false,
    });
    assert!(gone);
}
