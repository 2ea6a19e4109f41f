//! Publishing: pipelined, in the order of the calls, answered when Redis has answered.

mod destination;
mod publishing;
mod route;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kombu_core::method::BasicPublish;
use kombu_core::reply::{self, ReplySender};
use kombu_core::{Confirm, Confirmation, Envelope, Error, ErrorKind, Outcome, Result, Returned};

pub(crate) use self::publishing::Publishing;
use self::publishing::submit;
use self::route::{Routed, Tables, route_by, route_now};
use crate::channel_core::ChannelCore;
use crate::envelope::Prepared;
use crate::routes::Found;
use crate::session::Session;
use crate::tags::Tag;

/// A publish on its way: who waits for what.
pub(crate) struct Ticket {
    sender: ReplySender<Result<Confirmation>>,
    envelope: Arc<Envelope>,
    mandatory: bool,
    pub(crate) deadline: Option<Instant>,
    size: usize,
}

/// A publish that waits for its routes, or behind one that does.
pub(crate) struct Unrouted {
    pub(crate) ticket: Ticket,
    prepared: Prepared,
    state: Routing,
    /// What was read on its way through several exchanges.
    tables: Tables,
    /// How often the server had lost everything when it was called.
    flushes: u64,
}

/// What a publish waits for.
enum Routing {
    /// For its turn only.
    Turn,
    /// For this read of its exchange's binding table.
    Read(u64),
    /// For its turn, with the table that was read for it.
    Routed(Arc<Found>),
}

impl ChannelCore {
    /// Queues a message for sending.
    pub(crate) fn publish(self: &Arc<Self>, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        if let Some(error) = self.closed_error() {
            return Confirm::ready(Err(error.during("basic.publish").with_outcome(Outcome::NotSent)));
        }
        let session = &self.session;
        let prepared = match Prepared::new(&envelope, session.options.body_encoding) {
            Ok(prepared) => prepared,
            Err(error) => return Confirm::ready(Err(error.during("basic.publish").with_outcome(Outcome::NotSent))),
        };
        let size = prepared.len(Tag::LENGTH);
        if !session.backlog.add(size) {
            let message = "too many publishes wait for the server";
            let error = Error::new(ErrorKind::Overloaded, message).with("broker", &session.target.label);
            return Confirm::ready(Err(error.during("basic.publish").with_outcome(Outcome::NotSent)));
        }
        let (sender, reply) = reply::channel();
        let deadline = method.timeout.map(|timeout| deadline_after(session.handle.now(), timeout));
        let ticket = Ticket { sender, mandatory: method.mandatory, deadline, size, envelope };
        // Held until the publish has its place, so that calls from several threads keep one order.
        let mut waiting = session.lock(&self.publishes);
        // Whoever ends the channel sees to what waits once: what comes later is for nobody.
        if let Some(error) = self.closed_error() {
            drop(waiting);
            ticket.finish(session, Err(error.with_outcome(Outcome::NotSent)));
            return Confirm::reply(reply);
        }
        let route = route_now(session, &ticket.envelope);
        let flushes = session.flushes.load(Ordering::Acquire);
        match route {
            Some(way) if waiting.is_empty() => submit(session, ticket, way, &prepared),
            Some(_) => {
                self.note_deadline(ticket.deadline);
                let prepared = prepared.kept();
                waiting.push_back(Unrouted { ticket, prepared, state: Routing::Turn, tables: Vec::new(), flushes });
            }
            None => {
                self.note_deadline(ticket.deadline);
                let read = session.read_routes(&ticket.envelope.exchange, self);
                let state = Routing::Read(read);
                let prepared = prepared.kept();
                waiting.push_back(Unrouted { ticket, prepared, state, tables: Vec::new(), flushes });
            }
        }
        drop(waiting);
        session.touch();
        Confirm::reply(reply)
    }

