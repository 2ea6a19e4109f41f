//! Runs on a Redis server.

use kombu::ExchangeKind;
use kombu_brokers::RedisServer;

use crate::bodies::Bodies;
use crate::rig::{Rig, Via};
use crate::sample::Sample;

/// The queue's name, and its list's.
pub const QUEUE: &str = "bench.queue";

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
    server.command(&["DEL", QUEUE]);
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
    assert_eq!(number(server, &["LLEN", QUEUE]), 0);
    assert_eq!(number(server, &["HLEN", "unacked"]), 0);
    rig.close();
    sample
}

/// Returns what a message with body number 0 is in a list of `server`: what a peer is to push that pushes the same.
///
/// # Panics
///
/// When it cannot be published.
pub fn envelope(server: &RedisServer, bodies: &Bodies) -> Vec<u8> {
    let rig = rig(server);
    rig.publish_one_by_one(Via::Default, 1, bodies);
    let envelope = server.command(&["RPOP", QUEUE]);
    rig.close();
    envelope.text().as_bytes().to_vec()
}

/// Fills the queue with `count` messages, for a peer to consume.
///
/// # Panics
///
/// When they are not all there afterwards.
pub fn fill_for_peer(server: &RedisServer, count: u64, bodies: &Bodies) {
    let rig = rig(server);
    fill(&rig, server, Via::Default, Pace::Pipelined, count, bodies);
    rig.close();
}

fn rig(server: &RedisServer) -> Rig {
    Rig::new(&server.url(), ExchangeKind::Direct, "bench.key")
}

fn fill(rig: &Rig, server: &RedisServer, via: Via, pace: Pace, count: u64, bodies: &Bodies) -> Sample {
    // The first publish declares and reads the routes; it is not what is measured.
    rig.publish_one_by_one(via, 1, bodies);
    server.command(&["DEL", QUEUE]);
    let sample = Sample::of(count, || match pace {
        Pace::Pipelined => rig.publish_pipelined(via, count, bodies),
        Pace::OneByOne => rig.publish_one_by_one(via, count, bodies),
    });
    assert_eq!(number(server, &["LLEN", QUEUE]), count);
    sample
}

fn number(server: &RedisServer, command: &[&str]) -> u64 {
    u64::try_from(server.command(command).int()).unwrap()
}
