//! Replies that are cut in the middle or trickle in byte by byte, and connections that are ended at any moment, cost nothing but
//! time.

use std::time::Duration;

use kombu_brokers::{Direction, FaultProxy, PATIENCE, RedisServer};

use crate::common::{Rig, block_on};
use crate::seen::{Seen, each_wake, settled, woken_by};

/// How many messages may be gone: with the blocking pop, what was in an answer that was lost with its connection.
fn tolerance(wake: &str, losses: usize) -> usize {
    if wake == "brpop" { losses } else { 0 }
}

#[test]
fn bytes_that_trickle_make_whole_messages() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let proxy = FaultProxy::start(server.addr());
        for direction in Direction::BOTH {
            proxy.trickle(direction, Duration::ZERO);
        }
        // The first words of a connection, and every script, go byte by byte as well.
        let mut patient = woken_by(wake);
        patient.insert("socket_connect_timeout", PATIENCE.as_secs());
        let rig = Rig::try_at(&server.url_at(proxy.addr()), patient).unwrap();
        let channel = rig.channel();
        let inbox = channel.consume("q");
        let mut seen = Seen::default();
        for round in 0..3 {
            settled(&server, wake);
            let sent: Vec<_> =
                (0..10).map(|number| channel.send("", "q", format!("{round}.{number}\r\n$-1\r\n"))).collect();
            for confirm in sent {
                block_on(confirm).unwrap();
            }
            seen.drain(&channel, &inbox, 10 * (round + 1));
        }
        seen.finish(&server, "q", &channel, &inbox);
        assert_eq!(proxy.connections(), proxy.open_connections() as u64, "no connection was given up");
    });
}

#[test]
fn connections_that_are_cut_anywhere_lose_nothing() {
    const LENGTHS: [u64; 8] = [1, 3, 17, 120, 400, 900, 2500, 6000];
    each_wake(|wake| {
        let server = RedisServer::start();
        let proxy = FaultProxy::start(server.addr());
        let rig = Rig::try_at(&server.url_at(proxy.addr()), woken_by(wake)).unwrap();
        let channel = rig.channel();
        let inbox = channel.consume("q");
        let mut seen = Seen::default();
        let mut count = 0;
        for (round, length) in LENGTHS.into_iter().enumerate() {
            for direction in Direction::BOTH {
                settled(&server, wake);
                proxy.cut_after(direction, length);
                let sent: Vec<_> =
                    (0..20).map(|number| channel.send("", "q", format!("{round} {direction:?} {number}"))).collect();
                for confirm in sent {
                    block_on(confirm).unwrap();
                }
                count += 20;
                seen.take(&channel, &inbox);
            }
        }
        proxy.pass();
        let cuts = usize::try_from(proxy.connections()).unwrap() - proxy.open_connections();
        seen.drain(&channel, &inbox, count - tolerance(wake, cuts));
        seen.finish(&server, "q", &channel, &inbox);
        assert!(seen.len() >= count - tolerance(wake, cuts), "{} of {count} came", seen.len());
        assert!(cuts >= LENGTHS.len(), "{cuts} connections were cut");
    });
}

#[test]
fn connections_that_the_server_ends_lose_nothing() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        let inbox = channel.consume("q");
        let mut seen = Seen::default();
        const ROUNDS: usize = 10;
        for round in 0..ROUNDS {
            settled(&server, wake);
            let sent: Vec<_> = (0..50).map(|number| channel.send("", "q", format!("{round}.{number}"))).collect();
            server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            for confirm in sent {
                block_on(confirm).unwrap();
            }
            seen.take(&channel, &inbox);
        }
        let lost = tolerance(wake, ROUNDS);
        seen.drain(&channel, &inbox, 50 * ROUNDS - lost);
        seen.finish(&server, "q", &channel, &inbox);
        assert!(seen.len() >= 50 * ROUNDS - lost);
    });
}
