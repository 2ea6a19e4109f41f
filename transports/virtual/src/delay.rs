//! How long messages ask to be held back, by the names of RabbitMQ's delayed-message plugin; also for transports that hold them back
//! by themselves.

use std::time::Duration;

use kombu_core::{Headers, Value};

/// The kind of exchange that holds messages back.
pub const KIND: &str = "x-delayed-message";

/// The argument of such an exchange that says how it routes.
pub const INNER_KIND: &str = "x-delayed-type";

/// The header that asks for a delay, in milliseconds.
pub const HEADER: &str = "x-delay";

/// Returns how long a message asks to be held back; nothing when it does not, or was already: its delay is negative then.
pub fn asked(headers: &Headers) -> Option<Duration> {
    let delay = headers.get(HEADER)?.as_i64().filter(|delay| *delay > 0)?;
    Some(Duration::from_millis(delay.unsigned_abs()))
}

/// Notes that a delay is over, as the plugin does: its negative is left.
pub fn mark_over(headers: &mut Headers, delay: Duration) {
    let over = i64::try_from(delay.as_millis()).map_or(i64::MIN, |delay| -delay);
    headers.table_mut().insert(HEADER, Value::from(over));
}
