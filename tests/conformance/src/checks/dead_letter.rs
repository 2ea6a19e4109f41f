//! Dead letters, and messages that are delivered later.

use std::time::Duration;

use kombu_core::{Delivery, ExchangeKind, FieldTable, ShortStr, Value};

use super::expiry::{expiring, short_ttl};
use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Failure, Verdict, ensure, same};
use crate::lane::{Lane, body, envelope};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Expiry, "dead_letter_rejected", dead_letter_rejected)
        .promise("a rejected message goes to the queue's dead-letter exchange, with its history in `x-death`")
        .steps("reject one and nack one without requeue; fetch them from the dead-letter queue; requeue one, look")
        .reference("reason `rejected`, count, queue, exchange, routing keys, time, x-first-death-…")
        .spec("RabbitMQ, Dead Letter Exchanges")
        .needs(&[Can("dead_letter")]),
    Check::new(Group::Expiry, "dead_letter_keeps_address", dead_letter_keeps_address)
        .promise(
            "a dead letter keeps its routing key unless the queue names another, and its body, properties and headers",
        )
        .steps("two queues, one with x-dead-letter-routing-key, both fed by an exchange; reject; fetch")
        .reference("the old key, the new key; expiration removed")
        .spec("RabbitMQ, Dead Letter Exchanges, routing")
        .needs(&[Can("dead_letter")]),
    Check::new(Group::Expiry, "dead_letter_expired", dead_letter_expired)
        .promise("an expired message becomes a dead letter of reason `expired`, without its expiration")
        .steps("publish one that expires, wait, fetch from the dead-letter queue")
        .reference("reason `expired`, the original expiration in x-death")
        .spec("RabbitMQ, Dead Letter Exchanges")
        .needs(&[Can("dead_letter"), Can("message_ttl")]),
    Check::new(Group::Expiry, "dead_letter_maxlen", dead_letter_maxlen)
        .promise("a message dropped from a full queue becomes a dead letter of reason `maxlen`")
        .steps("limit 1; publish 3; fetch from the dead-letter queue")
        .reference("1 and 2, reason `maxlen`")
        .spec("RabbitMQ, Dead Letter Exchanges")
        .needs(&[Can("dead_letter"), Can("queue_max_length")]),
    Check::new(Group::Expiry, "dead_letter_count_grows", dead_letter_count_grows)
        .promise("`x-death` has one entry per queue and reason, whose count grows with each pass, the latest first")
        .steps("reject; publish the dead letter back as it is; reject again; fetch")
        .reference("one entry, count 2")
        .spec("RabbitMQ, Dead Letter Exchanges, `x-death`")
        .needs(&[Can("dead_letter")]),
    Check::new(Group::Expiry, "dead_letter_cycle_stops", dead_letter_cycle_stops)
        .promise("a message that would go round in a cycle by expiry alone is dropped")
        .steps("two queues with a time-to-live, each the other's dead-letter queue; publish, let it pass")
        .reference("dropped when it reaches the first queue again")
        .spec("RabbitMQ, Dead Letter Exchanges, cycles")
        .needs(&[Can("dead_letter"), Can("queue_ttl")]),
    Check::new(Group::Expiry, "delivery_limit_dead_letters", delivery_limit_dead_letters)
        .promise(
            "a message that was given back more often than `x-delivery-limit` becomes a dead letter of that reason",
        )
        .steps("a quorum queue with limit 2; fetch and give back 3 times; fetch from the dead-letter queue")
        .reference("delivered 3 times; reason `delivery_limit`")
        .spec("RabbitMQ, Quorum Queues, poison message handling")
        .needs(&[Can("delivery_limit"), Can("dead_letter")]),
    Check::new(Group::Expiry, "delayed_not_before_due", delayed_not_before_due)
        .promise("a delayed message is delivered when its delay has passed, and not before")
        .steps("publish with a delay and without to an x-delayed-message exchange, look; let the delay pass, look")
        .reference("the second; then the first")
        .spec("RabbitMQ delayed-message exchange plugin")
        .needs(&[Can("delayed")]),
];

fn dead_lettering(exchange: &ShortStr, key: Option<&str>) -> FieldTable {
    let mut arguments = FieldTable::from([("x-dead-letter-exchange", exchange.as_str())]);
    if let Some(key) = key {
        arguments.insert("x-dead-letter-routing-key", key);
    }
    arguments
}

/// The entries of `x-death`.
fn deaths(delivery: &Delivery) -> Verdict<Vec<FieldTable>> {
    let list = delivery.envelope.headers.get("x-death").and_then(Value::as_list);
    let list = list.ok_or_else(|| Failure::new(format!("no list `x-death` in {:?}", delivery.envelope.headers)))?;
    list.iter()
        .map(|entry| entry.as_map().cloned().ok_or_else(|| Failure::new(format!("an entry of x-death is {entry:?}"))))
        .collect()
}

