//! A publish that was handed to the connection: what its answer means, and where it goes next.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use kombu_core::{Confirmation, Error, ErrorKind, Outcome, Result, ShortStr};
use redis::Value;

use super::destination::{Destination, List, lists};
use super::route::{Tables, Way};
use super::{REPUBLISHED, Ticket};
use crate::binding::{Reached, Walked, walk};
use crate::connection::{Fate, closed, refusal, unexpected};
use crate::envelope::Prepared;
use crate::request::Request;
use crate::route_cache::RouteNumber;
use crate::routes::Found;
use crate::scripts::Broadcast;
use crate::session::Session;

/// A publish that was handed to the connection.
pub(crate) struct Publishing {
    ticket: Ticket,
    destination: Destination,
    /// The routes it was sent by, if the server tells when they change.
    route: Option<RouteNumber>,
    /// Where it is already.
    reached: Vec<List>,
    /// How many have it who listen, or the stored queues they listen by.
    heard: usize,
    /// Whether some queue keeps it.
    is_stored: bool,
    detour: Option<Box<Detour>>,
    /// How often the server had lost everything when it was sent.
    flushes: u64,
    is_repeated: bool,
}

/// What a publish needs that goes through several exchanges.
#[derive(Default)]
struct Detour {
    /// The fanout exchanges whose listeners are still to be told.
    ahead: Vec<ShortStr>,
    /// Those whose listeners were told.
    behind: Vec<ShortStr>,
    /// What was read to check its routes.
    tables: Tables,
}

/// Hands a publish to the connection.
pub(super) fn submit(session: &Session, ticket: Ticket, Way { destination, ahead, route }: Way, prepared: &Prepared) {
    let destination = destination.by_policy(session, &ticket.envelope);
    let detour = (!ahead.is_empty()).then(|| Box::new(Detour { ahead, ..Detour::default() }));
    let (reached, heard, is_stored) = (Vec::new(), 0, false);
    let flushes = session.flushes.load(Ordering::Acquire);
    Publishing { ticket, destination, route, reached, heard, is_stored, detour, flushes, is_repeated: false }
        .submit(session, prepared);
}

impl Publishing {
    fn submit(self, session: &Session, prepared: &Prepared) {
        let replies = self.destination.replies(session);
        let deadline = self.ticket.deadline;
        let request = Request::Publish(Box::new(self));
        let Some(request) = session.queue_behind_refused(request) else { return };
        let write = |request: &Request, out: &mut Vec<u8>| {
            if let Request::Publish(publishing) = request {
                publishing.destination.write(session, &publishing.ticket.envelope, prepared, out);
            }
        };
        session.expect_confirm();
        if let Err(request) = session.command.submit(request, replies, deadline, write) {
            session.fail_later(*request);
        }
    }

    /// Uses the server's answer.
    pub(crate) fn handle_answer(mut self, session: &Session, value: Value) {
        let mut missing = Vec::new();
        if session.has_registry()
            && let (Destination::Lists(lists), Value::Array(found)) = (&mut self.destination, &value)
        {
            // The others are not there.
            let mut found = found.iter();
            missing.extend(lists.extract_if(.., |_| found.next() != Some(&Value::Int(1))));
        }
        let mut is_stored = !matches!(self.destination, Destination::Broadcast(..));
        let queues = match (&mut self.destination, &value) {
            (Destination::Held(..), _) => session.pushed(&value, &[]).map(|_| 1),
            (Destination::Queues(lists), _) => {
                let queues: Vec<ShortStr> = lists.iter().map(|(_, queue, _)| queue.clone()).collect();
                session.pushed(&value, &queues).map(|absent| {
                    let mut places = 0..;
                    let is_absent = |_: &mut List| places.next().is_some_and(|place| absent.contains(&place));
                    missing.extend(lists.extract_if(.., is_absent));
                    lists.len()
                })
            }
            (_, Value::ServerError(error)) => Err(refusal(error).with_outcome(Outcome::NotSent)),
            (Destination::Lists(_), Value::Int(_)) => Ok(1),
            (Destination::Lists(lists), Value::Array(answers)) => {
                let refused = answers.iter().find_map(|answer| match answer {
                    Value::ServerError(error) => Some(refusal(error)),
                    _ => None,
                });
                match refused {
                    None => Ok(lists.len()),
                    // In a transaction the other queues have it all the same.
                    Some(error) => {
                        Err(error.with_outcome(if lists.len() > 1 { Outcome::Unknown } else { Outcome::NotSent }))
                    }
                }
            }
            (Destination::Broadcast(..), _) => match Broadcast::read(&value) {
                Ok(told) => {
                    is_stored = !told.stored.is_empty();
                    if told.is_due {
                        session.expect(session.server_time());
                    }
                    // Who listens and has a queue that is stored counts once.
                    let listeners = told.listeners.saturating_sub(told.stored.len());
                    self.reached.extend(lists(session, &self.ticket.envelope, &told.stored));
                    Ok(listeners)
                }
                Err(error) => Err(error.with_outcome(Outcome::Unknown)),
            },
            (_, other) => Err(unexpected("publish", other).with_outcome(Outcome::Unknown)),
        };
        match queues {
            Ok(_) if !missing.is_empty() => self.miss(session, missing),
            Ok(queues) => self.go_on(session, queues, is_stored),
            // Where it is already it stays.
            Err(error) if self.is_somewhere() => self.end(session, Err(error.with_outcome(Outcome::Unknown))),
            Err(error) => self.end(session, Err(error)),
        }
    }

