//! Which arguments of declarations are understood. One that is not is refused by name: ignoring `x-message-ttl` would break a
//! promise without a word.

use kombu_core::{ExchangeKind, FieldTable, Result, Value};

use crate::refusal;

/// Checks the arguments of `queue.declare`.
pub(crate) fn check_queue(arguments: &FieldTable) -> Result<()> {
    for (name, value) in arguments.iter() {
        let capability = match name.as_str() {
            "x-queue-type" if value.as_str() == Some("classic") => continue,
            "x-expires" => "queue_expires",
            "x-message-ttl" => "queue_ttl",
            "x-max-length" | "x-max-length-bytes" | "x-overflow" => "queue_max_length",
            "x-max-priority" => "priority",
            "x-dead-letter-exchange" | "x-dead-letter-routing-key" => "dead_letter",
            // RabbitMQ ignores what it does not know; names that start `x-` are asked of the broker, others are notes.
            other if other.starts_with("x-") => "queue arguments",
            _ => continue,
        };
        return Err(refusal::unsupported(capability, name).with("argument", name));
    }
    Ok(())
}

/// Checks the kind and the arguments of `exchange.declare`.
pub(crate) fn check_exchange(kind: &ExchangeKind, arguments: &FieldTable) -> Result<()> {
    match kind {
        ExchangeKind::Direct | ExchangeKind::Topic | ExchangeKind::Fanout => {}
        ExchangeKind::Headers => return Err(refusal::unsupported("exchange_headers", "headers")),
        ExchangeKind::Other(name) if name.as_str() == "x-delayed-message" => {
            return Err(refusal::unsupported("delayed", name));
        }
        other => return Err(refusal::unsupported("exchange kinds", other.as_str())),
    }
    for (name, _) in arguments.iter() {
        match name.as_str() {
            "alternate-exchange" => return Err(refusal::unsupported("alternate_exchange", name)),
            other if other.starts_with("x-") => return Err(refusal::unsupported("exchange arguments", name)),
            _ => {}
        }
    }
    Ok(())
}

/// Checks the arguments of `basic.consume`.
pub(crate) fn check_consumer(arguments: &FieldTable) -> Result<()> {
    let asked = |(name, value): &(&kombu_core::ShortStr, &Value)| name.starts_with("x-") && **value != Value::Null;
    match arguments.iter().find(asked) {
        Some((name, _)) => Err(refusal::unsupported("consumer arguments", name)),
        None => Ok(()),
    }
}
