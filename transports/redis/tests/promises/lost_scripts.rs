//! A server that forgets its scripts is given them again, and nothing that was asked of it is dropped.

use kombu_brokers::{Direction, FaultProxy, PATIENCE, RedisServer, eventually};
use kombu_core::method::BasicGet;
use kombu_core::{ExchangeKind, Value};

use crate::common::{Rig, block_on, is_waiting, options};
use crate::seen::{Seen, each_wake, settled, woken_by};

#[test]
fn everything_goes_on_whenever_the_scripts_are_lost() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        channel.exchange("f", ExchangeKind::Fanout);
        channel.bind("listener", "f", "");
        let listening = channel.consume("listener");
        let mut seen = Seen::default();
        let inbox = channel.consume("q");
        for round in 0..30 {
            let sent: Vec<_> = (0..5).map(|number| channel.send("", "q", format!("{round}.{number}"))).collect();
            let cast = channel.send("f", "", "x");
            server.command(&["SCRIPT", "FLUSH"]);
            for confirm in sent.into_iter().chain([cast]) {
                block_on(confirm).unwrap();
            }
            for delivery in inbox.take(1) {
                let is_marked = delivery.redelivered;
                server.command(&["SCRIPT", "FLUSH"]);
                if is_marked {
                    channel.ack(delivery.tag).unwrap();
                } else {
                    channel.settle(channel.channel.basic_reject(delivery.tag, true)).unwrap();
                }
            }
        }
        seen.finish(&server, "q", &channel, &inbox);
        listening.wait(30);
    });
}

#[test]
fn a_consumer_whose_waiter_comes_back_without_scripts_is_woken() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        let inbox = channel.consume("q");
        // Connected before the scripts are lost: a connection brings them.
        let other = Rig::new(&server);
        for round in 0..5 {
            settled(&server, wake);
            server.command(&["SCRIPT", "FLUSH"]);
            // The waiter's socket alone: the other learns the scripts again when it is made anew.
            let clients = server.command(&["CLIENT", "LIST"]);
            for line in clients.text().lines().filter(|line| line.contains(" flags=b ")) {
                let id = line.split_once("id=").unwrap().1.split(' ').next().unwrap();
                server.command(&["CLIENT", "KILL", "ID", id]);
            }
            if wake != "tracking" {
                assert!(eventually(PATIENCE, || is_waiting(&server)), "nothing waits any more");
            }
            other.channel().publish("", "q", round.to_string());
            let delivery = inbox.take(1).remove(0);
            channel.ack(delivery.tag).unwrap();
        }
        Seen::default().finish(&server, "q", &channel, &inbox);
    });
}

#[test]
fn leases_are_renewed_and_the_dead_looked_after_without_scripts() {
    let server = RedisServer::start();
    let table = || options([("lease", Value::from(2))]);
    let (victim, survivor) = (Rig::with(&server, table()), Rig::with(&server, table()));
    let (dying, living) = (victim.channel(), survivor.channel());
    dying.publish("", "q", "x");
    dying.consume("q").wait(1);
    let inbox = living.consume("q");
    server.command(&["SCRIPT", "FLUSH"]);
    victim.handle.stop();
    let came = eventually(2 * PATIENCE, || {
        server.command(&["SCRIPT", "FLUSH"]);
        std::thread::sleep(std::time::Duration::from_millis(100));
        inbox.len() > 0
    });
    assert!(came, "what the dead held does not come back");
    living.ack(inbox.take(1)[0].tag).unwrap();
}

/// What is sent again after the scripts were lost takes other numbers: what was sent after it and was executed has used higher ones, and
/// the server would take the old ones for those of another process of the same name.
#[test]
fn a_take_that_is_sent_again_behind_a_later_one_is_no_other_process() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.addr());
    let rig = Rig::at(&server.url_at(proxy.addr()));
    let channel = rig.channel();
    for number in 0..3 {
        channel.publish("", "q", number.to_string());
    }
    let first = channel.get("q").unwrap();
    let fetch = || {
        let (sender, reply) = kombu_core::reply::channel();
        let fetching = std::sync::Arc::clone(&channel.channel);
        drop(channel.handle.spawn(async move {
            sender.send(fetching.basic_get(BasicGet { queue: "q".into(), no_ack: false }).await);
        }));
        reply
    };
    let calls = |what: &str| {
        let info = server.command(&["INFO", "commandstats"]);
        let line = info.text().lines().find(|line| line.starts_with("cmdstat_evalsha:")).map(str::to_owned).unwrap();
        let fact = line.split([':', ',']).find_map(|fact| fact.strip_prefix(what)).unwrap();
        fact.trim().parse::<i64>().unwrap()
    };
    server.command(&["SCRIPT", "FLUSH"]);
    let (before, failed) = (calls("calls="), calls("failed_calls="));
    proxy.blackhole(Direction::ToClient);
    let refused = fetch();
    assert!(eventually(PATIENCE, || calls("failed_calls=") > failed));
    // A connection brings the scripts.
    let _other = Rig::new(&server);
    let later = fetch();
    assert!(eventually(PATIENCE, || calls("calls=") - before > calls("failed_calls=") - failed));
    proxy.pass();
    for reply in [refused, later] {
        let delivery = block_on(reply).unwrap().unwrap().expect("a message");
        channel.ack(delivery.tag).unwrap();
    }
    channel.ack(first.tag).unwrap();
    assert_eq!(server.command(&["ZCARD", "_kombu.rs.consumers"]).int(), 1, "it needed no other name");
}
