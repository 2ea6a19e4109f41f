//! Messages as Kombu stores them in lists and sends them on channels: one JSON object each.
//!
//! ```text
//! {"body": "<base64>", "content-encoding": "utf-8", "content-type": "application/json", "headers": {…},
//!  "properties": {"delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": "q"}, "priority": 0,
//!                 "body_encoding": "base64", "delivery_tag": "<uuid4>", …}}
//! ```
//!
//! [`Prepared`] writes them, [`read()`] reads them.
//!
//! Values Kombu allows and AMQP does not (a priority of -5, a correlation id that is a number) travel in
//! [`RareProperties::other`](kombu_core::RareProperties::other) under their wire name, and so do members nobody knows. What
//! is set in the typed field goes before what is there.

mod body;
mod properties;
mod read;
mod scan;
mod unacked;
mod write;

pub(crate) use self::read::{Limits, Received, read};
pub(crate) use self::unacked::Unacked;
pub(crate) use self::write::Prepared;

use kombu_core::{Envelope, Error, ErrorKind, Value};

/// Returns the priority by which the list is chosen: its whole part within 0 to 9, and 0 for what is no number, as in Kombu.
pub(crate) fn list_priority(envelope: &Envelope) -> u8 {
    match envelope.properties.priority {
        Some(priority) => priority.min(HIGHEST),
        None => envelope.properties.rare().and_then(|rare| rare.other.get("priority")).map_or(0, clamp_priority),
    }
}

fn clamp_priority(value: &Value) -> u8 {
    let number = match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Text(text) => text.trim().parse::<i64>().ok().map(|number| number as f64),
        value => value.as_f64(),
    };
    // The cast cuts off the fraction; what is not a number becomes 0.
    number.map_or(0, |number| number.clamp(0.0, f64::from(HIGHEST)) as u8)
}

const HIGHEST: u8 = 9;

/// Makes the error of an envelope whose member `field` cannot be used.
#[cold]
fn malformed(field: &'static str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Decode, format!("`{field}` {what}")).with("field", field)
}