/// Looks at the first entry of `x-death`.
fn died(delivery: &Delivery, reason: &str, queue: &ShortStr, exchange: &str, key: &str, count: i64) -> Verdict {
    let deaths = deaths(delivery)?;
    let death = deaths.first().ok_or_else(|| Failure::new("x-death is empty"))?;
    let text = |name: &str| death.get(name).and_then(Value::as_str).map(str::to_owned);
    same("x-death reason", text("reason"), Some(reason.to_owned()))?;
    same("x-death queue", text("queue"), Some(queue.to_string()))?;
    same("x-death exchange", text("exchange"), Some(exchange.to_owned()))?;
    let keys = death.get("routing-keys").and_then(Value::as_list).map(<[Value]>::to_vec);
    same("x-death routing-keys", keys, Some(vec![Value::from(key)]))?;
    same("x-death count", death.get("count").and_then(Value::as_i64), Some(count))?;
    ensure(death.get("time").is_some(), "x-death has no time")?;
    let first = |name: &str| delivery.envelope.headers.get(name).and_then(Value::as_str).map(str::to_owned);
    same("x-first-death-reason", first("x-first-death-reason"), Some(reason.to_owned()))?;
    same("x-first-death-queue", first("x-first-death-queue"), Some(queue.to_string()))?;
    same("x-first-death-exchange", first("x-first-death-exchange"), Some(exchange.to_owned()))
}

/// A fanout exchange for dead letters, and a queue bound to it.
fn cemetery(lane: &Lane<'_>) -> Verdict<(ShortStr, ShortStr)> {
    let (exchange, queue) = (lane.exchange("dlx", ExchangeKind::Direct)?, lane.queue("dead")?);
    lane.bind(&queue, &exchange, "dead")?;
    Ok((exchange, queue))
}

fn dead_letter_rejected(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, dead) = cemetery(&lane)?;
    let queue = lane.queue_with("q", dead_lettering(&exchange, Some("dead")))?;
    lane.fill(&queue, &["1", "2", "3"])?;
    let held = [lane.get_soon(&queue)?, lane.get_soon(&queue)?, lane.get_soon(&queue)?];
    lane.reject(held[0].tag)?;
    let first = lane.get_soon(&dead).during("the dead letter of a reject")?;
    same("the first dead letter", body(&first), "1")?;
    died(&first, "rejected", &queue, "", &queue, 1)?;
    lane.nack(held[1].tag, false, false)?;
    let second = lane.get_soon(&dead).during("the dead letter of a nack")?;
    same("the second dead letter", body(&second), "2")?;
    lane.requeue(held[2].tag)?;
    lane.wait_ready(&queue, 1)?;
    same("dead letters of what was given back or acknowledged", lane.bodies(&dead)?, [""; 0])?;
    let third = lane.get_soon(&queue)?;
    lane.ack(third.tag)?;
    same("dead letters of what was acknowledged", lane.bodies(&dead)?, [""; 0])
}

fn dead_letter_keeps_address(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("dlx", ExchangeKind::Direct)?;
    let source = lane.exchange("x", ExchangeKind::Direct)?;
    let (old, new) = (lane.queue("old")?, lane.queue("new")?);
    lane.bind(&old, &exchange, "key")?;
    lane.bind(&new, &exchange, "other")?;
    let plain = lane.queue_with("plain", dead_lettering(&exchange, None))?;
    let keyed = lane.queue_with("keyed", dead_lettering(&exchange, Some("other")))?;
    for queue in [&plain, &keyed] {
        lane.bind(queue, &source, "key")?;
    }
    let mut sent = envelope(&source, "key", "hello");
    sent.properties.set_correlation_id("mine");
    sent.headers = FieldTable::from([("own", "kept")]).into();
    lane.publish_envelope(sent, false)?;
    for (queue, dead, key) in [(&plain, &old, "key"), (&keyed, &new, "other")] {
        let held = lane.get_soon(queue)?;
        lane.reject(held.tag)?;
        let letter = lane.get_soon(dead).during(format!("the dead letter by key `{key}`"))?;
        died(&letter, "rejected", queue, &source, "key", 1)?;
        let envelope = &letter.envelope;
        same("routing key", envelope.routing_key.as_str(), key)?;
        same("exchange", &envelope.exchange, &exchange)?;
        same("body", body(&letter), "hello")?;
        same("correlation id", envelope.properties.correlation_id(), Some("mine"))?;
        same("own header", envelope.headers.get("own").and_then(Value::as_str), Some("kept"))?;
    }
    Ok(())
}

