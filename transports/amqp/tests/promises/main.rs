//! What the AMQP transport promises, on a real RabbitMQ.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod asides;
mod blocked;
mod channel_errors;
mod common;
mod entities;
mod messages;
mod methods;
mod publishing;
mod recovery;
mod settling;
mod threads;
#[cfg(feature = "tls")]
mod tls;
