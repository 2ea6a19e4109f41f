//! One non-blocking socket to a Redis server on the hub: what goes out, what comes back, and how it is made again.
//!
//! ```text
//! any thread ── submit ──▶ Outbox (short mutex) ── flush, once per tick ──▶ Pipeline ──▶ socket
//!                                                                          ▲   │
//!                                   LinkOwner ◀── answers, in order ── Replies ◀── socket
//! ```
//!
//! `Cluster` and `Sentinels` know where the server is, `Tls` how to talk to it in secret. [`Pipeline`], [`Replies`], [`Handshake`] and [`Backoff`] know no socket and no clock; [`Link`] drives them.

mod address;
mod backoff;
mod cluster;
pub(crate) mod command;
mod extent;
mod fault;
mod find;
mod handshake;
mod inquiry;
mod link;
mod link_io;
mod pipeline;
mod replies;
mod sentinel;
mod stream;
mod target;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod unanswered;

pub(crate) use backoff::Backoff;
pub(crate) use cluster::Cluster;
pub(crate) use fault::{is_misplaced, refusal, unexpected};
pub(crate) use handshake::{Greeting, Handshake};
pub(crate) use link::{Link, LinkOwner, Role, closed};
pub(crate) use link_io::waiter_patience;
pub(crate) use pipeline::{Entry, Fate, Pipeline};
pub(crate) use replies::Replies;
pub(crate) use target::Target;
