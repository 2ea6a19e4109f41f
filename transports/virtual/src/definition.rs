//! What a declaration says about an exchange, a queue or a binding.

use kombu_core::method::{ExchangeBind, ExchangeDeclare, QueueBind, QueueDeclare};
use kombu_core::{ExchangeKind, FieldTable, ShortStr};

use crate::policy;

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

    /// Returns the first property or argument in which two definitions differ, `exclusive` before all others. Arguments that nobody
    /// acts upon may differ, as in RabbitMQ.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let properties = [
            ("exclusive", self.exclusive == other.exclusive),
            ("durable", self.durable == other.durable),
            ("auto_delete", self.auto_delete == other.auto_delete),
        ];
        let value = |definition: &Self, name| match definition.arguments.get(name) {
            // The type every queue has that says nothing else.
            Some(value) if name == "x-queue-type" && value.as_str() == Some("classic") => None,
            value => value.cloned(),
        };
        let differs = |name: &&'static str| value(self, name) != value(other, name);
        properties
            .into_iter()
            .find_map(|(name, same)| (!same).then_some(name))
            .or_else(|| policy::COMPARED.into_iter().find(differs))
    }
}

impl From<QueueDeclare> for QueueDefinition {
    fn from(method: QueueDeclare) -> Self {
        QueueDefinition {
            // What goes with its connection outlives no restart, as RabbitMQ sees it too.
            durable: method.durable && !method.exclusive,
            exclusive: method.exclusive,
            auto_delete: method.auto_delete,
            arguments: method.arguments,
        }
    }
}

/// What `exchange.declare` said about an exchange. Declaring it again must say the same.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExchangeDefinition {
    /// How it routes.
    pub kind: ExchangeKind,
    /// It survives the broker's restart.
    pub durable: bool,
    /// It goes when its last binding goes.
    pub auto_delete: bool,
    /// It takes messages from other exchanges only.
    pub internal: bool,
    /// The other arguments.
    pub arguments: FieldTable,
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

    /// Returns the first property or argument in which two definitions differ. Arguments that nobody acts upon may differ.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let same = |name: &str| self.arguments.get(name) == other.arguments.get(name);
        [
            ("type", self.kind == other.kind),
            ("durable", self.durable == other.durable),
            ("auto_delete", self.auto_delete == other.auto_delete),
            ("internal", self.internal == other.internal),
            ("alternate-exchange", same("alternate-exchange")),
            ("x-delayed-type", same("x-delayed-type")),
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

/// What `queue.bind` or `exchange.bind` said about a binding.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct BindingDefinition {
    /// The exchange.
    pub exchange: ShortStr,
    /// The queue, or the exchange, it leads to.
    pub destination: ShortStr,
    /// Whether it leads to an exchange.
    pub to_exchange: bool,
    /// The binding key.
    pub routing_key: ShortStr,
    /// The arguments.
    pub arguments: FieldTable,
}

impl BindingDefinition {
    /// Makes a binding to a queue without arguments.
    pub fn new(exchange: ShortStr, queue: ShortStr, routing_key: ShortStr) -> Self {
        let arguments = FieldTable::default();
        BindingDefinition { exchange, destination: queue, to_exchange: false, routing_key, arguments }
    }
}

impl From<QueueBind> for BindingDefinition {
    fn from(method: QueueBind) -> Self {
        let QueueBind { queue, exchange, routing_key, arguments } = method;
        BindingDefinition { exchange, destination: queue, to_exchange: false, routing_key, arguments }
    }
}

impl From<ExchangeBind> for BindingDefinition {
    fn from(method: ExchangeBind) -> Self {
        let ExchangeBind { destination, source, routing_key, arguments } = method;
        BindingDefinition { exchange: source, destination, to_exchange: true, routing_key, arguments }
    }
}
