//! With its memory full a server refuses what needs more, and everything goes on that gives memory back.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::{ErrorKind, Outcome, Value};

use crate::common::{Rig, block_on, options};
use crate::seen::{Seen, each_wake, settled, woken_by};

fn fill(server: &RedisServer) {
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
}

fn free(server: &RedisServer) {
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
}

#[test]
fn consumers_take_and_settle_and_publishers_are_told() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        for number in 0..30 {
            channel.publish("", "q", number.to_string());
        }
        fill(&server);
        for _ in 0..3 {
            let error = block_on(channel.send("", "q", "refused")).unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Overloaded, Some(Outcome::NotSent)));
        }
        // One that was not there before comes as well: it registers, takes, gives back and settles.
        let newcomer = Rig::with(&server, woken_by(wake));
        let late = newcomer.channel();
        let fetched = late.get("q").unwrap();
        late.settle(late.channel.basic_reject(fetched.tag, true)).unwrap();
        let inbox = late.consume("q");
        let mut seen = Seen::default();
        seen.drain(&late, &inbox, 30);
        seen.finish(&server, "q", &late, &inbox);
        free(&server);
        // What waits is woken again.
        channel.publish("", "q", "after");
        seen.drain(&late, &inbox, 31);
        assert!(!seen.has("refused"));
    });
}

#[test]
fn a_consumer_that_waits_when_memory_fills_up_wakes_when_it_is_free() {
    each_wake(|wake| {
        let server = RedisServer::start();
        let rig = Rig::with(&server, woken_by(wake));
        let channel = rig.channel();
        let inbox = channel.consume("q");
        settled(&server, wake);
        fill(&server);
        // Long enough for a wait to end and the next to be refused.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        free(&server);
        let other = Rig::new(&server);
        other.channel().publish("", "q", "x");
        let mut seen = Seen::default();
        seen.drain(&channel, &inbox, 1);
        seen.finish(&server, "q", &channel, &inbox);
    });
}

#[test]
fn leases_go_on_and_the_dead_are_looked_after() {
    let server = RedisServer::start();
    let table = || options([("lease", Value::from(2))]);
    let (victim, survivor) = (Rig::with(&server, table()), Rig::with(&server, table()));
    let (dying, living) = (victim.channel(), survivor.channel());
    for number in 0..5 {
        dying.publish("", "held", number.to_string());
        dying.publish("", "kept", number.to_string());
    }
    dying.consume("held").wait(5);
    let kept = living.consume("kept");
    kept.wait(5);
    fill(&server);
    victim.handle.stop();
    let inbox = living.consume("held");
    let mut seen = Seen::default();
    seen.drain(&living, &inbox, 5);
    // By now the living one's own lease would be over.
    for delivery in kept.take(5) {
        living.ack(delivery.tag).unwrap();
    }
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "unacked", "held", "kept"]).int() == 0));
    free(&server);
}
