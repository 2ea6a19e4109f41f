//! The Redis transport of Kombu for Rust: AMQP's words over Redis lists, sets and channels, wire-compatible with Python Kombu
//! 5.7.
//!
//! A program that links this crate (`use kombu_redis as _;`) can open `redis://` and `redis+socket://` URLs. Python programs
//! that use Kombu or Celery read what it writes, and the reverse.
//!
//! # How it works
//!
//! ```text
//! RedisTransport ── Session ─┬─ command socket: everything, pipelined, flushed once per tick
//!                            ├─ MultiChannelPoller ─┬─ waiter socket: BRPOP while every list is empty
//!                            │                      └─ listener socket: PSUBSCRIBE
//!                            └─ ChannelCore … : consumers, unsettled deliveries, publishes that wait for routes
//! ```
//!
//! While messages flow they are claimed by script, up to 256 at once, popped and recorded as unacknowledged in one step; the
//! settles of a tick are one command. A lost socket is made again without anybody noticing but the log: deliveries and their
//! tags stay valid, requests that were under way are repeated as far as repeating is safe.
#![forbid(unsafe_code)]

mod active_queue;
mod answers;
mod backlog;
mod binding;
mod brpop;
mod channel;
mod channel_core;
mod connection;
mod consumer;
mod declare;
mod deliver;
mod envelope;
mod glob;
mod keys;
mod listen;
mod log_limit;
mod malformed;
mod multi_channel_poller;
mod options;
mod publish;
mod request;
mod restore;
mod routes;
mod scripts;
mod session;
mod settle;
mod sweep;
mod take;
mod topology;
mod transport;
mod unacked;
#[cfg(test)]
#[path = "../tests/wire/mod.rs"]
mod wire;

pub use transport::register;
