//! Consumers start, end, and are told.

use std::time::Instant;

use kombu_core::method::{BasicConsume, QueueDelete};
use kombu_core::{ErrorKind, FieldTable, Scope, Support};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, ensure, refused, same};
use crate::lane::{bodies, numbered};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Consumers, "consumer_gets_backlog_and_news", consumer_gets_backlog_and_news)
        .promise("a consumer gets what waits in its queue, and what is published later")
        .steps("publish 2, consume, publish 2; the deliveries name exchange and routing key")
        .reference("all 4, in order")
        .spec("AMQP 0-9-1 basic.consume"),
    Check::new(Group::Consumers, "cancel_stops_and_keeps", cancel_stops_and_keeps)
        .promise("after a cancel nothing more is delivered, messages stay, and what was delivered can be settled")
        .steps("hold 2, cancel, publish 2, look; acknowledge one and give back the other, look; cancel again")
        .reference("no further delivery; the rest is there")
        .spec("AMQP 0-9-1 basic.cancel"),
    Check::new(Group::Consumers, "queue_deletion_notifies_consumer", queue_deletion_notifies_consumer)
        .promise("a consumer is told when its queue is deleted, once")
        .steps("consume, delete the queue on another channel; consume another queue on the same channel")
        .reference("basic.cancel from the broker; the channel goes on")
        .spec("RabbitMQ, Consumer Cancel Notification")
        .needs(&[Can("consumer_cancel_notice")]),
    Check::new(Group::Consumers, "duplicate_tag_refused", duplicate_tag_refused)
        .promise("a consumer tag names one consumer of a channel; a second one of that name is refused")
        .steps("consume with a tag twice on one channel; once more on another channel; cancel, and use it again")
        .reference("530; another channel may use it")
        .spec("AMQP 0-9-1 basic.consume, field `consumer-tag`"),
    Check::new(Group::Consumers, "exclusive_consumer_refused", exclusive_consumer_refused)
        .promise("an exclusive consumer keeps others out, and is refused where there is one")
        .steps("consume exclusively; consume elsewhere; cancel; consume; consume exclusively elsewhere")
        .reference("403; ok; 403")
        .spec("AMQP 0-9-1 basic.consume, field `exclusive`")
        .needs(&[Can("exclusive_consumer")]),
    Check::new(Group::Consumers, "urgent_consumer_is_served_first", urgent_consumer_is_served_first)
        .promise("a consumer of a higher `x-priority` is served first, as long as its window has room")
        .steps(
            "two consumers of a queue, windows of 1; publish 2, look; settle what the urgent one holds, publish, look",
        )
        .reference("the urgent one, then the other; the urgent one again")
        .spec("RabbitMQ, Consumer Priorities")
        .needs(&[Can("consumer_priority"), Can("prefetch")]),
    Check::new(Group::Consumers, "single_active_consumer_takes_turns", single_active_consumer_takes_turns)
        .promise("of the consumers of a queue with `x-single-active-consumer` one is served, and after it the next")
        .steps("consume on two channels, publish 3, look; cancel the first, publish, look")
        .reference("all 3 to the first; then to the second")
        .spec("RabbitMQ, Consumers, Single Active Consumer")
        .needs(&[Can("single_active_consumer")]),
    Check::new(Group::Consumers, "no_ack_consumer_settles_by_itself", no_ack_consumer_settles_by_itself)
        .promise("a consumer without acknowledgement gets everything, whatever the prefetch, and owes no answer")
        .steps("prefetch 2, consume 10 with no_ack; close the channel, look")
        .reference("all 10; nothing comes back")
        .spec("AMQP 0-9-1 basic.consume, field `no-ack`"),
    Check::new(Group::Consumers, "consumers_of_one_channel_are_apart", consumers_of_one_channel_are_apart)
        .promise("two consumers of one channel get the messages of their own queues, and one may go without the other")
        .steps("consume two queues on one channel, publish to both, cancel one, publish to both")
        .reference("each its own; then only the second")
        .spec("AMQP 0-9-1 basic.consume"),
    Check::new(Group::Consumers, "delete_with_consumer_returns_count", delete_with_consumer_returns_count)
        .promise("what a consumer holds of a deleted queue is gone, and settling it harms nobody")
        .steps("hold 2 of 5, delete the queue, acknowledge one; use the channel; declare the queue again, look")
        .reference("the channel goes on; the new queue is empty")
        .spec("AMQP 0-9-1 queue.delete"),
];

