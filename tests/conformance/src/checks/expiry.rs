//! Messages expire, and queues have limits.

use std::time::Duration;

use kombu_core::{Confirmation, ErrorKind, FieldTable, ShortStr, Support};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, ensure, refused, same};
use crate::lane::{Lane, bodies, envelope, numbered};
use crate::need::Need::{self, Can};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Expiry, "message_ttl", message_ttl)
        .promise("a message is not delivered later than its expiration; one that is taken in time is")
        .steps("publish one that expires and one that does not, fetch at once on one queue, later on another")
        .reference("both; then one")
        .spec("RabbitMQ, Per-Message TTL")
        .needs(&[Can("message_ttl")]),
    Check::new(Group::Expiry, "message_ttl_zero", message_ttl_zero)
        .promise("a message that expires at once reaches a waiting consumer and no queue")
        .steps("publish with expiration 0 to a queue without consumer, look; to one with a waiting consumer")
        .reference("gone; delivered")
        .spec("RabbitMQ, Per-Message TTL")
        .needs(&[Can("message_ttl")]),
    Check::new(Group::Expiry, "queue_ttl", queue_ttl)
        .promise("a queue's messages expire after its `x-message-ttl`")
        .steps("publish to a queue with x-message-ttl, fetch at once; publish, wait, look")
        .reference("delivered; gone")
        .spec("RabbitMQ, Per-Queue Message TTL")
        .needs(&[Can("queue_ttl")]),
    Check::new(Group::Expiry, "shorter_ttl_wins", shorter_ttl_wins)
        .promise("of a queue's and a message's time-to-live the shorter counts")
        .steps("a short message in a long queue, a long message in a short queue; wait for the short time, look")
        .reference("both gone")
        .spec("RabbitMQ, Time-To-Live")
        .needs(&[Can("message_ttl"), Can("queue_ttl")]),
    Check::new(Group::Expiry, "requeue_does_not_renew_ttl", requeue_does_not_renew_ttl)
        .promise("a message that is given back after its time expires, and a held one does not")
        .steps("hold a message over its time, acknowledge; hold another over its time, give it back, look")
        .reference("the acknowledgement is taken; the other is gone")
        .spec("RabbitMQ, Time-To-Live")
        .needs(&[Can("message_ttl")]),
    Check::new(Group::Expiry, "max_length_drops_oldest", max_length_drops_oldest)
        .promise("a queue with `x-max-length` drops its oldest messages")
        .steps("limit 3; publish 5, look")
        .reference("3 4 5")
        .spec("RabbitMQ, Queue Length Limit")
        .needs(&[Can("queue_max_length")]),
    Check::new(Group::Expiry, "max_length_counts_ready_only", max_length_counts_ready_only)
        .promise("the limit of a queue counts what is ready, not what is held")
        .steps("limit 2; publish 2, hold both, publish 2, look; give the held ones back, look")
        .reference("both; then 2 of 4")
        .spec("RabbitMQ, Queue Length Limit")
        .needs(&[Can("queue_max_length")]),
    Check::new(Group::Expiry, "max_length_bytes", max_length_bytes)
        .promise("a queue with `x-max-length-bytes` drops its oldest messages")
        .steps("limit 10 bytes; publish bodies of 4, 4 and 4 bytes, look")
        .reference("the last two")
        .spec("RabbitMQ, Queue Length Limit")
        .needs(&[Can("queue_max_length")]),
    Check::new(Group::Expiry, "max_length_reject_publish", max_length_reject_publish)
        .promise("a full queue with `x-overflow=reject-publish` refuses publishes and keeps what it has")
        .steps("limit 2, publish 3; take one, publish again, look")
        .reference("the third is nacked; then 2 and 4")
        .spec("RabbitMQ, Queue Length Limit, overflow behaviour")
        .needs(&[Can("queue_max_length"), Can("confirms")]),
];

/// A short time-to-live and how long it takes until it has passed, in milliseconds.
pub(super) fn short_ttl(bench: &Bench) -> (u64, Duration) {
    if bench.is_manual() { (10_000, Duration::from_millis(10_001)) } else { (200, Duration::from_millis(400)) }
}

pub(super) fn expiring(lane: &Lane<'_>, queue: &ShortStr, body: &str, milliseconds: u64) -> Verdict {
    let mut envelope = envelope(&ShortStr::default(), queue, body);
    envelope.properties.set_expiration(Duration::from_millis(milliseconds));
    lane.publish_envelope(envelope, false).map(drop)
}

fn ttl_arguments(milliseconds: u64) -> FieldTable {
    FieldTable::from([("x-message-ttl", i64::try_from(milliseconds).unwrap_or(i64::MAX))])
}

const LONG: u64 = 600_000;

fn message_ttl(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (soon, late) = (lane.queue("soon")?, lane.queue("late")?);
    let (ttl, over) = short_ttl(bench);
    expiring(&lane, &soon, "in time", LONG)?;
    lane.put(&soon, "stays")?;
    expiring(&lane, &late, "too late", ttl)?;
    lane.put(&late, "stays")?;
    same("messages fetched in time", lane.bodies(&soon)?, ["in time", "stays"])?;
    bench.pass(over)?;
    same("messages fetched too late", lane.bodies(&late)?, ["stays"])
}

