//! Queues and exchanges that end by themselves.

use std::time::Duration;

use kombu_core::method::{ExchangeDeclare, QueueDeclare};
use kombu_core::{Confirmation, ErrorKind, ExchangeKind, FieldTable, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, refused, same};
use crate::lane::{envelope, exchange_declare};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Declare, "auto_delete_after_last_consumer", auto_delete_after_last_consumer)
        .promise("an auto-delete queue goes with its last consumer, and not before it had one")
        .steps("declare, look, start two consumers, cancel one, look, cancel the other, look")
        .reference("there, there, gone")
        .spec("AMQP 0-9-1 queue.declare, field `auto-delete`")
        .needs(&[Can("auto_delete"), Can("topology_registry")]),
    Check::new(Group::Declare, "auto_delete_when_channel_closes", auto_delete_when_channel_closes)
        .promise("an auto-delete queue also goes when its last consumer's channel or connection closes")
        .steps("consume, close the channel, look; the same with the connection")
        .reference("gone")
        .spec("AMQP 0-9-1 queue.declare, field `auto-delete`")
        .needs(&[Can("auto_delete"), Can("topology_registry")]),
    Check::new(Group::Declare, "exchange_auto_delete_with_last_binding", exchange_auto_delete_with_last_binding)
        .promise("an auto-delete exchange goes with its last binding")
        .steps("bind two queues, end one binding, route; end the other, publish")
        .reference("there; then 404")
        .spec("AMQP 0-9-1 exchange.declare, field `auto-delete`")
        .needs(&[Can("auto_delete"), Can("topology_registry")]),
    Check::new(Group::Declare, "exclusive_locked_and_removed", exclusive_locked_and_removed)
        .promise("an exclusive queue is locked for other connections and goes with its own")
        .steps("declare exclusive; declare, consume, fetch and delete it on another connection; close the first, look")
        .reference("405 for each; gone afterwards")
        .spec("AMQP 0-9-1 queue.declare, field `exclusive`")
        .needs(&[Can("exclusive"), Can("topology_registry")]),
    Check::new(Group::Declare, "queue_expires_when_unused", queue_expires_when_unused)
        .promise("a queue with `x-expires` goes when it was not used for that long; declaring and fetching are uses")
        .steps("declare with x-expires; let most of it pass, use it, let most of it pass, look; let more than it pass, look")
        .reference("there, then gone; a queue with a consumer never goes")
        .spec("RabbitMQ, Queue TTL")
        .needs(&[Can("queue_expires"), Can("topology_registry")]),
];

/// Waits until a queue is gone; each look needs a channel of its own, for it ends the channel.
fn wait_gone(bench: &Bench, queue: &ShortStr) -> Verdict {
    let transport = bench.connect()?;
    bench.eventually("the queue to go", || {
        let lane = bench.channel_on(&transport)?;
        match lane.passive(queue) {
            Ok(_) => lane.close().map(|()| false),
            missing => refused("passive declare", missing, &[ErrorKind::NotFound]).map(|_| true),
        }
    })
}

fn auto_delete(queue: &ShortStr) -> QueueDeclare {
    QueueDeclare { queue: queue.clone(), auto_delete: true, ..QueueDeclare::default() }
}

fn auto_delete_after_last_consumer(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = bench.queue_name("q");
    lane.declare(auto_delete(&queue))?;
    lane.put(&queue, "kept")?;
    bench.channel()?.passive(&queue).during("it went before it had a consumer")?;
    let (one, other) = (lane.consume(&queue)?, bench.channel()?);
    let two = other.consume(&queue)?;
    lane.cancel(&one.tag)?;
    bench.channel()?.passive(&queue).during("it went with the first of two consumers")?;
    other.cancel(&two.tag)?;
    wait_gone(bench, &queue)
}

