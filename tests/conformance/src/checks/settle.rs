//! A delivery is settled once: forgotten, or given back.

use kombu_core::{DeliveryTag, ErrorKind, Scope};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, ensure, refused, same};
use crate::lane::{body, numbered};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Settle, "get_empty_returns_none_now", get_empty_returns_none_now)
        .promise("fetching from an empty queue answers at once that there is nothing")
        .steps("fetch from a new queue, from one whose only message is held, and from one that was emptied")
        .reference("get-empty")
        .spec("AMQP 0-9-1 basic.get-empty"),
    Check::new(Group::Settle, "delivery_tags_count_from_one_per_channel", delivery_tags_count_from_one_per_channel)
        .promise("delivery tags are 1, 2, 3, … on each channel, fetched and consumed alike")
        .steps("fetch 2 and consume 2 on one channel, fetch 1 on another")
        .reference("1 2 3 4, and 1")
        .spec("AMQP 0-9-1 domain `delivery-tag`"),
    Check::new(Group::Settle, "ack_removes", ack_removes)
        .promise("an acknowledged message never comes back")
        .steps("fetch 3, acknowledge the second, close the channel, look")
        .reference("1 and 3 are there")
        .spec("AMQP 0-9-1 basic.ack"),
    Check::new(Group::Settle, "settle_out_of_order", settle_out_of_order)
        .promise("deliveries may be settled in any order")
        .steps("hold 6; acknowledge 5, 2, 6, reject 3, give back 1; close; look")
        .reference("1 and 4 are there")
        .spec("AMQP 0-9-1 basic.ack"),
    Check::new(Group::Settle, "reject_drops", reject_drops)
        .promise("a rejected message is gone")
        .steps("fetch 2, reject the first, close the channel, look")
        .reference("the second is there")
        .spec("AMQP 0-9-1 basic.reject"),
    Check::new(Group::Settle, "requeue_gives_back", requeue_gives_back)
        .promise("a message given back is delivered again, to this channel or another")
        .steps("fetch, requeue, fetch on another channel, requeue, fetch on the first")
        .reference("the same message each time")
        .spec("AMQP 0-9-1 basic.reject, field `requeue`"),
    Check::new(Group::Settle, "requeue_restores_place", requeue_restores_place)
        .promise("a message given back goes to its old place, before what is younger")
        .steps("publish 4, hold 2, give back the second, then the first, look")
        .reference("1 2 3 4")
        .spec("RabbitMQ, Consumer Acknowledgements, requeueing")
        .needs(&[Can("requeue_in_place")]),
    Check::new(Group::Settle, "redelivered_says_so", redelivered_says_so)
        .promise("a delivery says whether it is a repeat")
        .steps("fetch, requeue, fetch; consume, close the channel, fetch")
        .reference("false, true; false, true")
        .spec("AMQP 0-9-1 domain `redelivered`")
        .needs(&[Can("redelivered")]),
    Check::new(Group::Settle, "delivery_count_grows", delivery_count_grows)
        .promise("a delivery says how often the message was given back before")
        .steps("fetch and requeue 3 times, fetch; on a quorum queue where plain ones do not count")
        .reference("0 1 2 3 (quorum queues, `x-delivery-count`)")
        .spec("RabbitMQ, Quorum Queues, poison messages")
        .needs(&[Can("delivery_count")]),
    Check::new(Group::Settle, "close_restores_unacked", close_restores_unacked)
        .promise("closing a channel gives back what is unsettled on it, in order")
        .steps("publish 5; hold the first 2 by fetching and 2 by consuming; close the channel, look")
        .reference("all 5, in order")
        .spec("AMQP 0-9-1 channel.close; basic.get, basic.consume")
        .needs(&[Can("restore_on_close")]),
    Check::new(Group::Settle, "recover_gives_back", recover_gives_back)
        .promise("recovering a channel gives back what is unsettled on it, and the channel goes on")
        .steps("fetch 2, recover, fetch 2 again, acknowledge them, look")
        .reference("both come back; nothing is left")
        .spec("AMQP 0-9-1 basic.recover"),
    Check::new(Group::Settle, "auto_ack_refuses_ack", auto_ack_refuses_ack)
        .promise("a delivery without acknowledgement is settled when it is sent; settling it is an error")
        .steps("fetch with no_ack, close the channel, look; fetch with no_ack, acknowledge")
        .reference("gone; 406, channel closed")
        .spec("AMQP 0-9-1 basic.get, field `no-ack`"),
    Check::new(Group::Settle, "bad_tag_closes_channel_only", bad_tag_closes_channel_only)
        .promise("settling an unknown tag, or one twice, ends that channel and no other")
        .steps("acknowledge a tag that never was, one twice, one of another channel; use a sibling channel each time")
        .reference("406, channel closed, the connection goes on; what the channel held is given back")
        .spec("AMQP 0-9-1 basic.ack, rule `delivery-tag`"),
];

