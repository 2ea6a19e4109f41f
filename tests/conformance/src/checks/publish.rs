//! What a publish is told.

use std::sync::Arc;

use kombu_core::method::BasicPublish;
use kombu_core::{Confirm, Confirmation, ErrorKind, ExchangeKind, Outcome, ShortStr};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Failure, Verdict, ensure, refused, same};
use crate::lane::{envelope, exchange_declare, numbered};
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Publish, "confirm_for_every_publish", confirm_for_every_publish)
        .promise("each publish is confirmed once, also a thousand under way at the same time")
        .steps("publish 1 000 before looking at the first answer; count answers, and messages")
        .reference("1 000 confirmations, 1 000 messages")
        .spec("RabbitMQ, Publisher Confirms")
        .needs(&[Can("confirms")]),
    Check::new(Group::Publish, "confirmed_means_stored", confirmed_means_stored)
        .promise("a confirmed message can be fetched by anybody at once")
        .steps("20 times: publish, wait for the confirmation, fetch on another connection")
        .reference("it is there")
        .spec("RabbitMQ, Publisher Confirms")
        .needs(&[Can("confirms")]),
    Check::new(Group::Publish, "mandatory_unroutable_returned", mandatory_unroutable_returned)
        .promise("a mandatory message that matches no queue comes back as the answer to its publish")
        .steps("publish mandatory to a missing queue, to an exchange without a matching binding, and to a queue")
        .reference("312 NO_ROUTE twice, then confirmed; the return comes before the ack")
        .spec("AMQP 0-9-1 basic.publish, field `mandatory`")
        .needs(&[Can("mandatory_returns")]),
    Check::new(Group::Publish, "returns_are_not_mixed_up", returns_are_not_mixed_up)
        .promise("among pipelined mandatory publishes of two threads, each gets its own answer")
        .steps("2 threads publish 1 000 each on one channel, every third unroutable; compare the answers")
        .reference("each unroutable one is returned, no other")
        .spec("RabbitMQ, Publisher Confirms, returns")
        .needs(&[Can("mandatory_returns")]),
    Check::new(Group::Publish, "unroutable_without_mandatory_is_confirmed", unroutable_without_mandatory_is_confirmed)
        .promise("a message that matches no queue and is not mandatory is confirmed and gone")
        .steps("publish to an exchange without bindings; bind a queue; look; where queues are counted the count is 0")
        .reference("confirmed")
        .spec("AMQP 0-9-1 basic.publish, field `mandatory`"),
    Check::new(Group::Publish, "refused_message_never_arrives_late", refused_message_never_arrives_late)
        .promise("a message whose publish was refused never arrives later")
        .steps(
            "publish to a missing exchange, then make the exchange and bind a queue; publish on a closed channel; look",
        )
        .reference("404; nothing arrives")
        .spec("`Outcome::NotSent`"),
    Check::new(Group::Publish, "publishes_before_an_error_arrive", publishes_before_an_error_arrive)
        .promise("messages published before one that is refused are kept")
        .steps("publish 5 to a queue and one to a missing exchange, all at once; look")
        .reference("the 5 are there (those after the refused one are not)")
        .spec("AMQP 0-9-1 §4.7"),
];

/// Waits for all answers.
fn answers(bench: &Bench, confirms: Vec<Confirm>) -> Verdict<Vec<kombu_core::Result<Confirmation>>> {
    bench.run("the answers to publishes", async move {
        let mut answers = Vec::new();
        for confirm in confirms {
            answers.push(confirm.await);
        }
        answers
    })
}

fn confirm_for_every_publish(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let bodies = numbered("", 0..bench.many(1000));
    let method = BasicPublish { mandatory: false, timeout: Some(bench.patience()) };
    let publish =
        |body: &String| lane.channel.basic_publish(method, Arc::new(envelope(&ShortStr::default(), &queue, body)));
    let answers = answers(bench, bodies.iter().map(publish).collect())?;
    for (body, answer) in bodies.iter().zip(answers) {
        match answer {
            Ok(Confirmation::Confirmed { queues }) => {
                ensure(queues.is_none_or(|queues| queues == 1), format!("message {body} was told {queues:?} queues"))?;
            }
            other => return Err(Failure::new(format!("the answer to message {body} is {other:?}"))),
        }
    }
    same("messages", lane.bodies(&queue)?.len(), bodies.len())
}

fn confirmed_means_stored(bench: &Bench) -> Verdict {
    let (publisher, other) = (bench.channel()?, bench.channel()?);
    let queue = publisher.queue("q")?;
    for body in numbered("", 0..20) {
        publisher.put(&queue, &body)?;
        same("the message fetched elsewhere", other.drain_one(&queue)?, Some(body))?;
    }
    Ok(())
}

