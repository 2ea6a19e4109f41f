//! Bindings.

use super::Exchange;
use crate::method::ExchangeBind;
use crate::short_str::ShortStr;
use crate::{FieldTable, Value};

/// A link from an exchange to a queue (AMQP 0-9-1 §3.1.3): the exchange, the binding key, and arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    exchange: Exchange,
    routing_key: ShortStr,
    arguments: FieldTable,
}

impl Binding {
    /// Makes a binding to `exchange` with binding key `routing_key`.
    pub fn new(exchange: &Exchange, routing_key: impl Into<ShortStr>) -> Self {
        Binding { exchange: exchange.clone(), routing_key: routing_key.into(), arguments: FieldTable::default() }
    }

    /// Adds an argument; a headers exchange matches by them.
    #[must_use]
    pub fn argument(mut self, name: impl Into<ShortStr>, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }

    /// Returns the exchange.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Returns the binding key.
    pub fn routing_key(&self) -> &ShortStr {
        &self.routing_key
    }

    /// Returns the arguments.
    pub fn arguments(&self) -> &FieldTable {
        &self.arguments
    }

    /// Returns the arguments of the `exchange.bind` that makes it lead to the exchange `destination`.
    pub(crate) fn to_exchange_method(&self, destination: &ShortStr) -> ExchangeBind {
        ExchangeBind {
            destination: destination.clone(),
            source: self.exchange.name().clone(),
            routing_key: self.routing_key.clone(),
            arguments: self.arguments.clone(),
        }
    }
}