fn auto_delete_when_channel_closes(bench: &Bench) -> Verdict {
    let declaring = bench.channel()?;
    let queue = bench.queue_name("q");
    declaring.declare(auto_delete(&queue))?;
    let lane = bench.channel()?;
    let _first = lane.consume(&queue)?;
    lane.close()?;
    wait_gone(bench, &queue).during("after its consumer's channel was closed")?;
    declaring.declare(auto_delete(&queue))?;
    let transport = bench.connect()?;
    let _second = bench.channel_on(&transport)?.consume(&queue)?;
    bench.channel()?.passive(&queue).during("it went while it has a consumer")?;
    bench.close(&transport)?;
    wait_gone(bench, &queue).during("after its consumer's connection was closed")
}

fn exchange_auto_delete_with_last_binding(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = bench.exchange_name("x");
    lane.exchange_declare(ExchangeDeclare { auto_delete: true, ..exchange_declare(&exchange, ExchangeKind::Direct) })?;
    let (one, two) = (lane.queue("q1")?, lane.queue("q2")?);
    lane.bind(&one, &exchange, "key")?;
    lane.bind(&two, &exchange, "key")?;
    lane.unbind(&one, &exchange, "key")?;
    lane.publish(&exchange, "key", "routed").during("it went with the first of two bindings")?;
    same("messages by the binding that is left", lane.bodies(&two)?, ["routed"])?;
    lane.unbind(&two, &exchange, "key")?;
    refused("publish to it afterwards", lane.publish(&exchange, "key", "lost"), &[ErrorKind::NotFound]).map(drop)
}

fn exclusive_locked_and_removed(bench: &Bench) -> Verdict {
    let owner = bench.connect()?;
    let lane = bench.channel_on(&owner)?;
    let queue = bench.queue_name("q");
    let method = QueueDeclare { queue: queue.clone(), exclusive: true, ..QueueDeclare::default() };
    lane.declare(method.clone())?;
    lane.put(&queue, "mine")?;
    let locked = [ErrorKind::ResourceLocked];
    refused("declare it elsewhere", bench.channel()?.declare(method), &locked)?;
    refused("passive declare elsewhere", bench.channel()?.passive(&queue), &locked)?;
    refused("fetch elsewhere", bench.channel()?.get(&queue), &locked)?;
    refused("consume elsewhere", bench.channel()?.consume(&queue).map(|consumed| consumed.tag), &locked)?;
    refused("delete elsewhere", bench.channel()?.delete_queue(&queue), &locked)?;
    let other = bench.channel_on(&owner)?;
    let found = other.get_soon(&queue).during("fetch on another channel of the owner")?;
    other.ack(found.tag)?;
    bench.close(&owner)?;
    wait_gone(bench, &queue).during("its connection closed")
}

fn queue_expires_when_unused(bench: &Bench) -> Verdict {
    let (life, most) = if bench.is_manual() { (60_000, 50_000) } else { (4000, 1500) };
    let most = Duration::from_millis(most);
    let lane = bench.channel()?;
    let arguments = || FieldTable::from([("x-expires", life)]);
    let declare = |queue: &ShortStr| {
        lane.declare(QueueDeclare { queue: queue.clone(), arguments: arguments(), ..QueueDeclare::default() })
    };
    let (queue, used) = (bench.queue_name("q"), bench.queue_name("used"));
    declare(&queue)?;
    declare(&used)?;
    let consumed = lane.consume(&used)?;
    bench.pass(most)?;
    lane.get(&queue).during("fetch from the queue before it expires")?;
    bench.pass(most)?;
    bench.channel()?.passive(&queue).during("the queue expired although it was used meanwhile")?;
    // Looking at it would be a use; a mandatory publish is none.
    bench.pass(Duration::from_millis(u64::try_from(life).unwrap_or(0)))?;
    if bench.can("mandatory_returns")? {
        bench.eventually("the queue to expire", || {
            let sent = lane.publish_envelope(envelope(&ShortStr::default(), &queue, "there?"), true)?;
            Ok(matches!(sent, Confirmation::Returned(_)))
        })?;
    }
    bench.pass(most)?;
    wait_gone(bench, &queue)?;
    bench.channel()?.passive(&used).during("a queue with a consumer expired")?;
    lane.cancel(&consumed.tag)
}
