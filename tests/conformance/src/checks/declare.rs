//! Queues are declared, counted and named.

use kombu_core::method::{ExchangeDeclare, QueueDeclare, QueueDelete};
use kombu_core::{ErrorKind, ExchangeKind, FieldTable, Scope};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, ensure, refused, same};
use crate::lane::exchange_declare;
use crate::need::Need::Can;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Declare, "declare_is_idempotent", declare_is_idempotent)
        .promise("the same declaration twice is fine and keeps bindings and messages")
        .steps("declare exchange, queue and binding, publish, declare all again, publish again, fetch both")
        .reference("answers ok and changes nothing")
        .spec("AMQP 0-9-1 exchange.declare, queue.declare, queue.bind; rule `equivalent`"),
    Check::new(Group::Declare, "redeclare_queue_differs_refused", redeclare_queue_differs_refused)
        .promise("a declaration with other properties is refused, ends its channel, and leaves the queue as it is")
        .steps("declare, then declare with another durability, with exclusive, with auto-delete, with another argument")
        .reference("406, channel closed, queue unchanged; 405 for exclusive")
        .spec("AMQP 0-9-1 queue.declare, rule `equivalent`")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Declare, "redeclare_exchange_differs_refused", redeclare_exchange_differs_refused)
        .promise("an exchange declared again with another kind is refused, and goes on as it was")
        .steps("declare direct, declare the same name as fanout on another channel, route by the old kind")
        .reference("406, channel closed")
        .spec("AMQP 0-9-1 exchange.declare, rule `equivalent`"),
    Check::new(Group::Declare, "redeclare_exchange_differs_elsewhere", redeclare_exchange_differs_elsewhere)
        .promise("an exchange declared again with other properties is refused on another connection too")
        .steps("declare on one connection, declare with another kind, durability and argument on others")
        .reference("406, channel closed")
        .spec("AMQP 0-9-1 exchange.declare, rule `equivalent`")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Declare, "passive_missing_not_found", passive_missing_not_found)
        .promise("a passive declaration finds what exists, an empty queue too, and says of the rest that it does not")
        .steps("passive declare of a missing queue and exchange; declare them, and passive declare again")
        .reference("404, channel closed; then ok")
        .spec("AMQP 0-9-1 queue.declare, field `passive`")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Declare, "declared_counts", declared_counts)
        .promise("a declaration answers the queue's name and how many messages are ready")
        .steps("declare, publish 3, declare; hold one of them, declare; give it back, declare")
        .reference("0, then 3, then 2, then 3")
        .spec("AMQP 0-9-1 queue.declare-ok, field `message-count`"),
    Check::new(Group::Declare, "declared_consumer_count", declared_consumer_count)
        .promise("a declaration answers how many consumers the queue has")
        .steps("declare; start two consumers on two connections; cancel one; close the other's connection")
        .reference("0, 2, 1, 0")
        .spec("AMQP 0-9-1 queue.declare-ok, field `consumer-count`")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Declare, "server_named_queue_unique", server_named_queue_unique)
        .promise("an empty name asks the broker for one, a different one each time, which can be used")
        .steps("declare 1 000 queues without a name; publish to and fetch from the last by the name it got")
        .reference("amq.gen-…, all distinct")
        .spec("AMQP 0-9-1 queue.declare, rule `default-name`"),
    Check::new(Group::Declare, "reserved_names_refused", reserved_names_refused)
        .promise("names that begin with `amq.` are the broker's own")
        .steps("declare a queue and an exchange called amq.…")
        .reference("403, channel closed")
        .spec("AMQP 0-9-1 queue.declare, rule `reserved`")
        .needs(&[Can("topology_registry")]),
    Check::new(Group::Declare, "overlong_names_refused", overlong_names_refused)
        .promise("a name longer than 255 bytes is an error before anything is sent; one of 255 works")
        .steps("declare a queue, an exchange and a binding with 256 bytes; a queue with 255, and publish to it")
        .reference("a short string holds 255 bytes")
        .spec("AMQP 0-9-1 §4.2.5.3"),
];

