//! In what order messages come.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{FieldTable, PriorityOrder, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{Failure, Verdict, same};
use crate::lane::{Lane, bodies, body, envelope, numbered};
use crate::need::Need::{Order, Priority};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Flow, "fifo_thousand", fifo_thousand)
        .promise("what one publisher publishes reaches one consumer in order, each message once")
        .steps("publish 1 000 while a consumer settles each")
        .reference("in order")
        .spec("AMQP 0-9-1 §4.7 content ordering")
        .needs(&[Order]),
    Check::new(Group::Flow, "fifo_get_and_consume", fifo_get_and_consume)
        .promise("a backlog is delivered in the order it was published, fetched or consumed")
        .steps("publish 20, fetch 10, consume the rest")
        .reference("in order")
        .spec("AMQP 0-9-1 §4.7 content ordering")
        .needs(&[Order]),
    Check::new(Group::Flow, "fifo_per_publisher_under_load", fifo_per_publisher_under_load)
        .promise("what each of 8 publishers publishes at the same time arrives in its order, each message once")
        .steps("8 threads publish 100 each on channels of their own while a consumer settles")
        .reference("8 ordered sequences, interleaved")
        .spec("AMQP 0-9-1 §4.7 content ordering")
        .needs(&[Order]),
    Check::new(Group::Flow, "priority_order_fifo_within", priority_order_fifo_within)
        .promise("more urgent messages come first, equally urgent ones in order")
        .steps("publish two rounds of priorities that the transport tells apart, fetch all")
        .reference("higher first, FIFO within one")
        .spec("RabbitMQ, Priority Queue Support")
        .needs(&[Priority]),
    Check::new(Group::Flow, "priority_is_clamped", priority_is_clamped)
        .promise("a priority beyond the queue's highest counts as the highest, none counts as 0")
        .steps("publish with 200, the highest, a middle one, none and 0, fetch all")
        .reference("200 as the highest; none as 0")
        .spec("RabbitMQ, Priority Queue Support")
        .needs(&[Priority]),
];

fn fifo_thousand(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    let sent = numbered("", 0..bench.many(1000));
    if bench.can("prefetch")? {
        lane.qos(50, false)?;
    }
    let consumed = lane.consume(&queue)?;
    publisher.fill(&queue, &sent)?;
    same("messages", collect(bench, &consumed, sent.len())?, sent)
}

/// Settles and returns `count` deliveries, and fails for one more.
fn collect(bench: &Bench, consumed: &crate::lane::Consumed<'_>, count: usize) -> Verdict<Vec<String>> {
    let mut came = Vec::new();
    bench
        .eventually("all deliveries", || {
            while consumed.sink.len() > 0 {
                let new = consumed.sink.take();
                came.extend(new.iter().map(body));
                consumed.lane.ack_all(&new)?;
            }
            Ok(came.len() >= count)
        })
        .map_err(|failure| failure.during(format!("{} of {count} came", came.len())))?;
    came.extend(consumed.fence()?.iter().map(body));
    Ok(came)
}

fn fifo_get_and_consume(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let sent = numbered("", 0..20);
    lane.fill(&queue, &sent)?;
    let fetched = (0..10).map(|_| lane.get_soon(&queue)).collect::<Verdict<Vec<_>>>()?;
    let consumed = lane.consume(&queue)?;
    let rest = consumed.expect(10)?;
    same("messages", [bodies(&fetched), bodies(&rest)].concat(), sent)
}

fn fifo_per_publisher_under_load(bench: &Bench) -> Verdict {
    const PUBLISHERS: usize = 8;
    let (setup, lane) = (bench.channel()?, bench.channel()?);
    let (queue, count) = (setup.queue("q")?, bench.many(100));
    if bench.can("prefetch")? {
        lane.qos(100, false)?;
    }
    let consumed = lane.consume(&queue)?;
    let publishers = (0..PUBLISHERS).map(|_| bench.channel()).collect::<Verdict<Vec<_>>>()?;
    let threads: Vec<_> = publishers
        .iter()
        .enumerate()
        .map(|(number, publisher)| {
            let (channel, queue) = (Arc::clone(&publisher.channel), queue.clone());
            let method = BasicPublish { mandatory: false, timeout: Some(bench.patience()) };
            std::thread::spawn(move || {
                let publish = |index: usize| {
                    let body = format!("{number}-{index:04}");
                    channel.basic_publish(method, Arc::new(envelope(&ShortStr::default(), &queue, &body)))
                };
                (0..count).map(publish).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut confirms = Vec::new();
    for thread in threads {
        let finished = || thread.is_finished();
        bench.join(&finished)?;
        confirms.extend(thread.join().map_err(|_| Failure::new("publishing panicked"))?);
    }
    bench.run("the confirmations of all", async move {
        for confirm in confirms {
            confirm.await?;
        }
        Ok::<(), kombu_core::Error>(())
    })??;
    let came = collect(bench, &consumed, PUBLISHERS * count)?;
    for number in 0..PUBLISHERS {
        let own: Vec<_> = came.iter().filter(|body| body.starts_with(&format!("{number}-"))).cloned().collect();
        let want: Vec<_> = (0..count).map(|index| format!("{number}-{index:04}")).collect();
        same(format!("messages of publisher {number}"), own, want)?;
    }
    same("messages altogether", came.len(), PUBLISHERS * count)
}

/// Priorities that the transport tells apart, the most urgent first, and the most urgent of all.
fn ladder(bench: &Bench) -> Verdict<Vec<u8>> {
    let priority = bench.capabilities()?.priority.ok_or_else(|| Failure::new("no priority is declared"))?;
    let mut ladder: Vec<u8> = match priority.levels {
        // Kombu's steps on Redis are 0, 3, 6 and 9.
        0..=3 => vec![9, 0],
        4 => vec![9, 6, 3, 0],
        _ => vec![9, 5, 4, 1, 0],
    };
    if priority.order == PriorityOrder::LowFirst {
        ladder.reverse();
    }
    Ok(ladder)
}

fn prioritised(lane: &Lane<'_>, queue: &ShortStr, priority: Option<u8>, body: &str) -> Verdict {
    let mut envelope = envelope(&ShortStr::default(), queue, body);
    envelope.properties.priority = priority;
    lane.publish_envelope(envelope, false).map(drop)
}

fn priority_order_fifo_within(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue_with("q", FieldTable::from([("x-max-priority", 9)]))?;
    let ladder = ladder(bench)?;
    let mut mixed = ladder.clone();
    mixed.rotate_left(1);
    for round in 1..=3 {
        for priority in &mixed {
            prioritised(&lane, &queue, Some(*priority), &format!("{priority}-{round}"))?;
        }
    }
    let want: Vec<_> =
        ladder.iter().flat_map(|priority| (1..=3).map(move |round| format!("{priority}-{round}"))).collect();
    same("messages", lane.drain(&queue)?, want)
}

fn priority_is_clamped(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue_with("q", FieldTable::from([("x-max-priority", 9)]))?;
    let sent = [(Some(9), "nine"), (Some(0), "zero"), (Some(200), "beyond"), (None, "none"), (Some(5), "five")];
    for (priority, body) in sent {
        prioritised(&lane, &queue, priority, body)?;
    }
    let mut want = ["nine", "beyond", "five", "zero", "none"];
    if bench.capabilities()?.priority.is_some_and(|priority| priority.order == PriorityOrder::LowFirst) {
        want = ["zero", "none", "five", "nine", "beyond"];
    }
    same("messages", lane.drain(&queue)?, want)
}
