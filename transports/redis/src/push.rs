//! Publishing to queues with a policy, of messages that expire, and of messages that are held back.
//!
//! Everything else is pushed as Kombu does, without a script. Here a script does it: it knows what the queue was declared with,
//! whichever process did that, stamps the message with the time at which it expires, and takes out what is too much.

use std::time::Duration;

use kombu_core::{Envelope, Error, ErrorKind, Outcome, Result, ShortStr};
use kombu_virtual::delay;
use redis::Value;

use crate::binding::{Walked, walk};
use crate::connection::refusal;
use crate::envelope::{Prepared, list_priority};
use crate::scripts::{Place, Push, Told};
use crate::session::Session;

/// Where a letter goes.
pub(crate) enum Target {
    /// Into these queues, and to whoever listens to these fanout exchanges.
    Queues(Vec<ShortStr>, Vec<ShortStr>),
    /// It is held back for so long.
    Held(Duration),
}

impl Session {
    /// Says whether a message to these queues is more than an element of a list.
    pub(crate) fn needs_push<'q>(&self, envelope: &Envelope, mut queues: impl Iterator<Item = &'q ShortStr>) -> bool {
        envelope.properties.expiration().is_some() || queues.any(|queue| self.policy(queue).is_some())
    }

    /// Writes the script that puts a message into queues, given with their `x-expires`.
    pub(crate) fn write_push<'q>(
        &self,
        envelope: &Envelope,
        prepared: &Prepared,
        queues: impl Iterator<Item = (&'q ShortStr, Option<u64>)>,
        out: &mut Vec<u8>,
    ) {
        let ttl = ttl_of(envelope);
        let push = Push { keys: &self.keys, letter: "", priority: list_priority(envelope) };
        let is_checked = self.has_registry();
        let copies = queues.map(|(queue, expires)| {
            let place = Place::Queue { queue, ttl, expires, is_checked };
            (place, prepared.copy(&self.tags))
        });
        push.command(copies).write_packed_command(out);
    }

    /// Writes the script that holds a message back, under an id of its own.
    pub(crate) fn write_held(&self, envelope: &Envelope, id: &str, delay: Duration, out: &mut Vec<u8>) {
        // What was written once can be written again.
        let text = self.held_text(envelope, delay).unwrap_or_default();
        let push = Push { keys: &self.keys, letter: "", priority: 0 };
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        push.command([(Place::Held { id, delay }, text)]).write_packed_command(out);
    }

    /// Returns a message as it is held back: it says that its delay is over, for it will be when it is read.
    pub(crate) fn held_text(&self, envelope: &Envelope, delay: Duration) -> Result<Vec<u8>> {
        let mut held = envelope.clone();
        delay::mark_over(&mut held.headers, delay);
        Ok(Prepared::new(&held, self.options.body_encoding)?.copy(&self.tags))
    }

    /// Returns how long an exchange holds a message back, if it does.
    pub(crate) fn delay_of(&self, envelope: &Envelope) -> Option<Duration> {
        if !self.topology.is_delayed(&envelope.exchange) {
            return None;
        }
        delay::asked(&envelope.headers)
    }

    /// Uses the answer to a publish to these queues: which of them, by their places among all, are not there.
    ///
    /// # Errors
    ///
    /// `Nacked` when one of them is full and refuses it; the others have it.
    pub(crate) fn pushed(&self, value: &Value, queues: &[ShortStr]) -> Result<Vec<usize>> {
        if let Value::ServerError(error) = value {
            let outcome = if queues.len() > 1 { Outcome::Unknown } else { Outcome::NotSent };
            return Err(refusal(error).with_outcome(outcome));
        }
        let told = Told::read("push", value).map_err(|error| error.with_outcome(Outcome::Unknown))?;
        let (missing, full): (Vec<i64>, Vec<i64>) = self.use_told(told).into_iter().partition(|place| *place < 0);
        match full.first() {
            None => Ok(missing.into_iter().filter_map(|place| usize::try_from(-place - 1).ok()).collect()),
            Some(first) => {
                let queue = usize::try_from(*first - 1).ok().and_then(|index| queues.get(index));
                let error = Error::new(ErrorKind::Nacked, "the queue is full and refuses what is published to it");
                Err(error.with("queue", queue.map_or("", ShortStr::as_str)).with_outcome(Outcome::Unknown))
            }
        }
    }

    /// Finds where a letter goes, by what the server knows now.
    pub(crate) async fn target(&self, envelope: &Envelope) -> Result<Target> {
        if envelope.exchange.is_empty() {
            return Ok(Target::Queues(vec![envelope.routing_key.clone()], Vec::new()));
        }
        if let Some(delay) = self.delay_of(envelope) {
            return Ok(Target::Held(delay));
        }
        let mut tables = Vec::new();
        let mut exchange = envelope.exchange.clone();
        loop {
            let table = self.read_table(&exchange).await?;
            if tables.is_empty()
                && table.is_delayed()
                && let Some(delay) = delay::asked(&envelope.headers)
            {
                return Ok(Target::Held(delay));
            }
            tables.push((exchange, table));
            match walk(envelope, &tables, |exchange| self.known_kind(exchange)) {
                Ok(Walked::Missing(next)) => exchange = next,
                Ok(Walked::Done(found)) => return Ok(Target::Queues(found.queues, found.exchanges)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Target::Queues(Vec::new(), Vec::new())),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns how long a message may wait, in milliseconds, by its own property.
pub(crate) fn ttl_of(envelope: &Envelope) -> Option<u64> {
    envelope.properties.expiration().map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}