fn declare_is_idempotent(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "key")?;
    lane.publish(&exchange, "key", "one")?;
    for _ in 0..2 {
        let again = bench.channel()?;
        again
            .exchange_declare(exchange_declare(&exchange, ExchangeKind::Direct))
            .during("declare the exchange again")?;
        let method = QueueDeclare { queue: queue.clone(), ..QueueDeclare::default() };
        same("messages in the queue declared again", again.declare(method)?.message_count, 1)?;
        again.bind(&queue, &exchange, "key").during("bind again")?;
    }
    lane.publish(&exchange, "key", "two")?;
    same("messages", lane.bodies(&queue)?, ["one", "two"])
}

fn redeclare_queue_differs_refused(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    lane.put(&queue, "kept")?;
    let plain = QueueDeclare { queue: queue.clone(), ..QueueDeclare::default() };
    let arguments = FieldTable::from([("x-max-length", 7)]);
    let mut others = vec![("durable", QueueDeclare { durable: false, ..plain.clone() })];
    if bench.can("auto_delete")? {
        others.push(("auto_delete", QueueDeclare { auto_delete: true, ..plain.clone() }));
    }
    if bench.can("queue_max_length")? {
        others.push(("arguments", QueueDeclare { arguments, ..plain.clone() }));
    }
    if bench.can("exclusive")? {
        others.push(("exclusive", QueueDeclare { exclusive: true, ..plain }));
    }
    for (what, method) in others {
        let other = bench.channel()?;
        let error = refused(
            format!("declare with another `{what}`"),
            other.declare(method),
            &[ErrorKind::PreconditionFailed, ErrorKind::ResourceLocked],
        )?;
        same(format!("scope of the refusal of another `{what}`"), error.scope(), Scope::Channel)?;
        other.is_dead().during(format!("after another `{what}`"))?;
    }
    same("messages of the queue", lane.bodies(&queue)?, ["kept"])
}

fn redeclare_exchange_differs_refused(bench: &Bench) -> Verdict {
    let transport = bench.connect()?;
    let lane = bench.channel_on(&transport)?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let queue = lane.queue("q")?;
    lane.bind(&queue, &exchange, "key")?;
    let other = bench.channel_on(&transport)?;
    let method = exchange_declare(&exchange, ExchangeKind::Topic);
    refused("declare as a topic exchange", other.exchange_declare(method), &[ErrorKind::PreconditionFailed])?;
    lane.publish(&exchange, "key", "here")?;
    lane.publish(&exchange, "other", "lost")?;
    same("messages routed by the first kind", lane.bodies(&queue)?, ["here"])
}

fn redeclare_exchange_differs_elsewhere(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let exchange = lane.exchange("x", ExchangeKind::Direct)?;
    let plain = exchange_declare(&exchange, ExchangeKind::Direct);
    let others = [
        ("kind", exchange_declare(&exchange, ExchangeKind::Fanout)),
        ("durable", ExchangeDeclare { durable: false, ..plain.clone() }),
        ("internal", ExchangeDeclare { internal: true, ..plain }),
    ];
    for (what, method) in others {
        let other = bench.channel()?;
        let error = refused(
            format!("declare with another `{what}`"),
            other.exchange_declare(method),
            &[ErrorKind::PreconditionFailed],
        )?;
        same(format!("scope of the refusal of another `{what}`"), error.scope(), Scope::Channel)?;
    }
    lane.exchange_declare(exchange_declare(&exchange, ExchangeKind::Direct)).during("declare it as it is")
}

fn passive_missing_not_found(bench: &Bench) -> Verdict {
    let (queue, exchange) = (bench.queue_name("q"), bench.exchange_name("x"));
    let passive = ExchangeDeclare { passive: true, ..exchange_declare(&exchange, ExchangeKind::Direct) };
    let lane = bench.channel()?;
    let error = refused("passive declare of a missing queue", lane.passive(&queue), &[ErrorKind::NotFound])?;
    same("its scope", error.scope(), Scope::Channel)?;
    lane.is_dead()?;
    let lane = bench.channel()?;
    refused("passive declare of a missing exchange", lane.exchange_declare(passive.clone()), &[ErrorKind::NotFound])?;
    let lane = bench.channel()?;
    lane.declare(QueueDeclare { queue: queue.clone(), ..QueueDeclare::default() })?;
    lane.exchange_declare(exchange_declare(&exchange, ExchangeKind::Direct))?;
    let other = bench.channel()?;
    same("messages in the empty queue", other.passive(&queue)?.message_count, 0)?;
    other.exchange_declare(passive).during("passive declare of an existing exchange")
}