fn dead_letter_expired(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, dead) = cemetery(&lane)?;
    let queue = lane.queue_with("q", dead_lettering(&exchange, Some("dead")))?;
    let (ttl, over) = short_ttl(bench);
    expiring(&lane, &queue, "late", ttl)?;
    bench.pass(over)?;
    let letter = lane.get_soon(&dead)?;
    died(&letter, "expired", &queue, "", &queue, 1)?;
    same("expiration of the dead letter", letter.envelope.properties.expiration(), None)?;
    let original = deaths(&letter)?[0].get("original-expiration").and_then(Value::as_str).map(str::to_owned);
    same("x-death original-expiration", original, Some(ttl.to_string()))?;
    bench.pass(over)?;
    lane.requeue(letter.tag)?;
    same("it does not expire again", lane.bodies(&dead)?, ["late"])
}

fn dead_letter_maxlen(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, dead) = cemetery(&lane)?;
    let mut arguments = dead_lettering(&exchange, Some("dead"));
    arguments.insert("x-max-length", 1);
    let queue = lane.queue_with("q", arguments)?;
    lane.fill(&queue, &["1", "2", "3"])?;
    for want in ["1", "2"] {
        let letter = lane.get_soon(&dead)?;
        same("the dead letter", body(&letter), want)?;
        died(&letter, "maxlen", &queue, "", &queue, 1)?;
        lane.ack(letter.tag)?;
    }
    same("what is left", lane.drain(&queue)?, ["3"])
}

fn dead_letter_count_grows(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, dead) = cemetery(&lane)?;
    let queue = lane.queue_with("q", dead_lettering(&exchange, Some("dead")))?;
    lane.put(&queue, "again")?;
    for count in 1..=3 {
        let held = lane.get_soon(&queue)?;
        lane.reject(held.tag)?;
        let letter = lane.get_soon(&dead)?;
        same("entries of x-death", deaths(&letter)?.len(), 1)?;
        died(&letter, "rejected", &queue, "", &queue, count)?;
        lane.ack(letter.tag)?;
        let mut back = (*letter.envelope).clone();
        (back.exchange, back.routing_key) = (ShortStr::default(), queue.clone());
        lane.publish_envelope(back, false)?;
    }
    Ok(())
}

fn delivery_limit_dead_letters(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, dead) = cemetery(&lane)?;
    let mut arguments = dead_lettering(&exchange, Some("dead"));
    arguments.insert("x-queue-type", "quorum");
    arguments.insert("x-delivery-limit", 2);
    let queue = lane.queue_with("q", arguments)?;
    lane.put(&queue, "again")?;
    for time in 1..=3 {
        let held = lane.get_soon(&queue).during(format!("delivery {time} of 3"))?;
        lane.requeue(held.tag)?;
    }
    let letter = lane.get_soon(&dead).during("the dead letter after 3 deliveries")?;
    same("the dead letter", body(&letter), "again")?;
    died(&letter, "delivery_limit", &queue, "", &queue, 1)?;
    lane.ack(letter.tag)?;
    same("what is left", lane.drain(&queue)?, [""; 0])
}

fn dead_letter_cycle_stops(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (ttl, over) = short_ttl(bench);
    let (one, two) = (bench.queue_name("one"), bench.queue_name("two"));
    for (queue, other) in [(&one, &two), (&two, &one)] {
        let mut arguments = dead_lettering(&ShortStr::default(), Some(other));
        arguments.insert("x-message-ttl", i64::try_from(ttl).unwrap_or(i64::MAX));
        lane.declare(kombu_core::method::QueueDeclare { queue: queue.clone(), arguments, ..Default::default() })?;
    }
    lane.put(&one, "round")?;
    for _ in 0..4 {
        bench.pass(over)?;
    }
    bench.eventually("the cycle to stop", || Ok(lane.ready(&one)? + lane.ready(&two)? == 0))?;
    bench.pass(over)?;
    same("messages in the cycle", lane.ready(&one)? + lane.ready(&two)?, 0)
}

fn delayed_not_before_due(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let kind = ExchangeKind::Other("x-delayed-message".into());
    let exchange = lane.exchange_with("x", kind, FieldTable::from([("x-delayed-type", "direct")]))?;
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "key")?;
    let (delay, over) =
        if bench.is_manual() { (10_000, Duration::from_secs(10)) } else { (1500, Duration::from_secs(2)) };
    let mut later = envelope(&exchange, "key", "later");
    later.headers = FieldTable::from([("x-delay", delay)]).into();
    lane.publish_envelope(later, false)?;
    lane.publish(&exchange, "key", "now")?;
    let now = lane.get_soon(&queue)?;
    same("what comes first", body(&now), "now")?;
    ensure(lane.get(&queue)?.is_none(), "a delayed message came before its time")?;
    bench.pass(over)?;
    same("what comes when the delay has passed", body(&lane.get_soon(&queue)?), "later")
}