fn message_ttl_zero(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let (idle, awaited) = (publisher.queue("idle")?, publisher.queue("awaited")?);
    expiring(&publisher, &idle, "gone", 0)?;
    same("messages of the queue without consumer", publisher.bodies(&idle)?, [""; 0])?;
    let consumed = lane.consume(&awaited)?;
    if Need::Can("message_ttl").support(&*bench.capabilities()?) == Some(Support::Native) {
        expiring(&publisher, &awaited, "passed on", 0)?;
        return same("what the waiting consumer got", bodies(&consumed.expect(1)?), ["passed on"]);
    }
    // Only the broker knows from when on the consumer waits there.
    bench.eventually("one to reach the waiting consumer", || {
        expiring(&publisher, &awaited, "passed on", 0)?;
        Ok(consumed.sink.len() > 0)
    })
}

fn queue_ttl(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (ttl, over) = short_ttl(bench);
    let long = lane.queue_with("long", ttl_arguments(LONG))?;
    lane.put(&long, "in time")?;
    same("messages fetched in time", lane.bodies(&long)?, ["in time"])?;
    let queue = lane.queue_with("q", ttl_arguments(ttl))?;
    lane.fill(&queue, &["1", "2"])?;
    bench.pass(over)?;
    // Not by a sentinel, whose own time might pass.
    same("messages fetched too late", lane.drain(&queue)?, [""; 0])
}

fn shorter_ttl_wins(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (ttl, over) = short_ttl(bench);
    let (long, short) = (lane.queue_with("long", ttl_arguments(LONG))?, lane.queue_with("short", ttl_arguments(ttl))?);
    expiring(&lane, &long, "short in long", ttl)?;
    expiring(&lane, &short, "long in short", LONG)?;
    bench.pass(over)?;
    same("messages of the long queue", lane.bodies(&long)?, [""; 0])?;
    // Not by a sentinel, whose own time might pass.
    same("messages of the short queue", lane.drain(&short)?, [""; 0])
}

fn requeue_does_not_renew_ttl(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let (ttl, over) = if bench.is_manual() { short_ttl(bench) } else { (2000, Duration::from_millis(2500)) };
    expiring(&lane, &queue, "held", ttl)?;
    expiring(&lane, &queue, "given back", ttl)?;
    let held = [lane.get_soon(&queue)?, lane.get_soon(&queue)?];
    bench.pass(over)?;
    lane.ack(held[0].tag).during("acknowledge a message whose time passed while it was held")?;
    lane.requeue(held[1].tag)?;
    same("messages", lane.bodies(&queue)?, [""; 0])
}

fn max_length_drops_oldest(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue_with("q", FieldTable::from([("x-max-length", 3)]))?;
    lane.fill(&queue, &numbered("", 1..6))?;
    same("ready messages", lane.ready(&queue)?, 3)?;
    same("messages", lane.drain(&queue)?, ["3", "4", "5"])
}

fn max_length_counts_ready_only(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue_with("q", FieldTable::from([("x-max-length", 2)]))?;
    lane.fill(&queue, &["1", "2"])?;
    let held = [holding.get_soon(&queue)?, holding.get_soon(&queue)?];
    lane.fill(&queue, &["3", "4"])?;
    same("ready messages beside two held ones", lane.ready(&queue)?, 2)?;
    holding.ack(held[0].tag)?;
    holding.requeue(held[1].tag)?;
    // Asked on the same channel, behind what it gave back.
    holding.wait_ready(&queue, 2)?;
    let left = lane.drain(&queue)?;
    ensure(left == ["3", "4"], format!("the oldest, given back, was to be dropped; left is {left:?}"))
}

fn max_length_bytes(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue_with("q", FieldTable::from([("x-max-length-bytes", 10)]))?;
    lane.fill(&queue, &["aaaa", "bbbb", "cccc"])?;
    same("messages", lane.drain(&queue)?, ["bbbb", "cccc"])
}

fn max_length_reject_publish(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let mut arguments = FieldTable::from([("x-overflow", "reject-publish")]);
    arguments.insert("x-max-length", 2);
    let queue = lane.queue_with("q", arguments)?;
    lane.fill(&queue, &["1", "2"])?;
    let third = lane.publish(&ShortStr::default(), &queue, "3");
    refused("publish to the full queue", third, &[ErrorKind::Nacked])?;
    same("the oldest", lane.drain_one(&queue)?, Some("1".to_owned()))?;
    bench.eventually("the queue to take a publish again", || {
        let sent = lane.publish(&ShortStr::default(), &queue, "4");
        if sent.is_err() {
            refused("publish", sent, &[ErrorKind::Nacked])?;
            return Ok(false);
        }
        Ok(matches!(sent?, Confirmation::Confirmed { .. }))
    })?;
    same("messages", lane.drain(&queue)?, ["2", "4"])
}
