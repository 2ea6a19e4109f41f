//! An idle consumer costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::BasicConsume;
use kombu_core::{SystemClock, TransportConfig, registry};
use kombu_hub::MioHub;

use crate::common::{Rig, Sink, is_waiting, keys, link, options};

/// Says whether the waiter waits, the sweep at the start is over, and every connection has said its first words.
fn is_idle(server: &RedisServer) -> bool {
    let has_swept = server.command(&["INFO", "commandstats"]).text().contains("cmdstat_zrange:");
    // The one for commands, the waiter, the one for the lease and the one that asks.
    let clients = server.command(&["CLIENT", "LIST"]);
    let is_greeting = |line: &str| ["NULL", "hello", "info"].iter().any(|last| line.contains(&format!(" cmd={last} ")));
    let has_greeted = clients.text().lines().count() == 4 && !clients.text().lines().any(is_greeting);
    is_waiting(server) && has_swept && has_greeted && keys(server).is_empty()
}

/// Long, because the promise is about ten seconds.
#[test]
fn an_idle_consumer_sends_less_than_a_command_in_ten_seconds_per_socket() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "x");
    channel.ack(inbox.take(1)[0].tag).unwrap();
    assert!(eventually(PATIENCE, || is_idle(&server)));
    let mut monitor = server.monitor();
    // From a sign of life on: the first comes soon after the start.
    assert!(eventually(PATIENCE, || monitor.take().iter().any(|command| command.name() == "EVALSHA")));
    std::thread::sleep(std::time::Duration::from_secs(31));
    let heard = monitor.take();
    let mut by_socket: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    // What scripts do is no command of ours.
    for command in heard.iter().filter(|command| command.client != "lua") {
        by_socket.entry(&command.client).or_default().push(command.texts());
    }
    assert!(by_socket.values().all(|commands| commands.len() <= 3), "{by_socket:?}");
}

#[test]
fn only_the_time_outs_of_the_waiter_are_heard() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, options([("polling_interval", 0.2)]));
    let channel = rig.channel();
    let _inbox = channel.consume("q");
    assert!(eventually(PATIENCE, || is_idle(&server)));
    let mut monitor = server.monitor();
    monitor.take();
    let mut heard = Vec::new();
    assert!(eventually(PATIENCE, || {
        heard.extend(monitor.take().iter().map(|command| command.name()));
        heard.iter().filter(|name| *name == "BLMOVE").count() >= 3
    }));
    // At most one sign of life falls into this time.
    let others: Vec<_> = heard.iter().filter(|name| *name != "BLMOVE").collect();
    assert!(heard.iter().filter(|name| *name == "EVALSHA").count() <= 1, "{others:?}");
    assert!(!heard.iter().any(|name| ["EXISTS", "BRPOP", "SET"].contains(&name.as_str())), "{others:?}");
}

#[test]
fn a_connection_without_consumers_has_one_socket() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channels: Vec<_> = (0..50).map(|_| rig.channel()).collect();
    channels[0].publish("", "q", "x");
    let clients = server.command(&["CLIENT", "LIST"]).text().lines().count();
    // Ours, and the one that asks.
    assert_eq!(clients, 2);
}

#[test]
fn the_hub_sleeps_while_a_consumer_is_idle() {
    link();
    let server = RedisServer::start();
    let hub = MioHub::new().unwrap();
    let config = TransportConfig {
        url: server.url().parse().unwrap(),
        alternates: Vec::new(),
        options: options([("polling_interval", 60)]),
        clock: Arc::new(SystemClock),
    };
    let transport = (registry::find("redis").unwrap().make)(config).unwrap();
    transport.register_with_event_loop(hub.io()).unwrap();
    let channel = hub
        .block_on(async {
            transport.connect().await?;
            let channel = transport.channel().await?;
            let method = BasicConsume { queue: "q".into(), ..BasicConsume::default() };
            channel.basic_consume(method, Arc::new(Sink::default())).await?;
            Ok::<_, kombu_core::Error>(channel)
        })
        .unwrap()
        .unwrap();
    assert!(eventually(PATIENCE, || {
        hub.run_once(Some(std::time::Duration::from_millis(10))).unwrap();
        is_idle(&server)
    }));
    // Nothing is due for a minute: this returns by its own time-out, having done nothing.
    while hub.run_once(Some(std::time::Duration::from_millis(100))).unwrap() {}
    let before = hub.stats();
    for _ in 0..3 {
        assert!(!hub.run_once(Some(std::time::Duration::from_millis(300))).unwrap());
    }
    let after = hub.stats();
    assert_eq!(after.ticks - before.ticks, 3, "{before:?} {after:?}");
    hub.block_on(async {
        channel.close().await?;
        transport.close().await
    })
    .unwrap()
    .unwrap();
}
