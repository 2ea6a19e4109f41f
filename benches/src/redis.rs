//! Runs on a Redis server.

use kombu::ExchangeKind;
use kombu_brokers::RedisServer;

use crate::bodies::Bodies;
use crate::rig::{Rig, Via};
use crate::sample::Sample;

/// How publishes follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Many under way at once, every confirmation awaited.
    Pipelined,
    /// Each after the confirmation of the one before.
    OneByOne,
}

/// Publishes `count` messages to an empty queue of `server`, which is emptied again.
///
/// # Panics
///
/// When a message is not confirmed, or not in the queue.
pub fn publish(server: &RedisServer, via: Via, pace: Pace, count: u64, bodies: &Bodies) -> Sample {
    let rig = rig(server);
    let sample = fill(&rig, server, via, pace, count, bodies);
    server.command(&["DEL", "bench.queue"]);
    rig.close();
    sample
}

/// Consumes and acknowledges `count` messages, from the call of `consume` until the server has taken the last ack.
///
/// # Panics
///
/// When a message is lost or changed, or anything is left on the server.
pub fn consume(server: &RedisServer, count: u64, bodies: &Bodies) -> Sample {
    let rig = rig(server);
    fill(&rig, server, Via::Default, Pace::Pipelined, count, bodies);
    let mut tally = None;
    let sample = Sample::of(count, || tally = Some(rig.drain(count)));
    assert_eq!(tally, Some(bodies.tally(count)));
    assert_eq!(number(server, &["LLEN", "bench.queue"]), 0);
    assert_eq!(number(server, &["HLEN", "unacked"]), 0);
    rig.close();
    sample
}

fn rig(server: &RedisServer) -> Rig {
    Rig::new(&server.url(), ExchangeKind::Direct, "bench.key")
}

fn fill(rig: &Rig, server: &RedisServer, via: Via, pace: Pace, count: u64, bodies: &Bodies) -> Sample {
    // The first publish declares and reads the routes; it is not what is measured.
    rig.publish_one_by_one(via, 1, bodies);
    server.command(&["DEL", "bench.queue"]);
    let sample = Sample::of(count, || match pace {
        Pace::Pipelined => rig.publish_pipelined(via, count, bodies),
        Pace::OneByOne => rig.publish_one_by_one(via, count, bodies),
    });
    assert_eq!(number(server, &["LLEN", "bench.queue"]), count);
    sample
}

fn number(server: &RedisServer, command: &[&str]) -> u64 {
    u64::try_from(server.command(command).int()).unwrap()
}
