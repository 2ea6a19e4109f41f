//! Publishing: pipelined, in the order of the calls, answered when Redis has answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kombu_core::method::BasicPublish;
use kombu_core::reply::{self, ReplySender};
use kombu_core::{
    Confirm, Confirmation, Envelope, Error, ErrorKind, ExchangeKind, Outcome, Result, Returned, ShortStr,
};
use kombu_virtual::delay;
use redis::Value;

use crate::binding::{Reached, Table, Undeclared, Walked, walk};
use crate::channel_core::ChannelCore;
use crate::connection::{Fate, closed, command, refusal, unexpected};
use crate::envelope::{Prepared, list_priority};
use crate::push::ttl_of;
use crate::request::Request;
use crate::route_cache::RouteNumber;
use crate::routes::Found;
use crate::scripts::Broadcast;
use crate::session::Session;

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

/// The tables of exchanges a message goes through.
type Tables = Vec<(ShortStr, Arc<Table>)>;

/// A list that gets a message, its queue, and the queue's `x-expires`.
type List = (String, ShortStr, Option<u64>);

/// Where a message goes, and by which routes.
struct Way {
    destination: Destination,
    /// The fanout exchanges it goes to after that.
    ahead: Vec<ShortStr>,
    route: Option<RouteNumber>,
}

/// What is known of where a message goes.
enum Routed {
    /// There.
    To(Way),
    /// Nowhere.
    Nowhere,
    /// The table of this exchange has to be read.
    Missing(ShortStr),
}

