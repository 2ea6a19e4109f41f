//! What is closed says so, and what was handed in before is done.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{DeliveryTag, ErrorKind, Exchange, ExchangeKind, Message, Outcome, Queue, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Failure, Verdict, ensure, refused, same};
use crate::lane::{Lane, envelope, exchange_declare, numbered};
use crate::need::Need::Can;
use crate::user::Log;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Lifecycle, "closed_things_say_closed", closed_things_say_closed)
        .promise("every method of a closed channel says that it is closed; a sibling goes on")
        .steps("close a channel, call everything; close a transport, call its channels and ask it for another")
        .reference("an error, at once")
        .spec("AMQP 0-9-1 channel.close; `ErrorKind::Closed`"),
    Check::new(Group::Lifecycle, "close_twice_is_fine", close_twice_is_fine)
        .promise("closing what is closed is no error, for channels, transports and connections")
        .steps("close each twice")
        .reference("ok")
        .spec("`Channel::close`, `Connection::close`"),
    Check::new(Group::Lifecycle, "close_returns_while_messages_are_held", close_returns_while_messages_are_held)
        .promise("closing returns although a consumer holds its whole window, and its sink hears nothing afterwards")
        .steps("prefetch 3 of 10, settle none, close the transport; publish, look")
        .reference("close-ok; all 10 and the new one are there")
        .spec("AMQP 0-9-1 connection.close")
        .needs(&[Can("restore_on_close")]),
    Check::new(Group::Lifecycle, "handles_after_shutdown_fail", handles_after_shutdown_fail)
        .promise("handles that outlive their connection's shutdown answer with errors: no panic, no silence, no hang")
        .steps("keep a producer, a consumer, a queue and a message; close the connection; use each of them")
        .reference("an error of kind Closed")
        .spec("`Connection::close`"),
    Check::new(Group::Lifecycle, "shutdown_flushes", shutdown_flushes)
        .promise("what was handed in before a shutdown is done: publishes are sent, answers are taken")
        .steps("publish 100 and acknowledge 1 without waiting for answers, close, look")
        .reference("100 messages, and not the acknowledged one")
        .spec("`Connection::close`"),
    Check::new(Group::Lifecycle, "dropped_connection_is_closed", dropped_connection_is_closed)
        .promise(
            "a connection whose last handle is dropped is closed: what was published is sent, what was held goes back",
        )
        .steps("publish and hold, then drop everything; look on another connection")
        .reference("the connection ends")
        .spec("`Connection`")
        .needs(&[Can("restore_on_close")]),
    Check::new(Group::Lifecycle, "channel_error_ends_one_channel", channel_error_ends_one_channel)
        .promise("a channel error of one connection leaves the application's other channels and handles working")
        .steps("a consumer runs; declare with another kind (refused); publish, declare and consume go on")
        .reference("404 and 406 end one channel")
        .spec("`Scope::Channel`")
        .needs(&[Can("exchange_topic")]),
];

fn closed_things_say_closed(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let (lane, sibling) = (bench.channel_on(&transport)?, bench.channel_on(&transport)?);
    let (queue, exchange) = (lane.queue("q")?, lane.exchange("x", ExchangeKind::Direct)?);
    lane.put(&queue, "kept")?;
    lane.close()?;
    everything_is_closed(&lane, &queue, &exchange).during("a closed channel")?;
    sibling.is_alive().during("a sibling of the closed channel")?;
    same("messages", sibling.bodies(&queue)?, ["kept"])?;
    bench.close(&transport)?;
    everything_is_closed(&sibling, &queue, &exchange).during("a channel of a closed connection")?;
    let opened = bench.channel_on(&transport).map(|_| "a channel");
    refused("a channel of a closed transport", opened, &[ErrorKind::Closed, ErrorKind::InvalidState]).map(drop)
}