fn mandatory_unroutable_returned(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let listener = lane.listen();
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "key")?;
    let mut cases = vec![(exchange.clone(), ShortStr::from("other"))];
    if bench.can("topology_registry")? {
        cases.push((ShortStr::default(), bench.queue_name("missing")));
    }
    for (exchange, key) in cases {
        let mut sent = envelope(&exchange, &key, "back");
        sent.properties.set_message_id("mine");
        match lane.publish_envelope(sent.clone(), true)? {
            Confirmation::Returned(returned) => {
                same("reply code", returned.code, 312)?;
                same("the returned message", &returned.envelope.body, &sent.body)?;
                same("its exchange", &returned.envelope.exchange, &exchange)?;
                same("its routing key", &returned.envelope.routing_key, &key)?;
                same("its message id", returned.envelope.properties.message_id(), Some("mine"))?;
            }
            other => return Err(Failure::new(format!("a mandatory message for `{key}` was {other:?}"))),
        }
    }
    let routed = lane.publish_envelope(envelope(&exchange, "key", "routed"), true)?;
    ensure(matches!(routed, Confirmation::Confirmed { .. }), format!("a routable mandatory message was {routed:?}"))?;
    same("messages", lane.bodies(&queue)?, ["routed"])?;
    same("returns told as events", listener.returned(), 0)
}

fn returns_are_not_mixed_up(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (queue, exchange) = (lane.queue("q")?, lane.exchange("x", ExchangeKind::Direct)?);
    lane.bind(&queue, &exchange, "somewhere")?;
    let count = bench.many(1000);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (channel, exchange) = (Arc::clone(&lane.channel), exchange.clone());
            let method = BasicPublish { mandatory: true, timeout: Some(bench.patience()) };
            std::thread::spawn(move || {
                let publish = |number: usize| {
                    let key = if number.is_multiple_of(3) { "nowhere" } else { "somewhere" };
                    channel.basic_publish(method, Arc::new(envelope(&exchange, key, "same body")))
                };
                (0..count).map(publish).collect::<Vec<_>>()
            })
        })
        .collect();
    for (number, thread) in threads.into_iter().enumerate() {
        bench.join(&|| thread.is_finished())?;
        let confirms = thread.join().map_err(|_| Failure::new("publishing panicked"))?;
        for (index, answer) in answers(bench, confirms)?.into_iter().enumerate() {
            let is_returned = matches!(answer?, Confirmation::Returned(_));
            same(
                format!("whether message {index} of thread {number} was returned"),
                is_returned,
                index.is_multiple_of(3),
            )?;
        }
    }
    let routed = (0..count).filter(|index| !index.is_multiple_of(3)).count() * 2;
    same("messages", lane.bodies(&queue)?.len(), routed)
}

fn unroutable_without_mandatory_is_confirmed(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    match lane.publish(&exchange, "nobody", "lost")? {
        Confirmation::Confirmed { queues } => {
            ensure(queues.is_none_or(|queues| queues == 0), format!("it was told {queues:?} queues"))?;
        }
        other => return Err(Failure::new(format!("the answer was {other:?}"))),
    }
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "nobody")?;
    lane.publish(&exchange, "nobody", "kept")?;
    same("messages", lane.bodies(&queue)?, ["kept"])
}

fn refused_message_never_arrives_late(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let (exchange, queue) = (bench.exchange_name("x"), lane.queue("q")?);
    let refusing = bench.channel()?;
    let error =
        refused("publish to a missing exchange", refusing.publish(&exchange, "key", "lost"), &[ErrorKind::NotFound])?;
    let outcomes = [None, Some(Outcome::NotSent)];
    ensure(outcomes.contains(&error.outcome()), format!("its outcome is {:?}", error.outcome()))?;
    lane.exchange_declare(exchange_declare(&exchange, ExchangeKind::Direct))?;
    lane.bind(&queue, &exchange, "key")?;
    let closed = bench.channel()?;
    closed.close()?;
    let kinds = [ErrorKind::Closed, ErrorKind::ChannelGone];
    let error = refused("publish on a closed channel", closed.publish(&exchange, "key", "late"), &kinds)?;
    same("its outcome", error.outcome(), Some(Outcome::NotSent))?;
    lane.publish(&exchange, "key", "kept")?;
    same("messages", lane.bodies(&queue)?, ["kept"])
}

fn publishes_before_an_error_arrive(bench: &Bench) -> Verdict {
    let (lane, publisher) = (bench.channel()?, bench.channel()?);
    let queue = lane.queue("q")?;
    let method = BasicPublish { mandatory: false, timeout: Some(bench.patience()) };
    let sent = numbered("", 0..5);
    let mut confirms: Vec<_> = sent
        .iter()
        .map(|body| publisher.channel.basic_publish(method, Arc::new(envelope(&ShortStr::default(), &queue, body))))
        .collect();
    confirms.push(publisher.channel.basic_publish(method, Arc::new(envelope(&bench.name("missing"), "", "refused"))));
    let mut answers = answers(bench, confirms)?;
    let last = answers.pop().ok_or_else(|| Failure::new("no answer"))?;
    refused("the publish to the missing exchange", last.map_err(Failure::from), &[ErrorKind::NotFound])?;
    for (body, answer) in sent.iter().zip(answers) {
        // A broker that ended the channel may have left these unanswered; then it may not say that they were not sent.
        if let Err(error) = answer {
            same(format!("the outcome of message {body}"), error.outcome(), Some(Outcome::Unknown))
                .during(error.to_string())?;
        }
    }
    bench.eventually("the messages before it", || Ok(lane.ready(&queue)? >= 5))?;
    // Those that a transport sent again, for want of an answer, may be there twice.
    let came: std::collections::BTreeSet<_> = lane.bodies(&queue)?.into_iter().collect();
    same("messages", came.into_iter().collect::<Vec<_>>(), sent)
}
