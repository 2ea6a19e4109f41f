//! Reads of binding tables: one serves every publish that was called before it is sent.
//!
//! What is read is [kept](crate::route_cache) where the server tells when it changes.

use std::collections::HashMap;
use std::sync::Arc;

use kombu_core::{Error, ExchangeKind, Result, ShortStr};
use redis::Value;

use crate::binding::{self, Record, Table};
use crate::channel_core::ChannelCore;
use crate::connection::{closed, command, refusal, unexpected};
use crate::declare::stored_entry;
use crate::definition::pairs;
use crate::request::Request;
use crate::route_cache::RouteNumber;
use crate::session::Session;
use crate::topology::Changes;

/// The reads under way.
#[derive(Default)]
pub(crate) struct Routes {
    next: u64,
    /// The newest read of each exchange, with the epoch in which it is sent.
    newest: HashMap<ShortStr, (u64, u64)>,
    /// Which channels wait for a read.
    waiting: HashMap<u64, Vec<Arc<ChannelCore>>>,
}

/// One read of an exchange's routes.
pub(crate) struct Reading {
    pub(crate) exchange: ShortStr,
    /// Whether the server is asked to tell when they change.
    is_tracked: bool,
    /// Those the process had made when it was sent.
    changes: Changes,
}

/// What was read.
pub(crate) struct Found {
    pub(crate) exchange: ShortStr,
    pub(crate) table: Result<Arc<Table>>,
    /// What it is kept as.
    pub(crate) number: Option<RouteNumber>,
}

impl Reading {
    /// Prepares a read of the routes of `exchange`.
    pub(crate) fn new(session: &Session, exchange: &ShortStr) -> Self {
        let is_tracked = session.lock(&session.route_cache).is_tracking();
        Reading { exchange: exchange.clone(), is_tracked, changes: session.topology.changes(exchange) }
    }

    /// Prepares a read that is not kept.
    fn once(session: &Session, exchange: &ShortStr) -> Self {
        Reading { exchange: exchange.clone(), is_tracked: false, changes: session.topology.changes(exchange) }
    }

    /// Returns how many replies it has.
    pub(crate) fn replies(&self) -> u32 {
        if self.is_tracked { 5 } else { 4 }
    }

    /// Writes it.
    pub(crate) fn write(&self, session: &Session, out: &mut Vec<u8>) {
        if self.is_tracked {
            command::command(out, &["CLIENT", "CACHING", "YES"]);
        }
        command::command(out, &["MULTI"]);
        command::command(out, &["SMEMBERS", &session.keys.binding(&self.exchange)]);
        command::command(out, &["HGETALL", &session.keys.exchange_definition(&self.exchange)]);
        command::command(out, &["EXEC"]);
    }

    /// Uses the answer; `None` when the server does not let itself be asked to tell: without that it is to be read again.
    pub(crate) fn handle_answer(self, session: &Session, value: &Value) -> Option<Found> {
        let Reading { exchange, is_tracked, changes } = self;
        if is_tracked && is_about_caching(value) {
            session.lock(&session.route_cache).set_tracking(false);
            return None;
        }
        let failed = |error| Some(Found { exchange: exchange.clone(), table: Err(error), number: None });
        let (members, record) = match value {
            Value::Array(answers) => match &answers[..] {
                [Value::ServerError(error), _] | [_, Value::ServerError(error)] => return failed(refusal(error)),
                [Value::Array(members) | Value::Set(members), record] => (members, record),
                _ => return failed(unexpected("EXEC", value)),
            },
            Value::ServerError(error) => return failed(refusal(error)),
            other => return failed(unexpected("EXEC", other)),
        };
        let table = match members.is_empty() && !session.has_registry() {
            true => session.assert_bindings(&exchange),
            false => {
                let texts = members.iter().filter_map(|member| match member {
                    Value::BulkString(text) => Some(text),
                    _ => None,
                });
                Table::parse(texts, session.keys.sep())
            }
        };
        let mut fields = pairs(record);
        if fields.is_empty() && !session.has_registry() {
            fields = session.assert_record(&exchange);
        }
        let table = table.with_record(Record::parse(&fields));
        if let Some(member) = table.malformed().first()
            && session.warnings.allows("malformed binding", session.handle.now())
        {
            tracing::warn!(%exchange, member, "a binding cannot be read and routes nothing");
        }
        let table = Arc::new(table);
        let keys = vec![session.keys.binding(&exchange).into(), session.keys.exchange_definition(&exchange).into()];
        // What leads on to other exchanges is read with theirs, for each message.
        let kept = is_tracked && !table.is_empty() && !table.is_special();
        let number =
            kept.then(|| session.lock(&session.route_cache).keep(&exchange, keys, Arc::clone(&table), changes));
        Some(Found { exchange, table: Ok(table), number: number.flatten() })
    }
}

/// Says whether what was refused is to be told of changes, not the read itself.
fn is_about_caching(value: &Value) -> bool {
    let Value::ServerError(error) = value else { return false };
    error.details().is_some_and(|details| details.to_ascii_lowercase().contains("caching"))
}