fn get_empty_returns_none_now(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    ensure(lane.get(&queue)?.is_none(), "a message came out of a new queue")?;
    lane.put(&queue, "one")?;
    let held = lane.get_soon(&queue)?;
    ensure(lane.get(&queue)?.is_none(), "a message came out of a queue whose only message is held")?;
    lane.ack(held.tag)?;
    ensure(lane.get(&queue)?.is_none(), "a message came out of a queue that was emptied")
}

fn delivery_tags_count_from_one_per_channel(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let (lane, other) = (bench.channel_on(&transport)?, bench.channel_on(&transport)?);
    let queue = lane.queue("q")?;
    lane.fill(&queue, &numbered("m", 0..5))?;
    let mut tags = vec![lane.get_soon(&queue)?.tag.0, lane.get_soon(&queue)?.tag.0];
    same("the first tag of another channel", other.get_soon(&queue)?.tag.0, 1)?;
    let consumed = lane.consume(&queue)?;
    tags.extend(consumed.expect(2)?.iter().map(|delivery| delivery.tag.0));
    same("tags", tags, [1, 2, 3, 4])
}

fn ack_removes(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &["1", "2", "3"])?;
    let holding = bench.channel()?;
    let held = [holding.get_soon(&queue)?, holding.get_soon(&queue)?, holding.get_soon(&queue)?];
    holding.ack(held[1].tag)?;
    if bench.can("restore_on_close")? {
        holding.close()?;
    } else {
        holding.requeue(held[0].tag)?;
        holding.requeue(held[2].tag)?;
    }
    lane.wait_ready(&queue, 2)?;
    let mut left = lane.bodies(&queue)?;
    left.sort_unstable();
    same("messages left", left, ["1", "3"])
}

fn settle_out_of_order(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &numbered("", 1..7))?;
    let holding = bench.channel()?;
    let held = (0..6).map(|_| holding.get_soon(&queue)).collect::<Verdict<Vec<_>>>()?;
    holding.ack(held[4].tag)?;
    holding.ack(held[1].tag)?;
    holding.ack(held[5].tag)?;
    holding.reject(held[2].tag)?;
    holding.requeue(held[0].tag)?;
    lane.wait_ready(&queue, 1)?;
    holding.requeue(held[3].tag)?;
    lane.wait_ready(&queue, 2)?;
    holding.close()?;
    let mut left = lane.bodies(&queue)?;
    left.sort_unstable();
    same("messages left", left, ["1", "4"])
}

fn reject_drops(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &["1", "2"])?;
    let holding = bench.channel()?;
    let held = [holding.get_soon(&queue)?, holding.get_soon(&queue)?];
    holding.reject(held[0].tag)?;
    holding.requeue(held[1].tag)?;
    lane.wait_ready(&queue, 1)?;
    holding.close()?;
    same("messages left", lane.bodies(&queue)?, ["2"])
}

fn requeue_gives_back(bench: &Bench) -> Verdict {
    let (lane, other) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    lane.put(&queue, "one")?;
    for turn in 0..4 {
        let on = if turn % 2 == 0 { &lane } else { &other };
        let delivery = on.get_soon(&queue).during(format!("the fetch after {turn} requeues"))?;
        same("the message", body(&delivery), "one")?;
        on.requeue(delivery.tag)?;
    }
    lane.wait_ready(&queue, 1)?;
    same("messages left", lane.bodies(&queue)?, ["one"])
}

fn requeue_restores_place(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &["1", "2", "3", "4"])?;
    let (first, second) = (lane.get_soon(&queue)?, lane.get_soon(&queue)?);
    lane.requeue(second.tag)?;
    lane.wait_ready(&queue, 3)?;
    lane.requeue(first.tag)?;
    lane.wait_ready(&queue, 4)?;
    same("messages", lane.bodies(&queue)?, ["1", "2", "3", "4"])
}