    /// Sends on what waited for read `id` of a binding table, and what waited behind that.
    pub(crate) fn handle_routes(self: &Arc<Self>, session: &Session, id: u64, found: &Arc<Found>) {
        let mut waiting = session.lock(&self.publishes);
        let mut finished = Vec::new();
        for publish in waiting.iter_mut().filter(|publish| matches!(publish.state, Routing::Read(read) if read == id)) {
            publish.state = Routing::Routed(Arc::clone(found));
        }
        while let Some(first) = waiting.front_mut() {
            let Unrouted { ticket, state, tables, flushes, .. } = first;
            let envelope = &ticket.envelope;
            let routed = match state {
                Routing::Read(_) => break,
                Routing::Routed(found) => route_by(session, envelope, found, tables),
                Routing::Turn => match route_now(session, envelope) {
                    Some(way) => Ok(Routed::To(way)),
                    // What was known of its routes has changed while it waited.
                    None => Ok(Routed::Missing(envelope.exchange.clone())),
                },
            };
            let is_nowhere = match &routed {
                Ok(Routed::Nowhere) => true,
                Ok(_) => false,
                Err(error) => error.kind() == ErrorKind::NotFound,
            };
            let lost = session.flushes.load(Ordering::Acquire);
            if is_nowhere && std::mem::replace(flushes, lost) != lost {
                // What was declared here was declared again when the server told that it has lost everything.
                tables.clear();
                first.state = Routing::Read(session.read_routes(&first.ticket.envelope.exchange, self));
                break;
            }
            if let Ok(Routed::Missing(exchange)) = &routed {
                first.state = Routing::Read(session.read_routes(exchange, self));
                break;
            }
            // The line above found it.
            let Some(Unrouted { ticket, prepared, .. }) = waiting.pop_front() else { break };
            match routed {
                Ok(Routed::To(way)) => submit(session, ticket, way, &prepared),
                Ok(Routed::Nowhere | Routed::Missing(_)) => finished.push((ticket, None)),
                Err(error) => finished.push((ticket, Some(error))),
            }
        }
        drop(waiting);
        for (ticket, error) in finished {
            match error {
                Some(error) => ticket.finish(session, Err(error.with_outcome(Outcome::NotSent))),
                None => ticket.finish_unroutable(session),
            }
        }
    }

    /// Fails whatever waits for routes: the channel is closed.
    pub(crate) fn fail_publishes(&self, session: &Session, error: &Error) {
        let waiting = std::mem::take(&mut *session.lock(&self.publishes));
        for Unrouted { ticket, .. } in waiting {
            ticket.finish(session, Err(error.duplicate().with_outcome(Outcome::NotSent)));
        }
    }

    /// Fails what waits for routes although its time has passed.
    pub(crate) fn expire_publishes(&self, session: &Session, now: Instant) -> Option<Instant> {
        let mut late = Vec::new();
        let mut waiting = session.lock(&self.publishes);
        let mut index = 0;
        while index < waiting.len() {
            if waiting[index].ticket.deadline.is_some_and(|deadline| deadline <= now) {
                late.extend(waiting.remove(index));
            } else {
                index += 1;
            }
        }
        let next = waiting.iter().filter_map(|publish| publish.ticket.deadline).min();
        drop(waiting);
        for Unrouted { ticket, .. } in late {
            let error = Error::new(ErrorKind::Timeout, "not sent in time: the server does not answer");
            ticket.finish(session, Err(error.with_outcome(Outcome::NotSent)));
        }
        next
    }
}

impl Ticket {
    fn finish(self, session: &Session, result: Result<Confirmation>) {
        session.backlog.remove(self.size);
        let envelope = self.envelope;
        self.sender.send(result.map_err(|error| {
            let error = error.during("basic.publish");
            error.with("exchange", &envelope.exchange).with("routing_key", &envelope.routing_key)
        }));
    }

    fn finish_unroutable(self, session: &Session) {
        let confirmation = if self.mandatory {
            let envelope = Arc::clone(&self.envelope);
            Confirmation::Returned(Box::new(Returned { code: NO_ROUTE, text: "NO_ROUTE".into(), envelope }))
        } else {
            Confirmation::Confirmed { queues: Some(0) }
        };
        self.finish(session, Ok(confirmation));
    }
}

fn deadline_after(now: Instant, timeout: Duration) -> Instant {
    // A time too far away to be written is as good as never.
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// The header of a publish that was repeated because its answer was lost.
pub(crate) const REPUBLISHED: &str = "x-republished";

const NO_ROUTE: u16 = 312;