fn consumer_gets_backlog_and_news(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    publisher.fill(&queue, &["1", "2"])?;
    let consumed = lane.consume(&queue)?;
    ensure(!consumed.tag.is_empty(), "the transport chose an empty consumer tag")?;
    bench.wait_until("the backlog", || consumed.sink.len() >= 2)?;
    publisher.fill(&queue, &["3", "4"])?;
    let came = consumed.expect(4)?;
    same("messages", bodies(&came), ["1", "2", "3", "4"])?;
    for delivery in &came {
        same("exchange", delivery.envelope.exchange.as_str(), "")?;
        same("routing key", &delivery.envelope.routing_key, &queue)?;
    }
    lane.ack_all(&came)?;
    same("further deliveries", bodies(&consumed.fence()?), [""; 0])
}

fn cancel_stops_and_keeps(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    publisher.fill(&queue, &["1", "2"])?;
    let consumed = lane.consume(&queue)?;
    let held = consumed.expect(2)?;
    lane.cancel(&consumed.tag)?;
    publisher.fill(&queue, &["3", "4"])?;
    publisher.wait_ready(&queue, 2).during("what was published after the cancel")?;
    same("deliveries after the cancel", consumed.sink.len(), 0)?;
    lane.ack(held[0].tag).during("acknowledge after the cancel")?;
    lane.requeue(held[1].tag).during("give back after the cancel")?;
    publisher.wait_ready(&queue, 3)?;
    lane.cancel(&consumed.tag).during("cancel what is cancelled")?;
    let mut left = publisher.bodies(&queue)?;
    left.sort_unstable();
    same("messages left", left, ["2", "3", "4"])?;
    same("deliveries to the cancelled consumer", consumed.sink.len(), 0)
}

fn queue_deletion_notifies_consumer(bench: &Bench) -> Verdict {
    let (other, lane) = (bench.channel()?, bench.channel()?);
    let (queue, second) = (other.queue("q")?, other.queue("second")?);
    let (consumed, kept) = (lane.consume(&queue)?, lane.consume(&second)?);
    other.delete_queue(&queue)?;
    bench.wait_until("the notice that the consumer ended", || consumed.sink.is_cancelled())?;
    other.put(&second, "goes on")?;
    let came = kept.expect(1).during("another consumer of the channel")?;
    lane.ack(came[0].tag)?;
    same("notices", consumed.sink.cancelled().len(), 1)?;
    ensure(!kept.sink.is_cancelled(), "the consumer of another queue was told that it ended")?;
    lane.is_alive().during("the channel after the notice")
}

fn duplicate_tag_refused(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let method = BasicConsume { queue: queue.clone(), consumer_tag: "mine".into(), ..BasicConsume::default() };
    let other = bench.channel()?;
    let elsewhere = other.consume_with(method.clone())?;
    same("the tag", elsewhere.tag.as_str(), "mine")?;
    let first = lane.consume_with(method.clone()).during("the tag of another channel's consumer")?;
    lane.cancel(&first.tag)?;
    lane.consume_with(method.clone()).during("the tag of a cancelled consumer")?;
    let kinds =
        [ErrorKind::InvalidArgument, ErrorKind::AccessRefused, ErrorKind::PreconditionFailed, ErrorKind::Protocol];
    refused("the tag of a living consumer", lane.consume_with(method).map(|consumed| consumed.tag), &kinds).map(drop)
}

fn exclusive_consumer_refused(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let exclusive = BasicConsume { queue: queue.clone(), exclusive: true, ..BasicConsume::default() };
    let first = lane.consume_with(exclusive.clone())?;
    let kinds = [ErrorKind::AccessRefused, ErrorKind::ResourceLocked];
    let second = bench.channel()?.consume(&queue).map(|consumed| consumed.tag);
    let error = refused("consume beside an exclusive consumer", second, &kinds)?;
    ensure(error.scope() != Scope::Connection, "it ended the connection")?;
    lane.cancel(&first.tag)?;
    let other = bench.channel()?;
    let plain = other.consume(&queue).during("consume after the exclusive consumer was cancelled")?;
    let late = bench.channel()?.consume_with(exclusive).map(|consumed| consumed.tag);
    refused("consume exclusively beside another consumer", late, &kinds)?;
    lane.put(&queue, "delivered")?;
    same("what the other consumer got", bodies(&plain.expect(1)?), ["delivered"])
}

