//! `queue.*`

use crate::FieldTable;
use crate::short_str::ShortStr;

/// The arguments of `queue.declare`.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueDeclare {
    /// The queue; empty asks the broker for a name.
    pub queue: ShortStr,
    /// Only ask whether it exists.
    pub passive: bool,
    /// It survives the broker's restart.
    pub durable: bool,
    /// Only this connection may use it, and it goes with it.
    pub exclusive: bool,
    /// It goes when its last consumer goes.
    pub auto_delete: bool,
    /// The broker's own arguments, under RabbitMQ's names and in its units (`x-expires` in milliseconds).
    pub arguments: FieldTable,
}

impl Default for QueueDeclare {
    fn default() -> Self {
        QueueDeclare {
            queue: ShortStr::default(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: FieldTable::default(),
        }
    }
}

/// What `queue.declare` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueDeclared {
    /// The queue's name; the broker's choice where none was given.
    pub queue: ShortStr,
    /// How many messages are ready for delivery.
    pub message_count: u32,
    /// How many consumers it has, where the transport knows.
    pub consumer_count: u32,
}

/// The arguments of `queue.bind` and `queue.unbind`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueBind {
    /// The queue.
    pub queue: ShortStr,
    /// The exchange.
    pub exchange: ShortStr,
    /// The binding key.
    pub routing_key: ShortStr,
    /// The binding's arguments; a headers exchange matches by them.
    pub arguments: FieldTable,
}

/// The arguments of `queue.delete`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueDelete {
    /// The queue.
    pub queue: ShortStr,
    /// Refuse while it has consumers.
    pub if_unused: bool,
    /// Refuse while it has messages.
    pub if_empty: bool,
}
