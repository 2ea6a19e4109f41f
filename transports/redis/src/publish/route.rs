//! Where a message goes by what is known of its exchange.

use std::sync::Arc;

use kombu_core::{Envelope, Error, ErrorKind, ExchangeKind, Result, ShortStr};
use kombu_virtual::delay;

use super::destination::{Destination, lists};
use crate::binding::{Reached, Table, Undeclared, Walked, walk};
use crate::route_cache::RouteNumber;
use crate::routes::Found;
use crate::session::Session;

/// The tables of exchanges a message goes through.
pub(super) type Tables = Vec<(ShortStr, Arc<Table>)>;

/// Where a message goes, and by which routes.
pub(super) struct Way {
    pub(super) destination: Destination,
    /// The fanout exchanges it goes to after that.
    pub(super) ahead: Vec<ShortStr>,
    pub(super) route: Option<RouteNumber>,
}

/// What is known of where a message goes.
pub(super) enum Routed {
    /// There.
    To(Way),
    /// Nowhere.
    Nowhere,
    /// The table of this exchange has to be read.
    Missing(ShortStr),
}

/// Returns where a message goes if that is known without asking the server.
pub(super) fn route_now(session: &Session, envelope: &Envelope) -> Option<Way> {
    let way = |destination, route| Some(Way { destination, ahead: Vec::new(), route });
    if envelope.exchange.is_empty() {
        let queues = std::slice::from_ref(&envelope.routing_key);
        return way(Destination::Lists(lists(session, envelope, queues)), None);
    }
    if let Some(delay) = session.delay_of(envelope) {
        return way(Destination::Held(delay, session.tags.tag().to_string()), None);
    }
    let mut cache = session.lock(&session.route_cache);
    let kind = session.known_kind(&envelope.exchange).or_else(|| cache.table(&envelope.exchange)?.1.kind());
    if kind == Some(ExchangeKind::Fanout) {
        let number = cache.vouches_for(&envelope.exchange)?;
        return way(Destination::Broadcast(envelope.exchange.clone(), Vec::new()), Some(number));
    }
    // What cannot be routed is refused when the routes are read, and who listens is found then.
    let find = |table: &Table| match kind.clone().or_else(|| table.kind()) {
        Some(ExchangeKind::Fanout) => Vec::new(),
        kind => table.queues(kind.as_ref().ok_or(Undeclared), &envelope.routing_key).unwrap_or_default(),
    };
    let (number, queues) = cache.queues(&envelope.exchange, &envelope.routing_key, find)?;
    drop(cache);
    way(Destination::Lists(lists(session, envelope, &queues)), Some(number))
}

/// Returns where a message goes by what was read last, and before.
pub(super) fn route_by(session: &Session, envelope: &Envelope, found: &Found, tables: &mut Tables) -> Result<Routed> {
    let table = found.table.as_ref().map_err(Error::duplicate)?;
    if found.exchange == envelope.exchange
        && table.is_delayed()
        && let Some(delay) = delay::asked(&envelope.headers)
    {
        let destination = Destination::Held(delay, session.tags.tag().to_string());
        return Ok(Routed::To(Way { destination, ahead: Vec::new(), route: None }));
    }
    if found.exchange == envelope.exchange && table.is_internal() {
        let message = "the exchange is internal: it takes messages from other exchanges only";
        return Err(Error::new(ErrorKind::AccessRefused, message));
    }
    tables.push((found.exchange.clone(), Arc::clone(table)));
    let Reached { queues, exchanges: mut ahead } =
        match walk(envelope, tables, |exchange| session.known_kind(exchange))? {
            Walked::Done(reached) => reached,
            Walked::Missing(exchange) => return Ok(Routed::Missing(exchange)),
        };
    // What goes through several exchanges is read again for each message.
    let route = found.number.filter(|_| tables.len() == 1);
    if !queues.is_empty() {
        let destination = Destination::Lists(lists(session, envelope, &queues));
        return Ok(Routed::To(Way { destination, ahead, route }));
    }
    if !ahead.is_empty() {
        let destination = Destination::Broadcast(ahead.remove(0), Vec::new());
        return Ok(Routed::To(Way { destination, ahead, route }));
    }
    let kind = session.known_kind(&envelope.exchange);
    let dead = session.options.deadletter_queue.as_ref().filter(|_| kind != Some(ExchangeKind::Topic));
    let Some(queue) = dead else { return Ok(Routed::Nowhere) };
    if session.warnings.allows("deadletter_queue", session.handle.now()) {
        tracing::warn!(exchange = %envelope.exchange, routing_key = %envelope.routing_key, %queue,
            "no queue is bound with this key; the message goes to the dead-letter queue");
    }
    let destination = Destination::Lists(lists(session, envelope, &[queue.as_str().into()]));
    Ok(Routed::To(Way { destination, ahead, route: None }))
}
