//! The words and the four traits of Kombu for Rust.
//!
//! Applications use the crate `kombu`, which re-exports what they need. Authors of transports implement [`Transport`] and
//! [`Channel`]; a hub crate implements [`Hub`](hub::Hub) and [`Poller`](hub::Poller). This crate has no socket, no thread and no
//! broker.
//!
//! | | |
//! |---|---|
//! | what users hold | [`Connection`], [`Exchange`], [`Queue`], [`Producer`], [`Consumer`], [`Message`], [`Pending`] |
//! | what transports implement | [`Transport`], [`Channel`], with the arguments in [`method`] and the deliveries in [`delivery`] |
//! | how they are found | [`registry`], [`register_transport!`] |
//! | the event loop's contract | [`hub`] |
#![forbid(unsafe_code)]

pub mod answer;
pub mod backlog;
mod capability;
mod channel;
mod clock;
pub mod compression;
mod connection;
mod consumer;
pub mod delivery;
mod drops;
pub mod entity;
mod envelope;
mod error;
mod field_table;
mod headers;
pub mod hub;
mod message;
pub mod method;
mod pending;
mod producer;
mod properties;
mod qos;
mod race;
pub mod registry;
pub mod reply;
mod retry;
mod run;
pub mod serialization;
mod settling;
mod short_str;
mod transport;
mod url;
pub mod value;

#[doc(hidden)]
pub use inventory;

pub use answer::{Confirm, Confirmation, Returned, Settled};
pub use capability::{Capabilities, HeaderTypes, Ordering, Priority, PriorityOrder, Requirement, Support};
pub use channel::{Channel, ChannelEvents, Malformed, Unconfirmed};
pub use clock::{Clock, ManualClock, SystemClock};
pub use connection::{Connection, ConnectionBuilder, ConnectionEvent, FailoverStrategy, IoPlacement};
pub use consumer::{Consumer, ConsumerBuilder, HandlerResult, IntoQueues, MessageStream};
pub use delivery::{ConsumerTag, Delivery, DeliverySink, DeliveryTag, Put};
pub use entity::{Binding, Entity, Exchange, ExchangeKind, Queue};
pub use envelope::Envelope;
pub use error::{Error, ErrorKind, Outcome, Recovery, Result, Scope};
pub use field_table::FieldTable;
pub use headers::Headers;
pub use message::Message;
pub use pending::Pending;
pub use producer::{Confirmed, Producer, Publish};
pub use properties::{DeliveryMode, Properties, RareProperties};
pub use qos::Qos;
pub use registry::TransportEntry;
pub use retry::RetryPolicy;
pub use serialization::{AcceptList, IntoBody, Json, Msgpack, Raw, Text, Yaml};
pub use settling::Settling;
pub use short_str::ShortStr;
pub use transport::{Transport, TransportConfig};
pub use url::BrokerUrl;
pub use value::Value;
