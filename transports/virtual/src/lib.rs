//! AMQP semantics over a plain queue store.
//!
//! Who has a store with named queues (files, a table, memory) implements [`QueueStore`], some ten methods, and gets a full
//! [`Transport`](kombu_core::Transport) with the behaviour of RabbitMQ: [`VirtualTransport`] is the connection,
//! [`VirtualBroker`] what its connections share.
//!
//! | | |
//! |---|---|
//! | routing | default, direct, topic, fanout and headers exchanges; alternates, bindings between exchanges; one copy per queue; mandatory messages come back |
//! | queues | equivalence checks by argument, passive, server-named, exclusive, auto-delete, expiring, `if_unused`, `if_empty` |
//! | messages | time to live, priorities, length limits that drop the oldest or refuse the newest, dead letters with `x-death` |
//! | settling | tags from 1, multiple, requeue to the old place, redelivered flag, count and limit, give-back on close |
//! | consumers | window per consumer and per channel, fair turns by priority, exclusive, single active, notice when the queue goes |
//! | delay | exchanges of kind `x-delayed-message` hold back messages with the header `x-delay` |
//!
//! RabbitMQ 3.10 is the model: what it answered is in the tests. Delayed delivery has the names of its delayed-message plugin, so that a
//! program that is tested here runs there. An argument that starts `x-` and that nobody here understands is refused with
//! `Unsupported`, though RabbitMQ ignores it: a mistyped one would break a promise without a word.
//!
//! [`topic`] holds the matching of topic keys alone, and [`HeaderMatch`] that of headers, for transports that route by themselves; [`policy`], [`death`] and [`delay`] hold
//! what arguments of queues mean, what dead letters carry and how long messages are held back, for those that keep queues by themselves.
#![forbid(unsafe_code)]

mod afterwards;
mod alarm;
mod arguments;
mod binding_table;
mod broker;
mod capabilities;
mod channel;
mod channel_record;
mod codec;
mod connection;
mod consumer;
pub mod death;
mod definition;
pub mod delay;
mod exchange;
mod header_match;
mod map;
mod message;
mod moment;
mod options;
pub mod policy;
mod put_off;
mod queue;
mod refusal;
mod round;
mod route;
mod sleepers;
mod slots;
mod state;
mod store;
pub mod topic;
mod transport;
mod tray;
mod turn;
mod unacked;

pub use arguments::consumer_priority;
pub use broker::VirtualBroker;
pub use capabilities::{emulated, native};
pub use definition::{BindingDefinition, ExchangeDefinition, QueueDefinition};
pub use header_match::HeaderMatch;
pub use message::QueueMessage;
pub use options::BrokerOptions;
pub use store::QueueStore;
pub use transport::VirtualTransport;
