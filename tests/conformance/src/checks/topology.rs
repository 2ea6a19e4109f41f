//! Queues, exchanges and bindings are deleted, purged and missed.

use kombu_core::method::{ExchangeDelete, QueueDelete};
use kombu_core::{ErrorKind, ExchangeKind, Scope};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, refused, same};
use crate::lane::exchange_declare;
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Declare, "delete_returns_count_and_drops_bindings", delete_returns_count_and_drops_bindings)
        .promise("deleting a queue answers how many messages were in it, and takes its bindings along")
        .steps("bind, publish 3, delete; declare the queue again without binding it, publish, look")
        .reference("3; the new queue receives nothing")
        .spec("AMQP 0-9-1 queue.delete"),
    Check::new(Group::Declare, "delete_exchange_drops_bindings", delete_exchange_drops_bindings)
        .promise("deleting an exchange takes its bindings along")
        .steps("bind a queue, delete the exchange, declare it again, publish")
        .reference("the queue receives nothing")
        .spec("AMQP 0-9-1 exchange.delete"),
    Check::new(Group::Declare, "delete_if_empty", delete_if_empty)
        .promise("a queue that is to be deleted only if empty is kept while it has messages")
        .steps("publish, delete if-empty, look; take the message, delete if-empty")
        .reference("406 and kept; then deleted")
        .spec("AMQP 0-9-1 queue.delete, rule `if-empty`")
        .needs(&[Can("delete_conditions")]),
    Check::new(Group::Declare, "delete_if_unused", delete_if_unused)
        .promise("a queue that is to be deleted only if unused is kept while it has consumers")
        .steps("consume, delete if-unused; receive; cancel, delete if-unused")
        .reference("406 and kept; then deleted")
        .spec("AMQP 0-9-1 queue.delete, rule `if-unused`")
        .needs(&[Can("delete_conditions")]),
    Check::new(Group::Declare, "exchange_delete_if_unused", exchange_delete_if_unused)
        .promise("an exchange that is to be deleted only if unused is kept while it has bindings")
        .steps("bind a queue, delete if-unused; route; unbind, delete if-unused")
        .reference("406 and kept; then deleted")
        .spec("AMQP 0-9-1 exchange.delete, rule `if-unused`")
        .needs(&[Can("delete_conditions"), Can("topology_registry")]),
    Check::new(Group::Declare, "deleting_nothing_is_fine", deleting_nothing_is_fine)
        .promise("deleting a queue or exchange and ending a binding that do not exist is no error")
        .steps("delete a missing queue and exchange, end a missing binding, on one channel that must live on")
        .reference("ok for all of them")
        .spec("RabbitMQ specification, `queue.delete` and `queue.unbind`"),
    Check::new(Group::Declare, "missing_things_not_found", missing_things_not_found)
        .promise("binding, purging, fetching from and consuming what does not exist is an error of the channel")
        .steps(
            "bind a queue to a missing exchange, a missing queue to an exchange; purge, get, consume a missing queue",
        )
        .reference("404, channel closed")
        .spec("AMQP 0-9-1 reply code `not-found`")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Declare, "purge_counts_ready_keeps_unacked", purge_counts_ready_keeps_unacked)
        .promise("purging removes and counts what is ready, and leaves alone what is unsettled")
        .steps("publish 4, hold one, purge; give the held one back, look")
        .reference("3; the held one is there")
        .spec("AMQP 0-9-1 queue.purge"),
];

fn delete_returns_count_and_drops_bindings(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let (queue, witness) = (lane.queue("q")?, lane.queue("witness")?);
    lane.bind(&queue, &exchange, "key")?;
    lane.bind(&witness, &exchange, "key")?;
    for body in ["1", "2", "3"] {
        lane.publish(&exchange, "key", body)?;
    }
    same("messages deleted with the queue", lane.delete_queue(&queue)?, 3)?;
    lane.queue("q")?;
    lane.publish(&exchange, "key", "4")?;
    same("messages of the queue made anew", lane.bodies(&queue)?, [""; 0])?;
    same("messages of the other queue", lane.bodies(&witness)?, ["1", "2", "3", "4"])
}

fn delete_exchange_drops_bindings(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let (queue, witness) = (lane.queue("q")?, lane.queue("witness")?);
    lane.bind(&queue, &exchange, "key")?;
    lane.publish(&exchange, "key", "before")?;
    lane.exchange_delete(ExchangeDelete { exchange: exchange.clone(), if_unused: false })?;
    lane.exchange_declare(exchange_declare(&exchange, ExchangeKind::Direct)).during("declare it anew")?;
    lane.bind(&witness, &exchange, "key")?;
    lane.publish(&exchange, "key", "after")?;
    same("messages of the queue bound before", lane.bodies(&queue)?, ["before"])?;
    same("messages of the queue bound after", lane.bodies(&witness)?, ["after"])
}