fn everything_is_closed(lane: &Lane<'_>, queue: &ShortStr, exchange: &ShortStr) -> Verdict {
    let kinds = [ErrorKind::Closed, ErrorKind::ChannelGone];
    refused(
        "queue.declare",
        lane.declare(kombu_core::method::QueueDeclare { queue: queue.clone(), ..Default::default() }),
        &kinds,
    )?;
    refused("exchange.declare", lane.exchange_declare(exchange_declare(exchange, ExchangeKind::Direct)), &kinds)?;
    refused("queue.bind", lane.bind(queue, exchange, "key"), &kinds)?;
    refused("queue.unbind", lane.unbind(queue, exchange, "key"), &kinds)?;
    refused("queue.purge", lane.purge(queue), &kinds)?;
    refused("queue.delete", lane.delete_queue(queue), &kinds)?;
    refused("basic.qos", lane.qos(3, false), &kinds)?;
    refused("basic.consume", lane.consume(queue).map(|consumed| consumed.tag), &kinds)?;
    refused("basic.get", lane.get(queue), &kinds)?;
    refused("basic.recover", lane.recover(), &kinds)?;
    let error = refused("basic.publish", lane.publish(&ShortStr::default(), queue, "lost"), &kinds)?;
    same("the outcome of the publish", error.outcome(), Some(Outcome::NotSent))?;
    refused("basic.ack", lane.ack(DeliveryTag(1)), &kinds)?;
    refused("basic.nack", lane.nack(DeliveryTag(1), false, true), &kinds)?;
    refused("basic.reject", lane.reject(DeliveryTag(1)), &kinds).map(drop)
}

fn close_twice_is_fine(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let lane = bench.channel_on(&transport)?;
    lane.close()?;
    lane.close().during("close a closed channel")?;
    let other = bench.channel_on(&transport)?;
    bench.close(&transport)?;
    bench.close(&transport).during("close a closed transport")?;
    other.close().during("close a channel of a closed transport")?;
    let user = bench.user()?;
    user.answer(user.connection.connect())?;
    user.answer(user.connection.close())?;
    user.answer(user.connection.close()).during("close a closed connection")
}

fn close_returns_while_messages_are_held(bench: &Bench) -> Verdict {
    let publisher = bench.channel()?;
    let queue = publisher.queue("q")?;
    publisher.fill(&queue, &numbered("", 0..10))?;
    let transport = bench.connect()?;
    let lane = bench.channel_on(&transport)?;
    if bench.can("prefetch")? {
        lane.qos(3, false)?;
    }
    let consumed = lane.consume(&queue)?;
    bench.wait_until("a full window", || consumed.sink.len() >= 3)?;
    bench.close(&transport)?;
    let heard = consumed.sink.len();
    publisher.put(&queue, "10")?;
    publisher.wait_ready(&queue, 11)?;
    same("deliveries after the close", consumed.sink.len() - heard, 0)
}

fn handles_after_shutdown_fail(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    lane.fill(&name, &["1", "2"])?;
    let user = bench.user()?;
    let (connection, queue) = (&user.connection, Queue::new(&name));
    let producer = connection.producer();
    let consumer = connection.consumer(Queue::new(&name));
    let consumer = if bench.can("prefetch")? { consumer.prefetch(1) } else { consumer };
    let consumer = user.answer(consumer.on_message(Message::leave_unacked).consume())?;
    let message = user.answer(queue.get(connection))?;
    user.answer(connection.close())?;
    let closed = [ErrorKind::Closed];
    let error = refused("publish", user.answer(producer.publish("late").routing_key(&name).send()), &closed)?;
    same("the outcome of the publish", error.outcome(), Some(Outcome::NotSent))?;
    refused("declare a queue", user.answer(queue.declare(connection)), &closed)?;
    refused("declare an exchange", user.answer(Exchange::direct(bench.name("x")).declare(connection)), &closed)?;
    refused("fetch", user.answer(queue.get(connection)), &closed)?;
    refused("purge", user.answer(queue.purge(connection)), &closed)?;
    refused("delete", user.answer(queue.delete(connection)), &closed)?;
    refused("connect", user.answer(connection.connect()), &closed)?;
    let again = connection.consumer(Queue::new(&name)).on_message(Message::leave_unacked).consume();
    refused("consume", user.answer(again).map(|_| "a consumer"), &closed)?;
    if let Err(failure) = user.answer(consumer.cancel()) {
        refused("cancel", Err::<(), _>(failure), &closed)?;
    }
    if let Some(message) = message {
        let settled = bench.settle("the answer to a late acknowledgement", message.ack())?.map_err(Failure::from);
        refused("acknowledge", settled, &[ErrorKind::Closed, ErrorKind::ChannelGone, ErrorKind::ConnectionLost])?;
    }
    ensure(!connection.is_connected(), "the closed connection says that it is connected")?;
    if bench.can("restore_on_close")? {
        lane.wait_ready(&name, 2)?;
    }
    Ok(())
}