impl Session {
    /// Asks for the routes of `exchange` on behalf of `channel`; returns the number of the read. A read that is not
    /// written yet is shared: it will be as fresh as one made for this call.
    pub(crate) fn read_routes(&self, exchange: &ShortStr, channel: &Arc<ChannelCore>) -> u64 {
        let mut routes = self.lock(&self.routes);
        let shared = routes.newest.get(exchange).filter(|(_, epoch)| *epoch == self.command.epoch()).map(|(id, _)| *id);
        let id = match shared {
            Some(id) => id,
            None => {
                routes.next += 1;
                let id = routes.next;
                if let Some(epoch) = self.submit_reading(Reading::new(self, exchange), id) {
                    routes.newest.insert(exchange.clone(), (id, epoch));
                }
                id
            }
        };
        let waiting = routes.waiting.entry(id).or_default();
        if !waiting.iter().any(|other| Arc::ptr_eq(other, channel)) {
            waiting.push(Arc::clone(channel));
        }
        id
    }

    /// Returns what the server knows now of where an exchange leads.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub(crate) async fn read_table(&self, exchange: &ShortStr) -> Result<Arc<Table>> {
        let reading = Reading::once(self, exchange);
        let answer = self.call(reading.replies(), |out| reading.write(self, out)).await?;
        let found = reading.handle_answer(self, &answer);
        found.map_or_else(|| Err(closed()), |found| found.table)
    }

    fn submit_reading(&self, reading: Reading, id: u64) -> Option<u64> {
        let replies = reading.replies();
        let request = Request::Routes { reading: Box::new(reading), id };
        let write = |request: &Request, out: &mut Vec<u8>| {
            if let Request::Routes { reading, .. } = request {
                reading.write(self, out);
            }
        };
        self.command.submit(request, replies, None, write).ok()
    }

    /// Sends on what waited for a table.
    pub(crate) fn handle_routes(&self, reading: Reading, id: u64, value: &Value) {
        let exchange = reading.exchange.clone();
        match reading.handle_answer(self, value) {
            Some(found) => self.finish_routes(&exchange, id, &Arc::new(found)),
            None => {
                if self.submit_reading(Reading::new(self, &exchange), id).is_none() {
                    self.handle_lost_routes(id, &closed());
                }
                self.touch();
            }
        }
    }

    /// Fails what waited for a read that has no answer.
    pub(crate) fn handle_lost_routes(&self, id: u64, error: &Error) {
        let found = Found { exchange: ShortStr::default(), table: Err(error.duplicate()), number: None };
        self.finish_routes(&ShortStr::default(), id, &Arc::new(found));
    }

    fn finish_routes(&self, exchange: &ShortStr, id: u64, found: &Arc<Found>) {
        let channels = {
            let mut routes = self.lock(&self.routes);
            if routes.newest.get(exchange).is_some_and(|(newest, _)| *newest == id) {
                routes.newest.remove(exchange);
            }
            routes.waiting.remove(&id).unwrap_or_default()
        };
        for channel in channels {
            channel.handle_routes(self, id, found);
        }
        self.touch();
    }

    /// The broker has no bindings of `exchange`: those this process made are made again, as after a flush, and returned.
    fn assert_bindings(&self, exchange: &ShortStr) -> Table {
        let bindings = self.topology.bindings_of(exchange);
        if bindings.is_empty() {
            return Table::default();
        }
        tracing::info!(%exchange, "the broker has lost the bindings of the exchange; they are made again");
        let kind = self.topology.exchange_kind(exchange).unwrap_or_default();
        let mut members = Vec::new();
        for (queue, key) in bindings {
            let member = binding::member(&kind, &key, &queue, self.keys.sep());
            let script = match self.has_registry() {
                true => self.bind_again(exchange, &member, &queue).ok(),
                false => self.bind_script(exchange, &kind, &queue, &key),
            };
            members.push(member);
            match script {
                Some(script) => self.run_quietly("binding again", &script),
                None => {
                    let (replies, bytes) = self.bind_bytes(exchange, &kind, &queue, &key);
                    self.send_quietly("binding again", replies, |out| out.extend_from_slice(&bytes));
                }
            }
            if kind == ExchangeKind::Fanout && self.is_stored(&queue) {
                let (stored, member) = (self.keys.stored(exchange), self.keys.stored_member(&queue, &key));
                self.send_quietly("binding again", 1, |out| command::command(out, &["SADD", &stored, &member]));
                let led = self.has_registry().then(|| stored_entry(exchange, &member).ok()).flatten();
                if let Some(entry) = led {
                    let led = self.keys.bound_queue(&queue);
                    self.send_quietly("binding again", 1, |out| command::command(out, &["SADD", &led, &entry]));
                }
            }
        }
        Table::parse(members, self.keys.sep())
    }

    /// The server has lost what this process has declared: all of it is made again. Where another process has done so already its tables
    /// are not empty, and nobody would notice that ours are missing.
    pub(crate) fn assert_all_bindings(&self) {
        if let Some(me) = self.me() {
            if !self.lock(&self.exclusive).is_empty() {
                // Whose they are has to be known.
                self.register_anew();
            }
            me.assert_definitions();
        }
        for exchange in self.topology.bound_exchanges() {
            self.assert_bindings(&exchange);
            self.assert_record(&exchange);
        }
    }
}
