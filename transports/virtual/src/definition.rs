//! What a declaration says about an exchange, a queue or a binding.

use kombu_core::method::{ExchangeDeclare, QueueBind, QueueDeclare};
use kombu_core::{ExchangeKind, FieldTable, ShortStr};

/// What `queue.declare` said about a queue. Declaring it again must say the same.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueDefinition {
    /// It survives the broker's restart.
    pub durable: bool,
    /// Only the connection that declared it may use it, and it goes with it.
    pub exclusive: bool,
    /// It goes when its last consumer goes.
    pub auto_delete: bool,
    /// The other arguments.
    pub arguments: FieldTable,
}

impl QueueDefinition {
    /// Returns the definition of a queue that was found in the store, of which nothing but the name is known.
    pub(crate) fn of_stored() -> Self {
        QueueDefinition { durable: true, ..QueueDefinition::default() }
    }

    /// Returns the first property in which two definitions differ.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            ("durable", self.durable == other.durable),
            ("exclusive", self.exclusive == other.exclusive),
            ("auto_delete", self.auto_delete == other.auto_delete),
            ("arguments", self.arguments == other.arguments),
        ]
        .into_iter()
        .find_map(|(name, same)| (!same).then_some(name))
    }
}

impl From<QueueDeclare> for QueueDefinition {
    fn from(method: QueueDeclare) -> Self {
        QueueDefinition {
            durable: method.durable,
            exclusive: method.exclusive,
            auto_delete: method.auto_delete,
            arguments: method.arguments,
        }
    }
}

/// What `exchange.declare` said about an exchange.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExchangeDefinition {
    pub(crate) kind: ExchangeKind,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: FieldTable,
}

impl ExchangeDefinition {
    /// Returns the definition of an exchange every broker has.
    pub(crate) fn built_in(kind: ExchangeKind) -> Self {
        ExchangeDefinition {
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::default(),
        }
    }

    /// Returns the first property in which two definitions differ.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            ("type", self.kind == other.kind),
            ("durable", self.durable == other.durable),
            ("auto_delete", self.auto_delete == other.auto_delete),
            ("internal", self.internal == other.internal),
            ("arguments", self.arguments == other.arguments),
        ]
        .into_iter()
        .find_map(|(name, same)| (!same).then_some(name))
    }
}

impl From<ExchangeDeclare> for ExchangeDefinition {
    fn from(method: ExchangeDeclare) -> Self {
        ExchangeDefinition {
            kind: method.kind,
            durable: method.durable,
            auto_delete: method.auto_delete,
            internal: method.internal,
            arguments: method.arguments,
        }
    }
}

/// What `queue.bind` said about a binding.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct BindingDefinition {
    /// The exchange.
    pub exchange: ShortStr,
    /// The queue.
    pub queue: ShortStr,
    /// The binding key.
    pub routing_key: ShortStr,
    /// The arguments.
    pub arguments: FieldTable,
}

impl BindingDefinition {
    /// Makes a binding without arguments.
    pub fn new(exchange: ShortStr, queue: ShortStr, routing_key: ShortStr) -> Self {
        BindingDefinition { exchange, queue, routing_key, arguments: FieldTable::default() }
    }
}

impl From<QueueBind> for BindingDefinition {
    fn from(method: QueueBind) -> Self {
        BindingDefinition {
            exchange: method.exchange,
            queue: method.queue,
            routing_key: method.routing_key,
            arguments: method.arguments,
        }
    }
}
