//! What the arguments of exchanges, bindings and consumers ask for.

use kombu_core::method::BasicConsume;
use kombu_core::{ExchangeKind, FieldTable, Result, ShortStr, Value};

use crate::{delay, refusal};

/// How an exchange routes, by its kind and arguments.
pub(crate) struct Routing {
    pub(crate) kind: ExchangeKind,
    /// Messages with the header `x-delay` are held back.
    pub(crate) is_delayed: bool,
    /// Where messages go that match no binding.
    pub(crate) alternate: Option<ShortStr>,
}

/// Reads the kind and the arguments of `exchange.declare`.
pub(crate) fn routing(exchange: &str, kind: &ExchangeKind, arguments: &FieldTable) -> Result<Routing> {
    let text = |name: &'static str| match arguments.get(name) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(ShortStr::from(text))),
            None => Err(refusal::invalid_argument("exchange", exchange, name, "not text")),
        },
    };
    let is_delayed = kind.as_str() == delay::KIND;
    let kind = match kind {
        ExchangeKind::Other(_) if is_delayed => match text(delay::INNER_KIND)? {
            Some(kind) => kind.parse()?,
            None => return Err(refusal::invalid_argument("exchange", exchange, delay::INNER_KIND, "missing")),
        },
        known => known.clone(),
    };
    if let ExchangeKind::Other(other) = &kind {
        return Err(refusal::unsupported("exchange kinds", other));
    }
    for name in arguments.keys() {
        if name.starts_with("x-") && !(is_delayed && *name == delay::INNER_KIND) {
            return Err(refusal::unsupported("exchange arguments", name).with("argument", name));
        }
    }
    Ok(Routing { kind, is_delayed, alternate: text("alternate-exchange")? })
}

/// Reads the priority of a consumer, 0 unless given, and refuses arguments nobody here understands.
///
/// # Errors
///
/// `PreconditionFailed` for a priority that is no integer, `Unsupported` for arguments that start `x-` and mean nothing here.
pub fn consumer_priority(method: &BasicConsume) -> Result<i64> {
    let mut priority = 0;
    for (name, value) in method.arguments.iter() {
        match name.as_str() {
            "x-priority" => {
                let number = value.as_i64();
                priority = number
                    .ok_or_else(|| refusal::invalid_argument("queue", &method.queue, "x-priority", "not an integer"))?;
            }
            other if other.starts_with("x-") && *value != Value::Null => {
                return Err(refusal::unsupported("consumer arguments", other).with("argument", other));
            }
            _ => {}
        }
    }
    Ok(priority)
}