fn urgent_consumer_is_served_first(bench: &Bench) -> Verdict {
    let (publisher, plain, urgent) = (bench.channel()?, bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    plain.qos(1, false)?;
    urgent.qos(1, false)?;
    let second = plain.consume(&queue)?;
    let arguments = FieldTable::from([("x-priority", 5)]);
    let first = urgent.consume_with(BasicConsume { queue: queue.clone(), arguments, ..BasicConsume::default() })?;
    let is_native = bench.capabilities()?.consumer_priority == Support::Native;
    let end = Instant::now() + bench.patience();
    let held = loop {
        publisher.put(&queue, "1")?;
        bench.wait_until("a delivery to one of them", || first.sink.len() + second.sink.len() > 0)?;
        if first.sink.len() > 0 {
            break first.expect(1)?;
        }
        // One who consumes already may have to hear first that another comes before it.
        ensure(!is_native, "the other got a message while the urgent one had room")?;
        ensure(Instant::now() < end, "the urgent one gets nothing while the other has room")?;
        plain.ack_all(&second.expect(1)?)?;
    };
    same("what the other gets while the urgent one has room", second.sink.len(), 0)?;
    publisher.put(&queue, "2")?;
    same("what the other gets while the urgent one has none", bodies(&second.expect(1)?), ["2"])?;
    urgent.ack_all(&held)?;
    publisher.put(&queue, "3")?;
    same("what the urgent consumer gets again", bodies(&first.expect(1)?), ["3"])
}

fn single_active_consumer_takes_turns(bench: &Bench) -> Verdict {
    let (publisher, one, two) = (bench.channel()?, bench.channel()?, bench.channel()?);
    let queue = publisher.queue_with("q", FieldTable::from([("x-single-active-consumer", true)]))?;
    let (first, second) = (one.consume(&queue)?, two.consume(&queue)?);
    publisher.fill(&queue, &["1", "2", "3"])?;
    let came = first.expect(3).during("what the first consumer gets")?;
    same("what the second gets meanwhile", second.sink.len(), 0)?;
    one.ack_all(&came)?;
    one.cancel(&first.tag)?;
    publisher.put(&queue, "4")?;
    same("what the second gets afterwards", bodies(&second.expect(1)?), ["4"])?;
    same("what the first gets afterwards", first.sink.len(), 0)
}

fn no_ack_consumer_settles_by_itself(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    publisher.fill(&queue, &numbered("", 0..10))?;
    if bench.can("prefetch")? {
        lane.qos(2, false)?;
    }
    let consumed = lane.consume_with(BasicConsume { queue: queue.clone(), no_ack: true, ..BasicConsume::default() })?;
    same("messages", bodies(&consumed.expect(10)?), numbered("", 0..10))?;
    lane.close()?;
    same("messages after the channel closed", publisher.bodies(&queue)?, [""; 0])
}

fn consumers_of_one_channel_are_apart(bench: &Bench) -> Verdict {
    let (publisher, lane) = (bench.channel()?, bench.channel()?);
    let (a, b) = (publisher.queue("a")?, publisher.queue("b")?);
    let (one, two) = (lane.consume(&a)?, lane.consume(&b)?);
    ensure(one.tag != two.tag, "two consumers of a channel got the same tag")?;
    publisher.put(&a, "a1")?;
    publisher.put(&b, "b1")?;
    let (first, second) = (one.expect(1)?, two.expect(1)?);
    same("deliveries", [bodies(&first), bodies(&second)], [["a1"], ["b1"]])?;
    lane.ack_all(&first)?;
    lane.ack_all(&second)?;
    lane.cancel(&one.tag)?;
    publisher.put(&a, "a2")?;
    publisher.put(&b, "b2")?;
    same("what the consumer that is left gets", bodies(&two.expect(1)?), ["b2"])?;
    publisher.wait_ready(&a, 1)?;
    same("deliveries to the cancelled one", one.sink.len(), 0)
}

fn delete_with_consumer_returns_count(bench: &Bench) -> Verdict {
    let (other, lane) = (bench.channel()?, bench.channel()?);
    let queue = other.queue("q")?;
    other.fill(&queue, &numbered("", 0..5))?;
    let held = [lane.get_soon(&queue)?, lane.get_soon(&queue)?];
    same(
        "messages deleted with the queue",
        other.delete(QueueDelete { queue: queue.clone(), ..QueueDelete::default() })?,
        3,
    )?;
    lane.ack(held[0].tag).during("acknowledge a message of the deleted queue")?;
    lane.is_alive().during("the channel afterwards")?;
    if bench.can("topology_registry")? {
        other.queue("q")?;
        lane.requeue(held[1].tag).during("give back a message of the deleted queue")?;
        lane.close()?;
        same("messages of the queue declared anew", other.bodies(&queue)?, [""; 0])?;
    }
    Ok(())
}
