//! Finds where a message goes.

use kombu_core::{Envelope, Result, ShortStr};

use super::State;
use crate::delay;
use crate::exchange::{Destination, ExchangeKey};
use crate::queue::QueueKey;
use crate::refusal;
use crate::store::QueueStore;

/// Where a message goes.
#[derive(Default)]
pub(super) struct Found {
    /// A queue that is reached several times comes several times.
    pub(super) queues: Vec<QueueKey>,
    /// The delayed exchanges that hold it back.
    pub(super) delays: Vec<ExchangeKey>,
    /// It depends on more than exchange and routing key.
    pub(super) is_for_once: bool,
}

impl<S: QueueStore> State<S> {
    /// Finds where `exchange` sends a message, through other exchanges and alternates, each at most once. No exchange of that name
    /// is an error of scope `Channel`.
    pub(super) fn resolve(&mut self, exchange: &ShortStr, envelope: &Envelope) -> Result<Found> {
        let mut found = Found::default();
        if exchange.is_empty() {
            self.resolve_default(envelope, &mut found)?;
            return Ok(found);
        }
        let Some(first) = self.exchange_names.get(exchange).copied() else {
            return Err(refusal::not_found("exchange", exchange));
        };
        let (mut seen, mut index) = (vec![first], 0);
        let mut reached = Vec::new();
        while let Some(key) = seen.get(index).copied() {
            index += 1;
            let Some(exchange) = self.exchanges.get_mut(key) else { continue };
            found.is_for_once |= !exchange.routes_by_key();
            if exchange.is_delayed && delay::asked(&envelope.headers).is_some() {
                found.delays.push(key);
                continue;
            }
            reached.clear();
            exchange.route(&envelope.routing_key, &envelope.headers, &mut reached);
            if reached.is_empty()
                && let Some(alternate) = exchange.alternate.clone()
            {
                match self.exchange_names.get(&alternate) {
                    Some(next) => reached.push(Destination::Exchange(*next)),
                    None if alternate.is_empty() => self.resolve_default(envelope, &mut found)?,
                    None => {}
                }
            }
            for destination in &reached {
                match destination {
                    Destination::Queue(queue) => found.queues.push(*queue),
                    Destination::Exchange(next) if !seen.contains(next) => seen.push(*next),
                    Destination::Exchange(_) => {}
                }
            }
        }
        Ok(found)
    }

    fn resolve_default(&mut self, envelope: &Envelope, found: &mut Found) -> Result<()> {
        match self.find_queue(&envelope.routing_key)? {
            Some(queue) => found.queues.push(queue),
            // Not remembered: the store may come to have the queue without being told.
            None => found.is_for_once = true,
        }
        Ok(())
    }
}
