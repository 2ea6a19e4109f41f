//! AMQP semantics over a plain queue store.
//!
//! Who has a store with named queues (files, a table, memory) implements [`QueueStore`], some ten methods, and gets a full
//! [`Transport`](kombu_core::Transport) with the behaviour of RabbitMQ: [`VirtualTransport`] is the connection,
//! [`VirtualBroker`] what its connections share.
//!
//! | | |
//! |---|---|
//! | routing | default, direct, topic and fanout exchanges; one copy per queue; mandatory messages come back |
//! | queues | equivalence checks, passive, server-named, exclusive, auto-delete, `if_unused`, `if_empty` |
//! | settling | tags from 1, multiple, requeue to the old place, redelivered flag and count, give-back on close |
//! | consumers | window per consumer and per channel, fair turns, exclusive, notice when the queue goes |
//!
//! What is not there yet (time to live, length limits, dead letters, priorities, delay, headers exchange, bindings between
//! exchanges) is refused with `Unsupported`, by the name of the argument that asks for it; see [`emulated`].
//!
//! [`topic`] holds the matching of topic keys alone, for transports that route by themselves.
#![forbid(unsafe_code)]

mod afterwards;
mod arguments;
mod binding_table;
mod broker;
mod capabilities;
mod channel;
mod channel_record;
mod connection;
mod consumer;
mod definition;
mod exchange;
mod map;
mod message;
mod queue;
mod refusal;
mod round;
mod route;
mod slots;
mod state;
mod store;
pub mod topic;
mod transport;
mod turn;
mod unacked;

pub use broker::VirtualBroker;
pub use capabilities::{emulated, native};
pub use definition::{BindingDefinition, QueueDefinition};
pub use message::QueueMessage;
pub use store::QueueStore;
pub use transport::VirtualTransport;
