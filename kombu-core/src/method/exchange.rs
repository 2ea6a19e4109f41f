//! `exchange.*`

use crate::FieldTable;
use crate::entity::ExchangeKind;
use crate::short_str::ShortStr;

/// The arguments of `exchange.declare`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeDeclare {
    /// The exchange.
    pub exchange: ShortStr,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Only ask whether it exists.
    pub passive: bool,
    /// It survives the broker's restart.
    pub durable: bool,
    /// It goes when its last binding goes.
    pub auto_delete: bool,
    /// It takes messages from other exchanges only.
    pub internal: bool,
    /// The broker's own arguments, such as `alternate-exchange`.
    pub arguments: FieldTable,
}

/// The arguments of `exchange.delete`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExchangeDelete {
    /// The exchange.
    pub exchange: ShortStr,
    /// Refuse while it has bindings.
    pub if_unused: bool,
}

/// The arguments of `exchange.bind` and `exchange.unbind` (a RabbitMQ extension).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExchangeBind {
    /// The exchange that receives.
    pub destination: ShortStr,
    /// The exchange that sends.
    pub source: ShortStr,
    /// The binding key.
    pub routing_key: ShortStr,
    /// The binding's arguments; a headers exchange matches by them.
    pub arguments: FieldTable,
}
