//! What backs a SKIP: core refuses what would need the missing capability.

use kombu_core::{
    Binding, ConsumerBuilder, Error, ErrorKind, Exchange, ExchangeKind, Message, Ordering, Queue, Requirement, Value,
};

use crate::bench::Bench;
use crate::failure::{During, Verdict, ensure, refused};
use crate::need::Need;
use crate::user::User;

/// Returns how core refused what `need` is about.
///
/// # Errors
///
/// When it did not.
pub(crate) fn refusal(bench: &Bench, need: Need) -> Verdict<String> {
    let user = bench.user()?;
    required(&user, need)?;
    let name = need.name();
    let answer = if IGNORED.contains(&name) { ignored(bench, &user, name)? } else { asked(bench, &user, name)? };
    user.answer(user.connection.close())?;
    Ok(answer)
}

/// What core takes where it is not declared, because Kombu's programs say it on every broker, and tells of.
const IGNORED: &[&str] = &["exclusive", "auto_delete"];

/// A program that says it needs the capability is told that it is missing.
fn required(user: &User<'_>, need: Need) -> Verdict {
    let requirement = match need {
        Need::Can(name) => Requirement::Capability(name.to_owned()),
        Need::Priority => Requirement::PriorityLevels(1),
        Need::Order => Requirement::Ordering(Ordering::Publisher),
        Need::CrashRestore => Requirement::RestoreWithin(std::time::Duration::MAX),
        Need::Hook(_) => return Ok(()),
    };
    let answered = user.answer(user.connection.require([requirement]));
    refused(format!("requiring `{need}`"), answered, &[ErrorKind::Unsupported]).map(drop)
}

fn ignored(bench: &Bench, user: &User<'_>, capability: &str) -> Verdict<String> {
    let queue = Queue::new(bench.queue_name("probe"));
    let queue = if capability == "exclusive" { queue.exclusive() } else { queue.auto_delete() };
    user.answer(queue.declare(&user.connection)).during(format!("declare a queue with `{capability}`"))?;
    user.wait_event("Ignored")?;
    let told = user.events();
    let names_it = |event: &String| event.starts_with("Ignored") && event.contains(capability);
    ensure(told.iter().any(names_it), format!("that `{capability}` is ignored is not told: {told:?}"))?;
    Ok(format!("a program that requires it is refused, a declaration with `{capability}` is told of"))
}

fn asked(bench: &Bench, user: &User<'_>, name: &str) -> Verdict<String> {
    let Some((operation, error)) = ask(bench, user, name)? else {
        return Ok("a program that requires it is refused".to_owned());
    };
    let named = error.context("capability").unwrap_or_default();
    ensure(named == name, format!("{operation} is refused for want of `{named}` instead of `{name}`: {error}"))?;
    Ok(format!("{operation} is refused"))
}

/// Asks for what needs the capability, where core can see it: the operation and its error.
fn ask(bench: &Bench, user: &User<'_>, capability: &str) -> Verdict<Option<(&'static str, Error)>> {
    let connection = &user.connection;
    let exchange = |kind| user.answer(Exchange::new(bench.exchange_name("probe"), kind).declare(connection));
    let probe = || Queue::new(bench.queue_name("probe"));
    let queue = |name: &str, value: Value| user.answer(probe().argument(name, value).declare(connection)).map(drop);
    let consumer =
        |consumer: ConsumerBuilder| user.answer(consumer.on_message(Message::leave_unacked).consume()).map(drop);
    let (operation, answered) = match capability {
        "exchange_topic" => ("a topic exchange", exchange(ExchangeKind::Topic)),
        "exchange_fanout" => ("a fanout exchange", exchange(ExchangeKind::Fanout)),
        "exchange_headers" => ("a headers exchange", exchange(ExchangeKind::Headers)),
        "delayed" => ("a delayed exchange", exchange(ExchangeKind::Other("x-delayed-message".into()))),
        "alternate_exchange" => {
            let exchange = Exchange::direct(bench.exchange_name("probe")).argument("alternate-exchange", "other");
            ("an alternate exchange", user.answer(exchange.declare(connection)))
        }
        "exchange_to_exchange" => {
            let exchange = |what: &str| Exchange::direct(bench.exchange_name(what));
            let binding = Binding::new(&exchange("source"), "key");
            ("a binding between exchanges", user.answer(exchange("destination").bind_to(connection, &binding)))
        }
        "queue_expires" => ("x-expires", queue("x-expires", Value::from(60_000))),
        "queue_ttl" => ("x-message-ttl", queue("x-message-ttl", Value::from(60_000))),
        "queue_max_length" => ("x-max-length", queue("x-max-length", Value::from(10))),
        "priority" => ("x-max-priority", queue("x-max-priority", Value::from(9))),
        "dead_letter" => ("x-dead-letter-exchange", queue("x-dead-letter-exchange", Value::from("other"))),
        "delivery_limit" => ("x-delivery-limit", queue("x-delivery-limit", Value::from(3))),
        "single_active_consumer" => ("x-single-active-consumer", queue("x-single-active-consumer", Value::from(true))),
        "delete_conditions" => {
            let queue = probe();
            user.answer(queue.declare(connection))?;
            ("deleting a queue only if it is empty", user.answer(queue.delete_if_empty(connection)).map(drop))
        }
        "mandatory_returns" => {
            let sent = connection.producer().publish("probe").routing_key("nobody").mandatory().send();
            ("a mandatory publish", user.answer(sent).map(drop))
        }
        "message_ttl" => {
            let sent = connection.producer().publish("probe").routing_key("nobody").expiration(MINUTE).send();
            ("a message that expires", user.answer(sent).map(drop))
        }
        "exclusive_consumer" => ("an exclusive consumer", consumer(connection.consumer(probe()).exclusive())),
        "consumer_priority" => {
            let queue = probe().consumer_argument("x-priority", 1);
            ("a consumer with a priority", consumer(connection.consumer(queue)))
        }
        "prefetch" => ("a window of unanswered messages", consumer(connection.consumer(probe()).prefetch(1))),
        _ => return Ok(None),
    };
    Ok(Some((operation, refused(operation, answered, &[ErrorKind::Unsupported])?)))
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