/// Where a message goes.
enum Destination {
    /// Into one list per queue.
    Lists(Vec<List>),
    /// Into these by script: one of the queues has a policy, or the message expires.
    Queues(Vec<List>),
    /// Held back for so long, under this id.
    Held(Duration, String),
    /// To whoever listens to a fanout exchange, and to its stored queues.
    Broadcast(ShortStr),
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
        let size = prepared.len(TAG_LENGTH);
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
        match route {
            Some(way) if waiting.is_empty() => submit(session, ticket, way, &prepared),
            Some(_) => {
                self.note_deadline(ticket.deadline);
                waiting.push_back(Unrouted { ticket, prepared, state: Routing::Turn, tables: Vec::new() });
            }
            None => {
                self.note_deadline(ticket.deadline);
                let read = session.read_routes(&ticket.envelope.exchange, self);
                waiting.push_back(Unrouted { ticket, prepared, state: Routing::Read(read), tables: Vec::new() });
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
            let Unrouted { ticket, state, tables, .. } = first;
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

/// Returns where a message goes if that is known without asking the server.
fn route_now(session: &Session, envelope: &Envelope) -> Option<Way> {
    let way = |destination, route| Some(Way { destination, ahead: Vec::new(), route });
    if envelope.exchange.is_empty() {
        let queues = std::slice::from_ref(&envelope.routing_key);
        return way(Destination::Lists(lists(session, envelope, queues)), None);
    }
    if let Some(delay) = session.delay_of(envelope) {
        return way(Destination::Held(delay, uuid::Uuid::new_v4().to_string()), None);
    }
    let mut cache = session.lock(&session.route_cache);
    let kind = session.known_kind(&envelope.exchange).or_else(|| cache.table(&envelope.exchange)?.1.kind());
    if kind == Some(ExchangeKind::Fanout) {
        let number = cache.vouches_for(&envelope.exchange)?;
        return way(Destination::Broadcast(envelope.exchange.clone()), Some(number));
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
fn route_by(session: &Session, envelope: &Envelope, found: &Found, tables: &mut Tables) -> Result<Routed> {
    let table = found.table.as_ref().map_err(Error::duplicate)?;
    if found.exchange == envelope.exchange
        && table.is_delayed()
        && let Some(delay) = delay::asked(&envelope.headers)
    {
        let destination = Destination::Held(delay, uuid::Uuid::new_v4().to_string());
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
        let destination = Destination::Broadcast(ahead.remove(0));
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

fn lists(session: &Session, envelope: &Envelope, queues: &[ShortStr]) -> Vec<List> {
    let priority = list_priority(envelope);
    let list =
        |queue: &ShortStr| (session.keys.list_for(queue, priority), queue.clone(), session.topology.expires(queue));
    queues.iter().map(list).collect()
}

fn submit(session: &Session, ticket: Ticket, Way { destination, ahead, route }: Way, prepared: &Prepared) {
    let destination = destination.by_policy(session, &ticket.envelope);
    let detour = (!ahead.is_empty()).then(|| Box::new(Detour { ahead, ..Detour::default() }));
    let (reached, heard, is_stored) = (Vec::new(), 0, false);
    Publishing { ticket, destination, route, reached, heard, is_stored, detour, is_repeated: false }
        .submit(session, prepared);
}

impl Destination {
    /// Goes by script where lists alone will not do.
    fn by_policy(self, session: &Session, envelope: &Envelope) -> Self {
        match self {
            Destination::Lists(lists) if session.needs_push(envelope, lists.iter().map(|(_, queue, _)| queue)) => {
                Destination::Queues(lists)
            }
            other => other,
        }
    }

    /// Says whether the commands make one transaction.
    fn is_transaction(&self, session: &Session) -> bool {
        match self {
            // A registry is asked by script.
            Destination::Lists(_) if session.has_registry() => false,
            Destination::Lists(lists) => lists.len() != 1 || lists.iter().any(|(_, _, expires)| expires.is_some()),
            Destination::Queues(_) | Destination::Held(..) | Destination::Broadcast(_) => false,
        }
    }

    fn replies(&self, session: &Session) -> u32 {
        match self {
            Destination::Lists(lists) if self.is_transaction(session) => {
                let steps = session.keys.steps().len();
                let commands: usize = lists.iter().map(|(_, _, expires)| 1 + expires.map_or(0, |_| steps)).sum();
                u32::try_from(commands + 2).unwrap_or(u32::MAX)
            }
            _ => 1,
        }
    }

    fn write(&self, session: &Session, envelope: &Envelope, prepared: &Prepared, out: &mut Vec<u8>) {
        let is_transaction = self.is_transaction(session);
        out.reserve(prepared.len(TAG_LENGTH) + 128);
        if is_transaction {
            command::command(out, &["MULTI"]);
        }
        let copy = |out: &mut Vec<u8>| {
            let mut text = [0; TAG_LENGTH];
            let tag: &str = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
            command::word_of(out, prepared.len(TAG_LENGTH), |out| prepared.write(tag, out));
        };
        match self {
            Destination::Broadcast(exchange) => {
                let routing_key = &envelope.routing_key;
                let priority = list_priority(envelope);
                Broadcast { keys: &session.keys, exchange, routing_key, priority, letter: None, ttl: ttl_of(envelope) }
                    .write(out, copy);
            }
            Destination::Queues(queues) => {
                let queues = queues.iter().map(|(_, queue, expires)| (queue, *expires));
                session.write_push(envelope, prepared, queues, out);
            }
            Destination::Held(delay, id) => session.write_held(envelope, id, *delay, out),
            Destination::Lists(lists) if session.has_registry() => {
                session.write_publish(lists.iter().map(|(list, queue, _)| (queue.as_str(), list.as_str())), out, copy);
            }
            Destination::Lists(lists) => {
                for (list, queue, expires) in lists {
                    command::head(out, 3);
                    command::word(out, "LPUSH");
                    command::word(out, list);
                    copy(out);
                    let Some(expires) = expires else { continue };
                    for list in session.keys.lists(queue) {
                        command::command(out, &["PEXPIRE", &list, &expires.to_string()]);
                    }
                }
            }
        }
        if is_transaction {
            command::command(out, &["EXEC"]);
        }
    }
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
        if session.has_registry()
            && let (Destination::Lists(lists), Value::Array(found)) = (&mut self.destination, &value)
        {
            // The others are not there.
            let mut found = found.iter();
            lists.retain(|_| found.next() == Some(&Value::Int(1)));
        }
        let mut is_stored = !matches!(self.destination, Destination::Broadcast(_));
        let pushed = match &self.destination {
            Destination::Held(..) => Some(session.pushed(&value, &[])),
            Destination::Queues(queues) => {
                let queues: Vec<ShortStr> = queues.iter().map(|(_, queue, _)| queue.clone()).collect();
                Some(session.pushed(&value, &queues))
            }
            Destination::Lists(_) | Destination::Broadcast(_) => None,
        };
        let queues = match (&self.destination, &value) {
            (Destination::Held(..), _) => pushed.unwrap_or(Ok(1)).map(|_| 1),
            (Destination::Queues(_), _) => pushed.unwrap_or(Ok(0)),
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
            (Destination::Broadcast(_), Value::Array(counts)) => match counts.as_slice() {
                [Value::Int(receivers), Value::Int(stored), Value::Int(due)] => {
                    is_stored = *stored > 0;
                    if *due > 0 {
                        session.expect(session.server_time());
                    }
                    // Who listens and has a queue that is stored counts once.
                    Ok(usize::try_from((*receivers).max(*stored)).unwrap_or(0))
                }
                _ => Err(unexpected("publish", &value).with_outcome(Outcome::Unknown)),
            },
            (_, other) => Err(unexpected("publish", other).with_outcome(Outcome::Unknown)),
        };
        match queues {
            Ok(queues) => self.go_on(session, queues, is_stored),
            // Where it is already it stays.
            Err(error) if self.is_somewhere() => self.end(session, Err(error.with_outcome(Outcome::Unknown))),
            Err(error) => self.end(session, Err(error)),
        }
    }

    /// Notes that `queues` more have it, and goes on to the next destination, if there is one.
    fn go_on(mut self, session: &Session, queues: usize, is_stored: bool) {
        self.is_stored |= is_stored;
        match &mut self.destination {
            Destination::Lists(lists) | Destination::Queues(lists) => self.reached.append(lists),
            Destination::Held(..) => self.heard += queues,
            Destination::Broadcast(exchange) => {
                self.heard += queues;
                if let Some(detour) = &mut self.detour {
                    detour.behind.push(exchange.clone());
                }
            }
        }
        if let Some(detour) = &mut self.detour
            && !detour.ahead.is_empty()
        {
            self.destination = Destination::Broadcast(detour.ahead.remove(0));
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
            (_, Destination::Broadcast(last)) if last == exchange => true,
            (Some(detour), _) => detour.behind.contains(exchange),
            (None, _) => false,
        };
        let mut ahead: Vec<ShortStr> = all.exchanges.into_iter().filter(|exchange| !told(exchange)).collect();
        if !missed.is_empty() {
            let envelope = &self.ticket.envelope;
            self.destination = Destination::Lists(lists(session, envelope, &missed)).by_policy(session, envelope);
        } else if !ahead.is_empty() {
            self.destination = Destination::Broadcast(ahead.remove(0));
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
            Destination::Broadcast(_) if !self.reached.is_empty() => {
                let reached = Destination::Lists(std::mem::take(&mut self.reached));
                self.destination = reached.by_policy(session, &self.ticket.envelope);
            }
            Destination::Broadcast(last) => {
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

const TAG_LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;
const NO_ROUTE: u16 = 312;
