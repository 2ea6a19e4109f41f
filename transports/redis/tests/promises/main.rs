//! What the Redis transport promises, against a real server, one file per promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod close_gives_back;
mod cluster;
mod common;
mod confirm;
mod consumers;
mod cost;
mod dead_letters;
mod doors;
mod errors_are_clean;
mod fairness;
mod fanout;
mod fanout_stored;
mod idle;
mod leases;
mod malformed;
mod mandatory;
mod prefetch_window;
mod priorities;
mod publish_and_consume;
mod reconnect;
mod refused;
mod registry;
mod requeue_and_restore;
mod routes;
mod sentinel;
mod sweep;
mod tls;
