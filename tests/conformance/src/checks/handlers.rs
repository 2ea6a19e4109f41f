//! What an application's consumers can rely on: callbacks, streams, and messages that nobody answered.

use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::{Message, Queue};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Failure, Verdict, ensure, same};
use crate::lane::numbered;
use crate::need::Need::Can;
use crate::user::{Log, text};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Consumers, "dropped_message_comes_back", dropped_message_comes_back)
        .promise("a message that a handler drops unanswered goes back and is delivered again")
        .steps("a handler drops the message the first time and acknowledges it the second time")
        .reference("Kombu leaves it unacknowledged until the channel closes; here it comes back at once")
        .spec("the README's promise: nothing is lost"),
    Check::new(Group::Consumers, "dropped_too_often_is_set_aside", dropped_too_often_is_set_aside)
        .promise("a message that is dropped unanswered again and again is set aside, not delivered for ever")
        .steps("a delivery limit of 3, a handler that drops everything; look at what is set aside; another message is handled")
        .reference("RabbitMQ's delivery limit of quorum queues")
        .spec("`ConnectionBuilder::delivery_limit`")
        .needs(&[Can("delivery_count")]),
    Check::new(Group::Consumers, "panicking_handler_gives_back", panicking_handler_gives_back)
        .promise("a handler that panics loses no message and ends no consumer, and it is told")
        .steps("a handler panics at the first message, and acknowledges what comes later")
        .reference("Kombu's exception leaves the message unacknowledged and ends the loop")
        .spec("`Message`: dropped by a panicking handler"),
    Check::new(Group::Consumers, "failing_handler_is_told", failing_handler_is_told)
        .promise("an error that a handler returns is told, and ends nothing")
        .steps("a handler acknowledges and returns an error; the next message")
        .reference("Kombu's exception ends the loop")
        .spec("`HandlerResult`"),
    Check::new(Group::Consumers, "prefetched_comes_back_after_stop", prefetched_comes_back_after_stop)
        .promise("everything prefetched and not handled is back in its queue after a graceful stop")
        .steps("prefetch 50 of 40; acknowledge 3, hold 1, close the connection; look, in order")
        .reference("37 messages")
        .spec("AMQP 0-9-1 channel.close")
        .needs(&[Can("restore_on_close")]),
    Check::new(Group::Consumers, "prefetched_comes_back_after_cancel", prefetched_comes_back_after_cancel)
        .promise(
            "cancelling a consumer gives back what its stream did not hand over; what it handed over can be answered",
        )
        .steps("a stream over 10 messages; take 1, drop the stream, acknowledge the 1; look")
        .reference("9 messages")
        .spec("`MessageStream`"),
    Check::new(Group::Consumers, "broken_consumer_is_never_silent", broken_consumer_is_never_silent)
        .promise("a consumer that the broker ended says so: a stream by its error, a callback by an event")
        .steps("a stream and a callback on a queue; delete the queue")
        .reference("basic.cancel from the broker")
        .spec("RabbitMQ, Consumer Cancel Notification")
        .needs(&[Can("consumer_cancel_notice")]),
    Check::new(Group::Consumers, "handler_may_publish_and_wait", handler_may_publish_and_wait)
        .promise("a handler may declare, publish and wait for the answers, and no other handler runs meanwhile")
        .steps("a handler publishes each message on and waits for the confirmation; 10 messages in order")
        .reference("Kombu blocks the loop")
        .spec("`Pending::wait`"),
];

fn dropped_message_comes_back(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    lane.put(&name, "one")?;
    let (user, seen) = (bench.user()?, Log::default());
    let log = seen.clone();
    let consumer = user.answer(
        user.connection
            .consumer(Queue::new(&name))
            .on_message(move |message| {
                log.add(text(&message));
                // The second time it is answered.
                if log.len() > 1 {
                    drop(message.ack());
                }
            })
            .consume(),
    )?;
    bench.wait_until("the second delivery", || seen.len() >= 2)?;
    user.answer(consumer.cancel())?;
    user.answer(user.connection.close())?;
    same("deliveries", seen.all(), ["one", "one"])?;
    same("messages left", lane.bodies(&name)?, [""; 0])
}

fn dropped_too_often_is_set_aside(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.counting_queue("q")?;
    let user = bench.user_with(&bench.url, |builder| builder.delivery_limit(3))?;
    let seen = Log::default();
    let log = seen.clone();
    lane.fill(&name, &["poison", "fine"])?;
    let handler = move |message: Message| {
        let body = text(&message);
        log.add(body.clone());
        // One that is never set aside would else come for ever.
        if body == "fine" || log.len() > 50 {
            drop(message.ack());
        }
    };
    let consumer = user
        .answer(user.connection.consumer(Queue::new(&name).no_declare()).prefetch(1).on_message(handler).consume())?;
    user.wait_event("SetAside")?;
    let mut aside = Vec::new();
    bench.eventually("it to be among what was set aside", || {
        aside = user.answer(user.connection.malformed(&name, 10))?;
        Ok(!aside.is_empty())
    })?;
    same("messages set aside", aside.len(), 1)?;
    bench.wait_until("the message behind it", || seen.all().iter().any(|body| body == "fine"))?;
    user.answer(consumer.cancel())?;
    user.answer(user.connection.close())?;
    same("deliveries of what is dropped", seen.all().iter().filter(|body| *body == "poison").count(), 4)?;
    same("messages left", lane.bodies(&name)?, [""; 0])
}

