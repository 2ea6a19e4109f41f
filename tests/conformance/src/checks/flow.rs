//! Windows and fairness.

use kombu_core::{DeliveryTag, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, ensure, same};
use crate::lane::{bodies, body, numbered};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Flow, "prefetch_window_exact", prefetch_window_exact)
        .promise("a consumer holds as many unsettled deliveries as its prefetch, and gets one more for each it settles")
        .steps("prefetch 5 of 20; look at what is left; settle 2, 1 by reject, 1 by requeue of the last; look again")
        .reference("5; then 3 and 1 more; a fetch beside it gets the next")
        .spec("AMQP 0-9-1 basic.qos, field `prefetch-count`")
        .needs(&[Can("prefetch")]),
    Check::new(Group::Flow, "prefetch_zero_is_no_limit", prefetch_zero_is_no_limit)
        .promise("a prefetch of 0 is no limit")
        .steps("prefetch 0, consume a queue of 600 messages without settling any")
        .reference("all 600 are delivered")
        .spec("AMQP 0-9-1 basic.qos, field `prefetch-count`")
        .needs(&[Can("prefetch")]),
    Check::new(Group::Flow, "prefetch_does_not_limit_get", prefetch_does_not_limit_get)
        .promise("a fetch is not limited by the prefetch")
        .steps("prefetch 1, hold it by a consumer, fetch 3 on the same channel")
        .reference("3 messages")
        .spec("AMQP 0-9-1 basic.qos")
        .needs(&[Can("prefetch")]),
    Check::new(Group::Flow, "prefetch_is_per_consumer", prefetch_is_per_consumer)
        .promise("a window that is not global is each consumer's own")
        .steps("prefetch 2, two consumers of two queues with 5 messages each on one channel")
        .reference("2 + 2")
        .spec("RabbitMQ, Consumer Prefetch, `global=false`")
        .needs(&[Can("prefetch")]),
    Check::new(Group::Flow, "prefetch_global_is_the_channels", prefetch_global_is_the_channels)
        .promise("a global window is the whole channel's")
        .steps("global prefetch 3, two consumers of two queues with 5 messages each; settle one")
        .reference("3 together, then one more")
        .spec("RabbitMQ, Consumer Prefetch, `global=true`")
        .needs(&[Can("prefetch"), Can("prefetch_global")]),
    Check::new(Group::Flow, "consumers_share_fairly", consumers_share_fairly)
        .promise("two consumers of a queue share its messages: on one connection or two, each gets about half")
        .steps("two consumers, 100 messages one after the other, settled at once; on one connection, on two")
        .reference("about half each; at least two fifths")
        .spec("AMQP 0-9-1 basic.consume: round robin")
        .needs(&[Can("fair_dispatch")]),
    Check::new(Group::Flow, "slow_consumer_does_not_block_others", slow_consumer_does_not_block_others)
        .promise("a consumer that settles nothing keeps no other from its messages")
        .steps("prefetch 1 each; one consumer never settles, the other does; 20 messages, of which one may be held")
        .reference("the other gets 19, or all 20 if it is quick")
        .spec("AMQP 0-9-1 basic.qos")
        .needs(&[Can("prefetch")]),
    Check::new(Group::Flow, "queues_of_a_channel_are_served_in_turn", queues_of_a_channel_are_served_in_turn)
        .promise("a full queue keeps no other queue of the same channel from being served")
        .steps("a backlog in one queue, consumed with prefetch 2; then one message in another queue of the channel")
        .reference("it is delivered although the backlog is not done")
        .spec("AMQP 0-9-1 basic.consume")
        .needs(&[Can("prefetch")]),
];

fn prefetch_window_exact(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    publisher.fill(&queue, &numbered("", 1..21))?;
    lane.qos(5, false)?;
    let consumed = lane.consume(&queue)?;
    let first = consumed.expect(5)?;
    same("the first window", bodies(&first), ["1", "2", "3", "4", "5"])?;
    publisher.wait_ready(&queue, 15).during("messages left while the window is full")?;
    lane.ack(first[0].tag)?;
    lane.ack(first[1].tag)?;
    lane.reject(first[2].tag)?;
    same("the next deliveries", bodies(&consumed.expect(3)?), ["6", "7", "8"])?;
    publisher.wait_ready(&queue, 12).during("messages left while the window is full again")?;
    let beside = publisher.get_soon(&queue)?;
    same("what a fetch beside it gets", body(&beside), "9")?;
    lane.requeue(first[4].tag)?;
    let came = consumed.expect(1).during("after one was given back")?;
    ensure(["5", "10"].contains(&body(&came[0]).as_str()), format!("then came {}", body(&came[0])))
}

fn prefetch_zero_is_no_limit(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    let count = if bench.is_small() { 300 } else { 600 };
    publisher.fill(&queue, &numbered("", 0..count))?;
    lane.qos(0, false)?;
    let consumed = lane.consume(&queue)?;
    let all = consumed.expect(count)?;
    lane.ack_all(&all)
}