fn declared_counts(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let method = || QueueDeclare { queue: queue.clone(), ..QueueDeclare::default() };
    let declared = lane.declare(method())?;
    same("the name", &declared.queue, &queue)?;
    same("messages of a new queue", declared.message_count, 0)?;
    lane.fill(&queue, &["1", "2", "3"])?;
    same("messages after three publishes", lane.declare(method())?.message_count, 3)?;
    let held = lane.get_soon(&queue)?;
    same("ready messages while one is held", lane.declare(method())?.message_count, 2)?;
    lane.requeue(held.tag)?;
    lane.wait_ready(&queue, 3).during("after it was given back")
}

fn declared_consumer_count(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let wait = |count: u32| {
        bench.eventually(&format!("{count} consumers"), || Ok(lane.passive(&queue)?.consumer_count == count))
    };
    same("consumers of a new queue", lane.passive(&queue)?.consumer_count, 0)?;
    let (one, transport) = (bench.channel()?, bench.connect()?);
    let first = one.consume(&queue)?;
    // A channel that is dropped is closed.
    let _second = bench.channel_on(&transport)?.consume(&queue)?;
    wait(2)?;
    one.cancel(&first.tag)?;
    wait(1)?;
    bench.close(&transport)?;
    wait(0)
}

fn server_named_queue_unique(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let count = bench.many(1000);
    let mut names = std::collections::BTreeSet::new();
    // In portions: the patience is for one, and a thousand queues are more than one.
    for _ in 0..10 {
        let channel = std::sync::Arc::clone(&lane.channel);
        names.extend(bench.run("declare queues without a name", async move {
            let mut names = Vec::new();
            for _ in 0..count / 10 {
                let method = QueueDeclare { durable: false, ..QueueDeclare::default() };
                names.push(channel.queue_declare(method).await?.queue);
            }
            Ok::<_, kombu_core::Error>(names)
        })??);
    }
    let last = names.last().cloned().unwrap_or_default();
    let used = same("distinct names", names.len(), count / 10 * 10)
        .and_then(|()| ensure(!names.contains(""), "an empty name was answered"))
        .and_then(|()| lane.put(&last, "hello"))
        .and_then(|()| same("messages in a queue the broker named", lane.bodies(&last)?, ["hello"]));
    let names: Vec<_> = names.into_iter().collect();
    for portion in names.chunks(100) {
        let (channel, portion) = (std::sync::Arc::clone(&lane.channel), portion.to_vec());
        bench.run("delete them", async move {
            for queue in portion {
                channel.queue_delete(QueueDelete { queue, ..QueueDelete::default() }).await?;
            }
            Ok::<_, kombu_core::Error>(())
        })??;
    }
    used
}

fn reserved_names_refused(bench: &Bench) -> Verdict {
    let name: kombu_core::ShortStr = format!("amq.{}", bench.name("mine")).into();
    let lane = bench.channel()?;
    let method = QueueDeclare { queue: name.clone(), ..QueueDeclare::default() };
    refused("declare a queue called amq.…", lane.declare(method), &[ErrorKind::AccessRefused])?;
    let lane = bench.channel()?;
    let method = exchange_declare(&name, ExchangeKind::Direct);
    refused("declare an exchange called amq.…", lane.exchange_declare(method), &[ErrorKind::AccessRefused]).map(drop)
}

fn overlong_names_refused(bench: &Bench) -> Verdict {
    let user = bench.user()?;
    let fill = |length: usize| {
        let start = bench.queue_name("n");
        format!("{start}{}", "n".repeat(length - start.len()))
    };
    let long = fill(256);
    let queue = kombu_core::Queue::new(long.as_str());
    refused("a queue of 256 bytes", user.answer(queue.declare(&user.connection)), &[ErrorKind::InvalidArgument])?;
    let exchange = kombu_core::Exchange::direct(long.as_str());
    refused(
        "an exchange of 256 bytes",
        user.answer(exchange.declare(&user.connection)),
        &[ErrorKind::InvalidArgument],
    )?;
    let widest = fill(255);
    bench.keep_queue(widest.as_str().into());
    let queue = kombu_core::Queue::new(widest.as_str());
    user.answer(queue.declare(&user.connection)).during("declare a queue of 255 bytes")?;
    let sent = user.connection.producer().publish("hello").routing_key(widest.as_str()).send();
    user.answer(sent)?;
    let lane = bench.channel()?;
    same("messages in the queue of 255 bytes", lane.bodies(&widest.into())?, ["hello"])
}
