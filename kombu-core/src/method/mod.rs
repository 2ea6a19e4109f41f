//! The arguments of AMQP's methods, one struct each, with AMQP's names and defaults (AMQP 0-9-1 reference).

mod basic;
mod exchange;
mod queue;

pub use basic::{BasicConsume, BasicGet, BasicPublish};
pub use exchange::{ExchangeBind, ExchangeDeclare, ExchangeDelete};
pub use queue::{QueueBind, QueueDeclare, QueueDeclared, QueueDelete};