fn prefetch_does_not_limit_get(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (queue, other) = (lane.queue("q")?, lane.queue("other")?);
    lane.put(&queue, "consumed")?;
    lane.fill(&other, &["1", "2", "3"])?;
    lane.qos(1, false)?;
    let consumed = lane.consume(&queue)?;
    consumed.expect(1)?;
    let fetched = [lane.get_soon(&other)?, lane.get_soon(&other)?, lane.get_soon(&other)?];
    same("what was fetched", bodies(&fetched), ["1", "2", "3"])
}

fn two_queues(bench: &Bench) -> Verdict<(ShortStr, ShortStr)> {
    let publisher = bench.channel()?;
    let (one, two) = (publisher.queue("one")?, publisher.queue("two")?);
    publisher.fill(&one, &numbered("a", 1..6))?;
    publisher.fill(&two, &numbered("b", 1..6))?;
    Ok((one, two))
}

fn prefetch_is_per_consumer(bench: &Bench) -> Verdict {
    let (one, two) = two_queues(bench)?;
    let (lane, other) = (bench.channel()?, bench.channel()?);
    lane.qos(2, false)?;
    let (first, second) = (lane.consume(&one)?, lane.consume(&two)?);
    let (a, b) = (first.expect(2)?, second.expect(2)?);
    same("what both got", [bodies(&a), bodies(&b)], [["a1", "a2"], ["b1", "b2"]])?;
    other.wait_ready(&one, 3)?;
    other.wait_ready(&two, 3)?;
    lane.ack(a[0].tag)?;
    same("the next of the first", bodies(&first.expect(1)?), ["a3"])?;
    same("deliveries to the other meanwhile", second.sink.len(), 0)
}

fn prefetch_global_is_the_channels(bench: &Bench) -> Verdict {
    let (one, two) = two_queues(bench)?;
    let (lane, other) = (bench.channel()?, bench.channel()?);
    lane.qos(3, true)?;
    let (first, second) = (lane.consume(&one)?, lane.consume(&two)?);
    let count = || first.sink.len() + second.sink.len();
    bench.wait_until("three deliveries", || count() >= 3)?;
    bench.eventually("seven messages left", || Ok(other.ready(&one)? + other.ready(&two)? == 7))?;
    same("deliveries to both", count(), 3)?;
    lane.ack(DeliveryTag(1))?;
    bench.wait_until("one more delivery", || count() >= 4)?;
    bench.eventually("six messages left", || Ok(other.ready(&one)? + other.ready(&two)? == 6))?;
    same("deliveries to both after one was settled", count(), 4)
}

fn consumers_share_fairly(bench: &Bench) -> Verdict {
    let publisher = bench.channel()?;
    let count = if bench.is_small() { 30 } else { 100 };
    for connections in [1, 2] {
        let queue = publisher.queue(&format!("q{connections}"))?;
        let transport = bench.connect()?;
        let one = bench.channel_on(&transport)?;
        let two = if connections == 1 { bench.channel_on(&transport)? } else { bench.channel()? };
        if bench.can("prefetch")? {
            one.qos(4, false)?;
            two.qos(4, false)?;
        }
        let consumers = [one.consume(&queue)?, two.consume(&queue)?];
        let mut counts = [0, 0];
        for number in 0..count {
            publisher.put(&queue, &number.to_string())?;
            bench
                .wait_until("a delivery to one of two consumers", || consumers.iter().any(|one| one.sink.len() > 0))?;
            for (count, consumed) in counts.iter_mut().zip(&consumers) {
                for delivery in consumed.sink.take() {
                    consumed.lane.ack(delivery.tag)?;
                    *count += 1;
                }
            }
        }
        same("deliveries altogether", counts[0] + counts[1], count)?;
        let (fewest, want) = (counts[0].min(counts[1]), count * 2 / 5);
        ensure(
            fewest >= want,
            format!("on {connections} connections they got {counts:?} of {count}, want {want} each"),
        )?;
    }
    Ok(())
}

fn slow_consumer_does_not_block_others(bench: &Bench) -> Verdict {
    let (publisher, slow, fast) = (bench.channel()?, bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    slow.qos(1, false)?;
    fast.qos(1, false)?;
    let (held, served) = (slow.consume(&queue)?, fast.consume(&queue)?);
    publisher.fill(&queue, &numbered("", 0..20))?;
    let mut came = Vec::new();
    bench.eventually("19 deliveries to the consumer that settles", || {
        for delivery in served.sink.take() {
            came.push(body(&delivery));
            fast.ack(delivery.tag)?;
        }
        Ok(came.len() + held.sink.len() >= 20)
    })?;
    let kept = held.sink.len();
    ensure(kept <= 1, format!("the consumer that settles nothing got {kept} with a window of 1"))?;
    same("deliveries to the one that does", came.len(), 20 - kept)
}

fn queues_of_a_channel_are_served_in_turn(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let (full, other) = (publisher.queue("full")?, publisher.queue("other")?);
    publisher.fill(&full, &numbered("", 0..50))?;
    lane.qos(2, false)?;
    let (busy, waiting) = (lane.consume(&full)?, lane.consume(&other)?);
    bench.wait_until("deliveries from the full queue", || busy.sink.len() >= 2)?;
    publisher.put(&other, "one")?;
    let one = waiting.expect(1).during("while the backlog of another queue of the channel is held")?;
    lane.ack(one[0].tag)?;
    publisher.wait_ready(&full, 48)
}
