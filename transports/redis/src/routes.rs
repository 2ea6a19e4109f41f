//! Reads of binding tables: one serves every publish that was called before it is sent.

use std::collections::HashMap;
use std::sync::Arc;

use kombu_core::{Error, Result, ShortStr};
use redis::Value;

use crate::binding::{self, Table};
use crate::channel_core::ChannelCore;
use crate::connection::{command, refusal, unexpected};
use crate::request::Request;
use crate::session::Session;

/// The reads under way.
#[derive(Default)]
pub(crate) struct Routes {
    next: u64,
    /// The newest read of each exchange, with the epoch in which it is sent.
    newest: HashMap<ShortStr, (u64, u64)>,
    /// Which channels wait for a read.
    waiting: HashMap<u64, Vec<Arc<ChannelCore>>>,
}

impl Session {
    /// Asks for the binding table of `exchange` on behalf of `channel`; returns the number of the read. A read that is not
    /// written yet is shared: it will be as fresh as one made for this call.
    pub(crate) fn read_routes(&self, exchange: &ShortStr, channel: &Arc<ChannelCore>) -> u64 {
        let mut routes = self.lock(&self.routes);
        let shared = routes.newest.get(exchange).filter(|(_, epoch)| *epoch == self.command.epoch()).map(|(id, _)| *id);
        let id = match shared {
            Some(id) => id,
            None => {
                routes.next += 1;
                let id = routes.next;
                let request = Request::Routes { exchange: exchange.clone(), id };
                let key = self.keys.binding(exchange);
                let submitted =
                    self.command.submit(request, 1, None, |_, out| command::command(out, &["SMEMBERS", &key]));
                if let Ok(epoch) = submitted {
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

    /// Sends on what waited for a table.
    pub(crate) fn handle_routes(&self, exchange: &ShortStr, id: u64, value: Value) {
        let table = match &value {
            Value::Array(members) | Value::Set(members) if members.is_empty() => Ok(self.assert_bindings(exchange)),
            Value::Array(members) | Value::Set(members) => {
                let texts = members.iter().filter_map(|member| match member {
                    Value::BulkString(text) => Some(text),
                    _ => None,
                });
                Ok(Table::parse(texts, self.keys.sep()))
            }
            Value::ServerError(error) => Err(refusal(error)),
            other => Err(unexpected("SMEMBERS", other)),
        };
        if let Ok(table) = &table
            && let Some(member) = table.malformed().first()
            && self.warnings.allows("malformed binding", self.handle.now())
        {
            tracing::warn!(%exchange, member, "a binding cannot be read and routes nothing");
        }
        self.finish_routes(exchange, id, &Arc::new(table));
    }

    /// Fails what waited for a read that has no answer.
    pub(crate) fn handle_lost_routes(&self, id: u64, error: &Error) {
        self.finish_routes(&ShortStr::default(), id, &Arc::new(Err(error.duplicate())));
    }

    fn finish_routes(&self, exchange: &ShortStr, id: u64, table: &Arc<Result<Table>>) {
        let channels = {
            let mut routes = self.lock(&self.routes);
            if routes.newest.get(exchange).is_some_and(|(newest, _)| *newest == id) {
                routes.newest.remove(exchange);
            }
            routes.waiting.remove(&id).unwrap_or_default()
        };
        for channel in channels {
            channel.handle_routes(self, id, table);
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
            members.push(binding::member(&kind, &key, &queue, self.keys.sep()));
            let (replies, bytes) = self.bind_bytes(exchange, &kind, &queue, &key);
            self.send_quietly("binding again", replies, |out| out.extend_from_slice(&bytes));
        }
        Table::parse(members, self.keys.sep())
    }
}