fn redelivered_says_so(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    lane.put(&queue, "one")?;
    let first = lane.get_soon(&queue)?;
    same("redelivered of a first delivery", first.redelivered, false)?;
    lane.requeue(first.tag)?;
    let second = lane.get_soon(&queue)?;
    same("redelivered after a requeue", second.redelivered, true)?;
    lane.ack(second.tag)?;
    lane.put(&queue, "two")?;
    let consumed = holding.consume(&queue)?;
    same("redelivered of a first delivery to a consumer", consumed.expect(1)?[0].redelivered, false)?;
    if bench.can("restore_on_close")? {
        holding.close()?;
        same("redelivered after the channel closed", lane.get_soon(&queue)?.redelivered, true)?;
    }
    Ok(())
}

fn delivery_count_grows(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.counting_queue("q")?;
    lane.put(&queue, "one")?;
    let mut counts = Vec::new();
    for _ in 0..4 {
        let delivery = lane.get_soon(&queue)?;
        counts.push(delivery.delivery_count);
        lane.requeue(delivery.tag)?;
    }
    same("delivery counts", counts, [Some(0), Some(1), Some(2), Some(3)])
}

fn close_restores_unacked(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    lane.fill(&queue, &numbered("", 1..6))?;
    holding.get_soon(&queue)?;
    holding.get_soon(&queue)?;
    if bench.can("prefetch")? {
        holding.qos(2, false)?;
    }
    let consumed = holding.consume(&queue)?;
    bench.wait_until("two deliveries", || consumed.sink.len() >= 2)?;
    holding.close()?;
    lane.wait_ready(&queue, 5)?;
    let mut left = lane.bodies(&queue)?;
    if !bench.can("requeue_in_place")? {
        left.sort_unstable();
    }
    same("messages after the channel closed", left, ["1", "2", "3", "4", "5"])
}

fn recover_gives_back(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &["1", "2"])?;
    let first = [lane.get_soon(&queue)?, lane.get_soon(&queue)?];
    lane.recover()?;
    lane.wait_ready(&queue, 2)?;
    let again = [lane.get_soon(&queue)?, lane.get_soon(&queue)?];
    let mut came = [body(&again[0]), body(&again[1])];
    came.sort_unstable();
    same("messages after the recovery", came, ["1", "2"])?;
    ensure(again[0].tag > first[1].tag, "a tag was used again after the recovery")?;
    lane.ack(again[0].tag)?;
    lane.ack(again[1].tag)?;
    same("messages left", lane.bodies(&queue)?, [""; 0])
}

fn auto_ack_refuses_ack(bench: &Bench) -> Verdict {
    let (lane, holding) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    lane.fill(&queue, &["1", "2"])?;
    ensure(holding.get_with(&queue, true)?.is_some(), "no message to fetch")?;
    holding.close()?;
    same("messages left", lane.ready(&queue)?, 1)?;
    let other = bench.channel()?;
    let taken = other.get_with(&queue, true)?;
    let tag = taken.map_or(DeliveryTag(1), |delivery| delivery.tag);
    settled_badly(&other, "acknowledge what is acknowledged already", tag)?;
    same("messages left at the end", lane.bodies(&queue)?, [""; 0])
}

/// A bad settle is refused, or, where it is not waited for, ends the channel.
fn settled_badly(lane: &crate::lane::Lane<'_>, what: &str, tag: DeliveryTag) -> Verdict {
    let settled = lane.ack(tag);
    if settled.is_err() {
        let error = refused(what, settled, &[ErrorKind::PreconditionFailed, ErrorKind::ChannelGone])?;
        same(format!("scope of {what}"), error.scope(), Scope::Channel)?;
    }
    lane.is_dead().during(what)
}

fn bad_tag_closes_channel_only(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let sibling = bench.channel_on(&transport)?;
    let queue = sibling.queue("q")?;
    sibling.fill(&queue, &["1", "2"])?;
    let lane = bench.channel_on(&transport)?;
    settled_badly(&lane, "acknowledge a tag that never was", DeliveryTag(99))?;
    sibling.is_alive().during("a sibling channel after that")?;

    let lane = bench.channel_on(&transport)?;
    let (first, held) = (lane.get_soon(&queue)?, lane.get_soon(&queue)?);
    same("the messages", [body(&first), body(&held)], ["1", "2"])?;
    lane.ack(first.tag)?;
    settled_badly(&lane, "acknowledge twice", first.tag)?;
    sibling.is_alive().during("a sibling channel after that")?;
    if bench.can("restore_on_close")? {
        sibling.wait_ready(&queue, 1).during("what the ended channel held")?;
        let held = sibling.get_soon(&queue)?;
        let lane = bench.channel_on(&transport)?;
        settled_badly(&lane, "acknowledge another channel's tag", held.tag)?;
        sibling.ack(held.tag).during("the channel whose tag it was")?;
    }
    Ok(())
}
