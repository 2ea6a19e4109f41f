//! What a message that is dead-lettered carries: RabbitMQ's `x-death` and `x-first-death-…` headers; also for transports that keep
//! queues by themselves.

use std::time::{Duration, SystemTime};

use kombu_core::value::DateTime;
use kombu_core::{Envelope, FieldTable, Headers, ShortStr, Value};

/// Why a message left its queue without being acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A consumer rejected it, and did not want it back.
    Rejected,
    /// It waited for too long.
    Expired,
    /// The queue was full.
    Maxlen,
    /// It was given back too often.
    DeliveryLimit,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 4] = [Reason::Rejected, Reason::Expired, Reason::Maxlen, Reason::DeliveryLimit];

    /// Returns RabbitMQ's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected",
            Reason::Expired => "expired",
            Reason::Maxlen => "maxlen",
            Reason::DeliveryLimit => "delivery_limit",
        }
    }
}

/// Returns the message that is published in the place of a dead one: to `exchange`, under `routing_key` or its own, without
/// expiration, with the death noted.
pub fn letter(
    dead: &Envelope,
    queue: &ShortStr,
    reason: Reason,
    at: SystemTime,
    exchange: &ShortStr,
    routing_key: Option<&ShortStr>,
) -> Envelope {
    let mut letter = dead.clone();
    note_death(letter.headers.table_mut(), dead, queue, reason, at);
    if dead.properties.expiration().is_some() {
        letter.properties.rare_mut().expiration = None;
    }
    letter.exchange = exchange.clone();
    letter.routing_key = routing_key.unwrap_or(&dead.routing_key).clone();
    letter
}

/// Counts a death that happened before in the same queue for the same reason, and puts it first; notes any other.
fn note_death(headers: &mut FieldTable, dead: &Envelope, queue: &ShortStr, reason: Reason, at: SystemTime) {
    let mut deaths = match headers.get("x-death") {
        Some(Value::List(deaths)) => deaths.clone(),
        _ => {
            headers.insert("x-first-death-exchange", dead.exchange.as_str());
            headers.insert("x-first-death-queue", queue.as_str());
            headers.insert("x-first-death-reason", reason.as_str());
            Vec::new()
        }
    };
    let is_same = |death: &Value| says(death, "queue", queue) && says(death, "reason", reason.as_str());
    let death = match deaths.iter().position(is_same) {
        Some(index) => counted(deaths.remove(index)),
        None => {
            let mut death = FieldTable::from([("count", Value::from(1))]);
            death.insert("reason", reason.as_str());
            death.insert("queue", queue.as_str());
            death.insert("time", time(at));
            death.insert("exchange", dead.exchange.as_str());
            death.insert("routing-keys", Value::List(vec![Value::from(dead.routing_key.as_str())]));
            if let Some(expiration) = dead.properties.expiration() {
                death.insert("original-expiration", expiration.as_millis().to_string());
            }
            Value::Map(death)
        }
    };
    deaths.insert(0, death);
    headers.insert("x-death", Value::List(deaths));
}

fn counted(mut death: Value) -> Value {
    if let Value::Map(table) = &mut death {
        let count = table.get("count").and_then(Value::as_i64).unwrap_or(0);
        table.insert("count", count.saturating_add(1));
    }
    death
}

/// Whole seconds, as AMQP's timestamps are.
fn time(at: SystemTime) -> Value {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    DateTime::try_from(whole).map_or(Value::Null, Value::DateTime)
}

fn says(death: &Value, key: &str, text: &str) -> bool {
    matches!(death, Value::Map(death) if death.get(key).and_then(Value::as_str) == Some(text))
}

/// Says whether a dead letter with these headers goes round in a circle if it goes to `queue`: it has died there before, and was
/// not rejected by anybody since.
pub fn is_cycle(headers: &Headers, queue: &str) -> bool {
    let Some(Value::List(deaths)) = headers.get("x-death") else { return false };
    let Some(last) = deaths.iter().position(|death| says(death, "queue", queue)) else { return false };
    !deaths[..=last].iter().any(|death| says(death, "reason", Reason::Rejected.as_str()))
}
