//! One non-blocking socket to a Redis server on the hub: what goes out, what comes back, and how it is made again.
//!
//! ```text
//! any thread ── submit ──▶ Outbox (short mutex) ── flush, once per tick ──▶ Pipeline ──▶ socket
//!                                                                          ▲   │
//!                                   LinkOwner ◀── answers, in order ── Replies ◀── socket
//! ```
//!
//! [`Pipeline`], [`Replies`], [`Handshake`] and [`Backoff`] know no socket and no clock; [`Link`] drives them.

mod address;
mod backoff;
pub(crate) mod command;
mod fault;
mod handshake;
mod link;
mod link_io;
mod pipeline;
mod replies;
mod stream;
mod target;

pub(crate) use backoff::Backoff;
pub(crate) use fault::{refusal, unexpected};
pub(crate) use handshake::{Greeting, Handshake};
pub(crate) use link::{Link, LinkOwner, Role, closed};
pub(crate) use link_io::waiter_patience;
pub(crate) use pipeline::{Entry, Fate, Pipeline};
pub(crate) use replies::Replies;
pub(crate) use target::Target;