fn delete_if_empty(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.put(&queue, "kept")?;
    let method = QueueDelete { queue: queue.clone(), if_unused: false, if_empty: true };
    let error = refused(
        "delete if-empty with a message",
        bench.channel()?.delete(method.clone()),
        &[ErrorKind::PreconditionFailed],
    )?;
    same("its scope", error.scope(), Scope::Channel)?;
    same("messages of the queue that was kept", lane.bodies(&queue)?, ["kept"])?;
    same("messages deleted with the empty queue", lane.delete(method)?, 0)?;
    if bench.can("topology_registry")? {
        refused("passive declare after it was deleted", lane.passive(&queue), &[ErrorKind::NotFound])?;
    }
    Ok(())
}

fn delete_if_unused(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let consumed = lane.consume(&queue)?;
    let method = QueueDelete { queue: queue.clone(), if_unused: true, if_empty: false };
    refused(
        "delete if-unused with a consumer",
        bench.channel()?.delete(method.clone()),
        &[ErrorKind::PreconditionFailed],
    )?;
    let publisher = bench.channel()?;
    publisher.put(&queue, "kept")?;
    for delivery in consumed.expect(1).during("the queue was to be kept")? {
        lane.ack(delivery.tag)?;
    }
    lane.cancel(&consumed.tag)?;
    same("messages deleted with the unused queue", lane.delete(method)?, 0)?;
    if bench.can("topology_registry")? {
        refused("passive declare after it was deleted", lane.passive(&queue), &[ErrorKind::NotFound])?;
    }
    Ok(())
}

fn exchange_delete_if_unused(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "key")?;
    let method = ExchangeDelete { exchange: exchange.clone(), if_unused: true };
    let other = bench.channel()?;
    refused(
        "delete if-unused with a binding",
        other.exchange_delete(method.clone()),
        &[ErrorKind::PreconditionFailed],
    )?;
    lane.publish(&exchange, "key", "kept")?;
    same("messages routed by the exchange that was kept", lane.bodies(&queue)?, ["kept"])?;
    lane.unbind(&queue, &exchange, "key")?;
    lane.exchange_delete(method)?;
    refused("publish to it after", lane.publish(&exchange, "key", "lost"), &[ErrorKind::NotFound]).map(drop)
}

fn deleting_nothing_is_fine(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, queue) = (lane.exchange("x", ExchangeKind::Direct)?, lane.queue("q")?);
    lane.unbind(&queue, &exchange, "never").during("end a binding that is not there")?;
    same(
        "messages in a missing queue",
        lane.delete_queue(&bench.name("missing")).during("delete a missing queue")?,
        0,
    )?;
    let method = ExchangeDelete { exchange: bench.name("missing"), if_unused: false };
    lane.exchange_delete(method).during("delete a missing exchange")?;
    lane.is_alive().during("the channel afterwards")
}

fn missing_things_not_found(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, queue) = (lane.exchange("x", ExchangeKind::Direct)?, lane.queue("q")?);
    let missing = bench.name("missing");
    let not_found = [ErrorKind::NotFound];
    let ended = |what: &str, error: kombu_core::Error| same(format!("scope of {what}"), error.scope(), Scope::Channel);
    let error = refused("bind to a missing exchange", bench.channel()?.bind(&queue, &missing, "key"), &not_found)?;
    ended("binding to a missing exchange", error)?;
    let error = refused("bind a missing queue", bench.channel()?.bind(&missing, &exchange, "key"), &not_found)?;
    ended("binding a missing queue", error)?;
    let error = refused("purge a missing queue", bench.channel()?.purge(&missing), &not_found)?;
    ended("purging a missing queue", error)?;
    let error = refused("fetch from a missing queue", bench.channel()?.get(&missing), &not_found)?;
    ended("fetching from a missing queue", error)?;
    let consumed = bench.channel()?.consume(&missing).map(|consumed| consumed.tag);
    ended("consuming a missing queue", refused("consume a missing queue", consumed, &not_found)?)
}

fn purge_counts_ready_keeps_unacked(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.fill(&queue, &["1", "2", "3", "4"])?;
    let held = lane.get_soon(&queue)?;
    same("messages purged", lane.purge(&queue)?, 3)?;
    same("ready messages afterwards", lane.ready(&queue)?, 0)?;
    lane.requeue(held.tag)?;
    lane.wait_ready(&queue, 1).during("the held message was given back")?;
    same("messages afterwards", lane.bodies(&queue)?, ["1"])
}
