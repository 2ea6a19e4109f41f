//! Several deliveries are settled at once.

use kombu_core::{Delivery, DeliveryTag, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, same};
use crate::lane::{Lane, numbered};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Settle, "ack_multiple_up_to_tag", ack_multiple_up_to_tag)
        .promise("an acknowledgement with `multiple` settles everything up to its tag, and nothing above; 0 means all")
        .steps(
            "hold 6, acknowledge the second, then up to the fourth; close, look; hold 2, acknowledge all, close, look",
        )
        .reference("5 and 6 are there; then nothing")
        .spec("AMQP 0-9-1 basic.ack, field `multiple`")
        .needs(&[Can("ack_multiple")]),
    Check::new(Group::Settle, "ack_multiple_spares_other_channels", ack_multiple_spares_other_channels)
        .promise("an acknowledgement with `multiple` settles what its own channel holds")
        .steps("hold 2 on each of two channels of a connection, acknowledge all on one, close both, look")
        .reference("the other channel's two are there")
        .spec("AMQP 0-9-1 basic.ack, field `multiple`")
        .needs(&[Can("ack_multiple")]),
    Check::new(Group::Settle, "nack_multiple_requeue", nack_multiple_requeue)
        .promise("a negative acknowledgement with `multiple` gives everything up to its tag back")
        .steps("hold 5, nack up to the third with requeue, acknowledge the rest, look")
        .reference("1 2 3")
        .spec("RabbitMQ, Negative Acknowledgements")
        .needs(&[Can("nack")]),
    Check::new(Group::Settle, "nack_multiple_drops", nack_multiple_drops)
        .promise("a negative acknowledgement with `multiple` and without requeue drops everything up to its tag")
        .steps("hold 5, nack up to the third, requeue the rest, look")
        .reference("4 5")
        .spec("RabbitMQ, Negative Acknowledgements")
        .needs(&[Can("nack")]),
];

/// Publishes `count` messages and holds them on `lane`.
fn hold(lane: &Lane<'_>, queue: &ShortStr, count: usize) -> Verdict<Vec<Delivery>> {
    lane.fill(queue, &numbered("", 1..count + 1))?;
    (0..count).map(|_| lane.get_soon(queue)).collect()
}

/// Looks at what is in a queue, in order of the bodies where the transport keeps none.
fn left(lane: &Lane<'_>, queue: &ShortStr, count: u32) -> Verdict<Vec<String>> {
    lane.wait_ready(queue, count)?;
    let mut left = lane.bodies(queue)?;
    left.sort_unstable();
    Ok(left)
}

fn ack_multiple_up_to_tag(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    let held = hold(&holding, &queue, 6)?;
    holding.ack(held[1].tag)?;
    holding.ack_up_to(held[3].tag)?;
    holding.requeue(held[4].tag).during("one above the tag")?;
    holding.requeue(held[5].tag).during("one above the tag")?;
    // What was not settled by the acknowledgement would come back now.
    holding.close()?;
    same("messages above the tag", left(&lane, &queue, 2)?, ["5", "6"])?;
    let holding = bench.channel()?;
    let again = hold(&holding, &queue, 2)?;
    same("messages held again", again.len(), 2)?;
    holding.ack_up_to(DeliveryTag(0)).during("acknowledge all with tag 0")?;
    holding.close()?;
    same("messages after all was acknowledged", left(&lane, &queue, 0)?, [""; 0])
}

fn ack_multiple_spares_other_channels(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let (lane, one, two) = (bench.channel()?, bench.channel_on(&transport)?, bench.channel_on(&transport)?);
    let queue = lane.queue("q")?;
    let mine = hold(&one, &queue, 2)?;
    let others = hold(&two, &queue, 2)?;
    one.ack_up_to(mine[1].tag)?;
    two.requeue(others[0].tag).during("what the other channel held")?;
    two.requeue(others[1].tag).during("what the other channel held")?;
    same("messages of the other channel", left(&lane, &queue, 2)?, ["1", "2"])?;
    one.close()
}

fn nack_multiple_requeue(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    let held = hold(&holding, &queue, 5)?;
    holding.nack(held[2].tag, true, true)?;
    holding.ack(held[3].tag)?;
    holding.ack(held[4].tag)?;
    same("messages given back", left(&lane, &queue, 3)?, ["1", "2", "3"])
}

fn nack_multiple_drops(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    let held = hold(&holding, &queue, 5)?;
    holding.nack(held[2].tag, true, false)?;
    holding.nack(held[3].tag, false, true)?;
    holding.nack(held[4].tag, false, true)?;
    same("messages that were not dropped", left(&lane, &queue, 2)?, ["4", "5"])?;
    holding.close()?;
    same("messages after the channel closed", left(&lane, &queue, 0)?, [""; 0])
}
