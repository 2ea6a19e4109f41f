//! The bound on how long a message may be held: the option `max_hold`.
//!
//! A handler that hangs keeps its message for as long as its process gives signs of life. With a bound, whoever gives those gives
//! the message back when its time is over, also while the hub hangs with the handler; what the handler says of it later is
//! answered `LeaseLost`.

use std::time::Duration;

use bytes::Bytes;
use kombu_core::Result;
use redis::Value;

use crate::connection::unexpected;
use crate::envelope::Unacked;
use crate::keeper::Keeper;
use crate::lease::AT_ONCE;
use crate::scripts::{GivenBack, Requeue, Requeued};
use crate::session::Session;

impl Keeper {
    /// Gives back what was taken longer than `max_hold` ago.
    pub(crate) async fn end_holds(&self, session: &Session, max_hold: Duration, patience: Duration) -> Result<()> {
        let Some(before) = self.now().checked_sub(max_hold) else { return Ok(()) };
        let numbers = session.lock(&session.ledger).taken_before(before);
        // The one to be served last goes back first.
        for numbers in numbers.rchunks(AT_ONCE) {
            let tags: Vec<(u64, String)> =
                numbers.iter().rev().map(|number| (*number, session.field(*number))).collect();
            self.end_some(session, &tags, patience).await?;
        }
        Ok(())
    }

    async fn end_some(&self, session: &Session, tags: &[(u64, String)], patience: Duration) -> Result<()> {
        let mut look = redis::cmd("HMGET");
        look.arg(session.keys.unacked());
        for (_, tag) in tags {
            look.arg(tag);
        }
        let values = self.call(&look, patience).await?;
        let Value::Array(values) = values else { return Err(unexpected("HMGET", &values)) };
        let mut places = Vec::new();
        for ((number, tag), value) in tags.iter().zip(values) {
            // What is not recorded is being taken at this moment, or was settled.
            let Value::BulkString(value) = value else { continue };
            match place(session, value.into()) {
                Ok(list) => places.push((*number, tag, list)),
                Err(error) => tracing::debug!(%error, %tag, "cannot be given back: it is no message any more"),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let messages: Vec<GivenBack<'_>> =
            places.iter().map(|(_, tag, list)| GivenBack::new(tag, list, true)).collect();
        let requeue = Requeue { keys: &session.keys, not_after: None, messages: &messages }.command()?;
        let outcomes = Requeue::read(self.call(&requeue, patience).await?)?;
        let done =
            places.iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Requeued::Done | Requeued::Gone));
        let done: Vec<u64> = done.map(|((number, ..), _)| *number).collect();
        if session.warnings.allows("max_hold", self.now()) {
            tracing::warn!(broker = %session.target.label, count = done.len(),
                "messages were held for longer than `max_hold`; they are given to other consumers");
        }
        session.close_fields(done);
        Ok(())
    }
}

/// Returns the list of the message that is recorded as `value`.
fn place(session: &Session, value: Bytes) -> Result<String> {
    let entry = Unacked::read(&value, &session.limits)?;
    let received = entry.envelope(&session.limits)?;
    Ok(session.keys.list_for(&entry.routing_key, received.list_priority))
}