    /// Some of the queues are not there. What was declared here was declared again when the server told that it has lost everything: the
    /// message goes there once more.
    fn miss(mut self, session: &Session, missing: Vec<List>) {
        missing.iter().for_each(|(_, queue, _)| session.handle_missing_queue(queue));
        let flushes = session.flushes.load(Ordering::Acquire);
        if flushes == self.flushes {
            let queues = self.destination.len();
            return self.go_on(session, queues, queues > 0);
        }
        self.flushes = flushes;
        self.is_stored |= self.destination.len() > 0;
        if let Destination::Lists(lists) | Destination::Queues(lists) = &mut self.destination {
            self.reached.append(lists);
            *lists = missing;
        }
        self.submit_again(session, false);
    }

    /// Notes that `queues` more have it, and goes on to the next destination, if there is one.
    fn go_on(mut self, session: &Session, queues: usize, is_stored: bool) {
        self.is_stored |= is_stored;
        match &mut self.destination {
            Destination::Lists(lists) | Destination::Queues(lists) if self.reached.is_empty() => {
                self.reached = std::mem::take(lists);
            }
            Destination::Lists(lists) | Destination::Queues(lists) => self.reached.append(lists),
            Destination::Held(..) => self.heard += queues,
            Destination::Broadcast(exchange, _) => {
                self.heard += queues;
                if let Some(detour) = &mut self.detour {
                    detour.behind.push(exchange.clone());
                }
            }
        }
        if let Some(detour) = &mut self.detour
            && !detour.ahead.is_empty()
        {
            let next = detour.ahead.remove(0);
            self.destination = Destination::Broadcast(next, self.reached_queues());
            return self.submit_again(session, false);
        }
        if let Some(publishing) = session.check_route(self) {
            publishing.arrive(session);
        }
    }

    /// There are no more to reach.
    fn arrive(self, session: &Session) {
        let queues = self.reached.len() + self.heard;
        if queues == 0 {
            self.ticket.finish_unroutable(session);
        } else if !self.is_stored {
            self.confirm(session, queues);
        } else if let Some((publishing, queues)) = session.hold(self, queues) {
            publishing.confirm(session, queues);
        }
    }

    fn reached_queues(&self) -> Vec<ShortStr> {
        self.reached.iter().map(|(_, queue, _)| queue.clone()).collect()
    }

    fn is_somewhere(&self) -> bool {
        !self.reached.is_empty() || self.heard > 0
    }

    /// Finds where a publish goes whose routes have changed, by what was read last; returns the exchange whose table is missing.
    ///
    /// # Errors
    ///
    /// As for [`walk`].
    pub(crate) fn reroute(mut self, session: &Session, found: &Found) -> Option<(ShortStr, Self)> {
        let table = match &found.table {
            Ok(table) => Arc::clone(table),
            Err(error) => {
                self.end(session, Err(error.duplicate().with_outcome(Outcome::Unknown)));
                return None;
            }
        };
        let detour = self.detour.get_or_insert_default();
        detour.tables.push((found.exchange.clone(), table));
        match walk(&self.ticket.envelope, &detour.tables, |exchange| session.known_kind(exchange)) {
            Ok(Walked::Missing(exchange)) => Some((exchange, self)),
            Ok(Walked::Done(reached)) => {
                detour.tables.clear();
                self.reach(session, reached, found.number);
                None
            }
            Err(error) => {
                self.end(session, Err(error.with_outcome(Outcome::Unknown)));
                None
            }
        }
    }

    /// Sends it to those of `all` that do not have it, as `route` says.
    fn reach(mut self, session: &Session, all: Reached, route: Option<RouteNumber>) {
        self.route = route;
        let is_missed = |queue: &&ShortStr| !self.reached.iter().any(|(_, reached, _)| reached == *queue);
        let missed: Vec<ShortStr> = all.queues.iter().filter(is_missed).cloned().collect();
        let told = |exchange: &ShortStr| match (&self.detour, &self.destination) {
            (_, Destination::Broadcast(last, _)) if last == exchange => true,
            (Some(detour), _) => detour.behind.contains(exchange),
            (None, _) => false,
        };
        let mut ahead: Vec<ShortStr> = all.exchanges.into_iter().filter(|exchange| !told(exchange)).collect();
        if !missed.is_empty() {
            let envelope = &self.ticket.envelope;
            self.destination = Destination::Lists(lists(session, envelope, &missed)).by_policy(session, envelope);
        } else if !ahead.is_empty() {
            self.destination = Destination::Broadcast(ahead.remove(0), self.reached_queues());
        } else {
            return self.arrive(session);
        }
        self.detour.get_or_insert_default().ahead = ahead;
        self.submit_again(session, false);
    }

