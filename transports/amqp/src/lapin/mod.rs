//! The AMQP client underneath: lapin, on the hub.

mod channel;
mod connection;
mod dial;
mod error;
mod properties;
mod runtime;
mod socket;
mod stream;
mod table;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use connection::connect;
pub(crate) use error::channel_gone;