fn shutdown_flushes(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (name, other) = (lane.queue("q")?, lane.queue("other")?);
    lane.put(&other, "acknowledged")?;
    let user = bench.user()?;
    let held = user.answer(Queue::new(&other).get(&user.connection))?;
    let producer = user.connection.producer();
    let sent = numbered("", 0..100);
    for body in &sent {
        drop(producer.publish(body.as_str()).routing_key(&name).send());
    }
    if let Some(held) = held {
        drop(held.ack());
    }
    user.answer(user.connection.close())?;
    lane.wait_ready(&name, 100)?;
    same("messages", lane.bodies(&name)?, sent)?;
    same("messages of which one was acknowledged", lane.bodies(&other)?, [""; 0])
}

fn dropped_connection_is_closed(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (name, other) = (lane.queue("q")?, lane.queue("other")?);
    lane.fill(&other, &["1", "2"])?;
    {
        let user = bench.user()?;
        let seen = Log::default();
        let log = seen.clone();
        let handler = move |message: Message| {
            log.add("came");
            message.leave_unacked();
        };
        let consumer = user.answer(user.connection.consumer(Queue::new(&other)).on_message(handler).consume())?;
        bench.wait_until("both messages", || seen.len() >= 2)?;
        drop(user.connection.producer().publish("sent").routing_key(&name).send());
        drop(consumer);
        // A close that hangs must not hang the check.
        let _rescue = bench.rescue();
        drop(user);
    }
    lane.wait_ready(&other, 2).during("what the dropped connection held")?;
    lane.wait_ready(&name, 1).during("what it had published")?;
    same("messages", lane.bodies(&name)?, ["sent"])
}

fn channel_error_ends_one_channel(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let (user, seen) = (bench.user()?, Log::default());
    let log = seen.clone();
    let handler = move |message: Message| {
        log.add(crate::user::text(&message));
        drop(message.ack());
    };
    let consumer = user.answer(user.connection.consumer(Queue::new(&name)).on_message(handler).consume())?;
    user.answer(Exchange::direct(&exchange).declare(&user.connection))?;
    let other = Exchange::topic(&exchange);
    let declared = user.answer(other.declare(&user.connection));
    refused("declare with another kind", declared, &[ErrorKind::PreconditionFailed])?;
    user.answer(Exchange::direct(&exchange).declare(&user.connection)).during("declare after the refusal")?;
    user.answer(user.connection.producer().publish("after").routing_key(&name).send())
        .during("publish after the refusal")?;
    bench.wait_until("the message published after the refusal", || seen.len() >= 1)?;
    let method = BasicPublish { mandatory: false, timeout: Some(bench.patience()) };
    let missing = lane.channel.basic_publish(method, Arc::new(envelope(&bench.name("missing"), "", "lost")));
    refused(
        "publish to a missing exchange",
        bench.run("the answer", missing)?.map_err(Failure::from),
        &[ErrorKind::NotFound],
    )?;
    user.answer(user.connection.producer().publish("last").routing_key(&name).send())?;
    bench.wait_until("the message published after that", || seen.len() >= 2)?;
    user.answer(consumer.cancel())?;
    same("messages", seen.all(), ["after", "last"])
}