    /// Returns by which routes it was sent.
    pub(crate) fn route(&self) -> Option<RouteNumber> {
        self.route
    }

    /// Returns the exchange.
    pub(crate) fn exchange(&self) -> &ShortStr {
        &self.ticket.envelope.exchange
    }

    /// Ends it: `queues` queues or listeners have the message.
    pub(crate) fn confirm(self, session: &Session, queues: usize) {
        let queues = match self.destination {
            // Where it will go is found when its time has come.
            Destination::Held(..) => None,
            _ => Some(u32::try_from(queues).unwrap_or(u32::MAX)),
        };
        self.end(session, Ok(Confirmation::Confirmed { queues }));
    }

    /// Ends it with `result`.
    pub(crate) fn end(self, session: &Session, result: Result<Confirmation>) {
        self.ticket.finish(session, result);
    }

    /// Returns until when it may be answered.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ticket.deadline
    }

    /// Sends it once more, as a possible double if what had it may be gone.
    pub(crate) fn submit_again(mut self, session: &Session, is_repeated: bool) {
        self.is_repeated |= is_repeated;
        if is_repeated {
            self.start_over(session);
        }
        let Some((replies, bytes)) = self.to_bytes(session) else {
            return self.fail(session, true, &closed());
        };
        let deadline = self.ticket.deadline;
        session.expect_confirm();
        let request = Request::Publish(Box::new(self));
        if let Err(request) = session.command.submit(request, replies, deadline, |_, out| out.extend(bytes))
            && let Request::Publish(publishing) = *request
        {
            publishing.fail(session, is_repeated, &closed());
        }
    }

    /// What had it may have lost it.
    fn start_over(&mut self, session: &Session) {
        self.heard = 0;
        let mut behind = self.detour.as_mut().map(|detour| std::mem::take(&mut detour.behind)).unwrap_or_default();
        match &mut self.destination {
            Destination::Lists(lists) | Destination::Queues(lists) => lists.append(&mut self.reached),
            Destination::Held(..) => {}
            Destination::Broadcast(..) if !self.reached.is_empty() => {
                let reached = Destination::Lists(std::mem::take(&mut self.reached));
                self.destination = reached.by_policy(session, &self.ticket.envelope);
            }
            Destination::Broadcast(last, _) => {
                if !behind.is_empty() {
                    *last = behind.remove(0);
                }
            }
        }
        if let Some(detour) = &mut self.detour {
            behind.append(&mut detour.ahead);
            detour.ahead = behind;
        }
    }

    /// Ends it without an answer.
    pub(crate) fn fail(self, session: &Session, written: bool, error: &Error) {
        let may_be_there = written || self.is_repeated || self.is_somewhere();
        let outcome = if may_be_there { Outcome::Unknown } else { Outcome::NotSent };
        let error = match (error.kind(), outcome) {
            (ErrorKind::Timeout, Outcome::NotSent) => {
                let late = Error::new(ErrorKind::Timeout, "not sent in time");
                match error.context("server") {
                    Some(refusal) => late.with("server", refusal),
                    None => late,
                }
            }
            (ErrorKind::ConnectionLost, _) => {
                Error::new(ErrorKind::Timeout, "the connection was lost and no time is left")
            }
            _ => error.duplicate(),
        };
        self.ticket.finish(session, Err(error.with("broker", &session.target.label).with_outcome(outcome)));
    }

    /// Writes it once more after its answer was lost, marked as a possible double.
    pub(crate) fn write_again(&mut self, session: &Session) -> Fate {
        self.is_repeated = true;
        match self.to_bytes(session) {
            Some((replies, bytes)) => Fate::Replace(bytes, replies),
            None => Fate::Drop,
        }
    }

    /// Returns its commands anew, marked if it may be a double, and how many replies they have.
    pub(crate) fn to_bytes(&self, session: &Session) -> Option<(u32, Vec<u8>)> {
        let marked = self.is_repeated.then(|| {
            let mut envelope = (*self.ticket.envelope).clone();
            envelope.headers.table_mut().insert(REPUBLISHED, true);
            envelope
        });
        let envelope = marked.as_ref().unwrap_or(&self.ticket.envelope);
        let prepared = Prepared::new(envelope, session.options.body_encoding).ok()?;
        let mut bytes = Vec::new();
        self.destination.write(session, envelope, &prepared, &mut bytes);
        Some((self.destination.replies(session), bytes))
    }
}