fn panicking_handler_gives_back(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    lane.fill(&name, &["1", "2"])?;
    let (user, seen) = (bench.user()?, Log::default());
    let log = seen.clone();
    let handler = move |message: Message| {
        log.add(text(&message));
        // Not `panic!`: its message would be printed as if the check had failed.
        if log.len() == 1 {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        drop(message.ack());
    };
    let consumer = user.answer(user.connection.consumer(Queue::new(&name)).on_message(handler).consume())?;
    bench.wait_until("three deliveries", || seen.len() >= 3)?;
    user.wait_event("HandlerFailed")?;
    user.answer(consumer.cancel())?;
    user.answer(user.connection.close())?;
    let mut deliveries = seen.all();
    deliveries.sort_unstable();
    same("deliveries", deliveries, ["1", "1", "2"])?;
    ensure(user.events().iter().any(|event| event.contains("on purpose")), "the event does not tell the panic's text")?;
    same("messages left", lane.bodies(&name)?, [""; 0])
}

fn failing_handler_is_told(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    let (user, seen) = (bench.user()?, Log::default());
    let log = seen.clone();
    let handler = move |message: Message| {
        log.add(text(&message));
        drop(message.ack());
        if log.len() == 1 { Err("no luck today") } else { Ok(()) }
    };
    let consumer = user.answer(user.connection.consumer(Queue::new(&name)).on_message(handler).consume())?;
    lane.fill(&name, &["1", "2"])?;
    bench.wait_until("both deliveries", || seen.len() >= 2)?;
    user.wait_event("HandlerFailed")?;
    ensure(user.events().iter().any(|event| event.contains("no luck today")), "the event does not tell the error")?;
    user.answer(consumer.cancel())?;
    same("deliveries", seen.all(), ["1", "2"])
}

fn prefetched_comes_back_after_stop(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    let sent = numbered("", 0..40);
    lane.fill(&name, &sent)?;
    let (user, seen) = (bench.user()?, Log::default());
    let held = Arc::new(Mutex::new(None));
    let (log, keep) = (seen.clone(), Arc::clone(&held));
    let handler = move |message: Message| {
        log.add(text(&message));
        match log.len() {
            1..=3 => drop(message.ack()),
            4 => *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(message),
            _ => message.leave_unacked(),
        }
    };
    let consumer =
        user.answer(user.connection.consumer(Queue::new(&name)).prefetch(50).on_message(handler).consume())?;
    bench.wait_until("four deliveries", || seen.len() >= 4)?;
    user.answer(user.connection.close())?;
    // Kept until here: it is given back with its channel, and answering it harms nobody.
    let late = held.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop((consumer, late));
    lane.wait_ready(&name, 37)?;
    let mut left = lane.bodies(&name)?;
    if !bench.can("requeue_in_place")? {
        left.sort_by_key(|body| body.parse::<u32>().unwrap_or_default());
    }
    same("messages after the stop", left, &sent[3..])
}

fn prefetched_comes_back_after_cancel(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    lane.fill(&name, &numbered("", 0..10))?;
    let user = bench.user()?;
    let mut stream = user.answer(user.connection.consumer(Queue::new(&name)).stream())?;
    let first = bench.settle("the first message of the stream", stream.next())?;
    let first = first.ok_or_else(|| Failure::new("the stream ended"))??;
    same("the first message", text(&first), "0")?;
    drop(stream);
    lane.wait_ready(&name, 9).during("messages after the stream was dropped")?;
    bench.settle("the answer to an acknowledgement after the cancel", first.ack())??;
    let mut left = lane.bodies(&name)?;
    left.sort_unstable();
    same("messages left", left, numbered("", 1..10))
}

fn broken_consumer_is_never_silent(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    let user = bench.user()?;
    let mut stream = user.answer(user.connection.consumer(Queue::new(&name)).stream())?;
    let listening = user.connection.consumer(Queue::new(&name)).on_message(|message| drop(message.ack())).consume();
    let _consumer = user.answer(listening)?;
    lane.delete_queue(&name)?;
    let end = bench.settle("the end of the stream", stream.next())?;
    let error = match end {
        Some(Err(error)) => error,
        other => return Err(Failure::new(format!("want the stream to say why it ended, got {other:?}"))),
    };
    ensure(!error.to_string().is_empty(), "the stream's error has no text")?;
    ensure(bench.settle("the stream after its error", stream.next())?.is_none(), "the stream goes on after its error")?;
    bench.wait_until("both consumers to be told of", || {
        user.events().iter().filter(|event| event.starts_with("ConsumerFailed")).count() >= 2
    })
}

fn handler_may_publish_and_wait(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (from, to) = (lane.queue("from")?, lane.queue("to")?);
    lane.fill(&from, &numbered("", 0..10))?;
    let (user, seen) = (bench.user()?, Log::default());
    let (log, producer, target) = (seen.clone(), user.connection.producer(), to.clone());
    let mut is_inside = false;
    let handler = move |message: Message| {
        if std::mem::replace(&mut is_inside, true) {
            log.add("run underneath another");
        }
        let sent = producer.publish(text(&message)).routing_key(target.clone()).wait();
        log.add(match sent {
            Ok(_) => text(&message),
            Err(error) => error.to_string(),
        });
        is_inside = false;
        drop(message.ack());
    };
    let consumer = user.answer(user.connection.consumer(Queue::new(&from)).on_message(handler).consume())?;
    bench.wait_until("ten runs", || seen.len() >= 10)?;
    user.answer(consumer.cancel())?;
    same("runs", seen.all(), numbered("", 0..10))?;
    same("messages published on", lane.bodies(&to)?, numbered("", 0..10))
}
