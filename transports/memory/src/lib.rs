//! The in-memory transport of Kombu for Rust: queues of one process, with AMQP's semantics.
//!
//! URLs look like `memory://`. All connections of a process to the same host, port and path share one broker: its exchanges,
//! queues and messages stay while connections come and go, and end with the process. `memory://` is the broker everybody gets
//! who asks for nothing else; `memory://tests` and `memory:///tests` are two others. User and password are ignored, and of the options all but one:
//! `malformed_limit`, how many messages that nobody could handle are kept for each queue, default 1000 (see
//! [`BrokerOptions`](kombu_virtual::BrokerOptions)). The first connection's counts.
//!
//! It does all of AMQP as RabbitMQ does it, as `Connection::capabilities()` says: see [`kombu_virtual`]. What happens at a time
//! (expiry, delay) happens by one timer on the connection's hub.
//!
//! No socket, no thread: a message is delivered in the thread that publishes it, into the consumer's sink, before
//! `basic_publish` returns. Any number of threads may use it, also from inside callbacks.
//!
//! A program that does not use the facade crate `kombu` links it by a mention, `use kombu_memory as _;`, or calls [`register`].
#![forbid(unsafe_code)]

mod entry;
mod namespace;
mod store;

pub use entry::{ENTRY, register};
pub use namespace::broker;
pub use store::{MemoryQueue, MemoryStore};
