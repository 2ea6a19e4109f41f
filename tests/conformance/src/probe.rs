//! What backs a SKIP: core refuses what would need the missing capability.

use kombu_core::{Error, ErrorKind, Exchange, ExchangeKind, Message, Ordering, Queue, Requirement};

use crate::bench::Bench;
use crate::failure::{Verdict, ensure, refused};
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
    let asked = ask(bench, &user, name)?;
    user.answer(user.connection.close())?;
    let Some((operation, error)) = asked else { return Ok("a program that requires it is refused".to_owned()) };
    let named = error.context("capability").unwrap_or_default();
    ensure(named == name, format!("{operation} is refused for want of `{named}` instead of `{name}`: {error}"))?;
    Ok(format!("{operation} is refused"))
}

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

/// Asks for what needs the capability, where core can see it: the operation and its error.
fn ask(bench: &Bench, user: &User<'_>, capability: &str) -> Verdict<Option<(&'static str, Error)>> {
    let connection = &user.connection;
    let exchange = |kind| user.answer(Exchange::new(bench.exchange_name("probe"), kind).declare(connection));
    let queue = |argument: &str, value: i64| {
        let queue = Queue::new(bench.queue_name("probe")).argument(argument, value);
        user.answer(queue.declare(connection)).map(drop)
    };
    let (operation, answered) = match capability {
        "exchange_topic" => ("a topic exchange", exchange(ExchangeKind::Topic)),
        "exchange_fanout" => ("a fanout exchange", exchange(ExchangeKind::Fanout)),
        "exchange_headers" => ("a headers exchange", exchange(ExchangeKind::Headers)),
        "delayed" => ("a delayed exchange", exchange(ExchangeKind::Other("x-delayed-message".into()))),
        "alternate_exchange" => {
            let exchange = Exchange::direct(bench.exchange_name("probe")).argument("alternate-exchange", "other");
            ("an alternate exchange", user.answer(exchange.declare(connection)))
        }
        "queue_expires" => ("x-expires", queue("x-expires", 60_000)),
        "queue_ttl" => ("x-message-ttl", queue("x-message-ttl", 60_000)),
        "queue_max_length" => ("x-max-length", queue("x-max-length", 10)),
        "priority" => ("x-max-priority", queue("x-max-priority", 9)),
        "dead_letter" => {
            let queue = Queue::new(bench.queue_name("probe")).argument("x-dead-letter-exchange", "other");
            ("x-dead-letter-exchange", user.answer(queue.declare(connection)).map(drop))
        }
        "mandatory_returns" => {
            let sent = connection.producer().publish("probe").routing_key("nobody").mandatory().send();
            ("a mandatory publish", user.answer(sent).map(drop))
        }
        "exclusive_consumer" => {
            let queue = Queue::new(bench.queue_name("probe"));
            let consumer = connection.consumer(queue).exclusive().on_message(Message::leave_unacked).consume();
            ("an exclusive consumer", user.answer(consumer).map(drop))
        }
        _ => return Ok(None),
    };
    Ok(Some((operation, refused(operation, answered, &[ErrorKind::Unsupported])?)))
}
