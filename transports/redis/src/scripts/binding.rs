//! What leads where.

use kombu_core::Result;
use kombu_core::serialization::json;
use redis::Cmd;

use super::script;
use crate::keys::Keys;

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Led<'a> {
    /// A queue.
    Queue(&'a str),
    /// An exchange.
    Exchange(&'a str),
}

/// Binds a queue or an exchange to an exchange; the answer is 0 when the exchange, -1 when the destination is not known.
#[derive(Debug)]
pub(crate) struct Bind<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The exchange.
    pub(crate) exchange: &'a str,
    /// What is bound.
    pub(crate) to: Led<'a>,
    /// The field of the exchange's hash, or the member of its tables.
    pub(crate) text: &'a str,
    /// Whether both must be known.
    pub(crate) is_checked: bool,
}

/// Ends bindings of a queue or an exchange to an exchange.
#[derive(Debug)]
pub(crate) struct Unbind<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The exchange.
    pub(crate) exchange: &'a str,
    /// What is bound.
    pub(crate) to: Led<'a>,
    /// The fields of the exchange's hash, or the members of its tables.
    pub(crate) texts: &'a [String],
}

/// Deletes an exchange with its bindings; the answer is -1 when it has some and is kept.
#[derive(Debug)]
pub(crate) struct DeleteExchange<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The exchange.
    pub(crate) exchange: &'a str,
    /// Whether it is kept while it has bindings.
    pub(crate) if_unused: bool,
}

impl Bind<'_> {
    /// Returns the command.
    ///
    /// # Errors
    ///
    /// `Encode`, never for text.
    pub(crate) fn command(&self) -> Result<Cmd> {
        let Bind { keys, exchange, to, text, is_checked } = *self;
        let mut command = script("bind").evalsha(5);
        command
            .arg(keys.exchange_definition(exchange))
            .arg(keys.binding(exchange))
            .arg(keys.binding_permanent(exchange));
        command.arg(to.list(keys)).arg(match to {
            Led::Queue(queue) => keys.queue_definition(queue),
            Led::Exchange(exchange) => keys.exchange_definition(exchange),
        });
        command.arg(keys.prefix()).arg(exchange).arg(text).arg(entry(exchange, text)?);
        command.arg(if is_checked { "r" } else { "" });
        Ok(command)
    }
}

impl Unbind<'_> {
    /// Returns the command.
    ///
    /// # Errors
    ///
    /// `Encode`, never for text.
    pub(crate) fn command(&self) -> Result<Cmd> {
        let mut command = script("unbind").evalsha(1);
        command.arg(self.to.list(self.keys)).arg(self.keys.prefix()).arg(self.exchange);
        for text in self.texts {
            command.arg(text).arg(entry(self.exchange, text)?);
        }
        Ok(command)
    }
}

impl DeleteExchange<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("delete_exchange").evalsha(1);
        command.arg(self.keys.exchange_definition(self.exchange)).arg(self.keys.prefix()).arg(self.exchange);
        command.arg(if self.if_unused { "u" } else { "" });
        command
    }
}

impl Led<'_> {
    fn list(self, keys: &Keys) -> String {
        match self {
            Led::Queue(queue) => keys.bound_queue(queue),
            Led::Exchange(exchange) => keys.bound_exchange(exchange),
        }
    }
}

/// Returns how a destination notes what leads to it.
fn entry(exchange: &str, text: &str) -> Result<Vec<u8>> {
    json::to_vec(&(exchange, text))
}
