//! Kombu for Rust: one messaging library with AMQP's words over many brokers, sharing queues with Python's Kombu and Celery.
//!
//! A program names a broker by its URL; a transport plugin does the rest. Every transport registers with one shared [`Hub`], an
//! event loop, so that one thread serves them all together.
//!
//! ```
//! use kombu::prelude::*;
//!
//! let hub = Hub::new()?;
//! let connection = Connection::new("memory://")?;
//! connection.register_with_event_loop(&hub)?;
//!
//! let exchange = Exchange::direct("media");
//! let queue = Queue::new("videos").bind(&exchange, "video");
//!
//! let handle = hub.handle();
//! let consumer = connection
//!     .consumer(&queue)
//!     .on_message(move |message| {
//!         println!("received: {:?}", message.text());
//!         message.ack();
//!         handle.stop();
//!     })
//!     .consume()
//!     .wait()?;
//!
//! connection.producer().publish("hello world").exchange(&exchange).routing_key("video").wait()?;
//! hub.run_forever()?;
//! # drop(consumer);
//! # Ok::<(), kombu::Error>(())
//! ```
//!
//! Programs on tokio or smol need no hub: the connection then runs on one background thread shared by the process, operations
//! are awaited, and messages come as a [`Stream`](MessageStream).
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `memory` | yes | transport `memory://`: queues inside the process |
//! | `amqp` | | transport `amqp://`: RabbitMQ |
//! | `amqp-tls` | | `amqps://`: the same over TLS |
//! | `redis` | | transport `redis://`: Redis and Valkey, on Kombu's keys |
//! | `redis-tls` | | `rediss://`: the same with TLS |
//! | `msgpack` | | bodies in MessagePack |
//! | `yaml` | | bodies in YAML |
//! | `compression` | | bodies compressed by zlib, bzip2, xz, zstd or brotli |
//! | `signal` | | `Hub::stop_on_signals`: leave the loop on Ctrl-C |
//! | `full` | | all of them |
#![forbid(unsafe_code)]

pub use kombu_core::{
    AcceptList, Binding, BrokerUrl, Capabilities, Clock, Confirmed, Connection, ConnectionBuilder, ConnectionEvent,
    Consumer, ConsumerBuilder, DeliveryMode, DeliveryTag, Entity, Error, ErrorKind, Exchange, ExchangeKind,
    FailoverStrategy, FieldTable, HandlerResult, Headers, IntoBody, IntoQueues, IoPlacement, Json, Malformed,
    ManualClock, Message, MessageStream, Msgpack, Outcome, Pending, Priority, PriorityOrder, Producer, Properties,
    Publish, Qos, Queue, Raw, Recovery, Result, RetryPolicy, Scope, Settling, ShortStr, Support, SystemClock, Text,
    Value, Yaml, compression, registry, serialization, value,
};
pub use kombu_hub::MioHub as Hub;

/// What authors of transports and hubs implement: the traits, and the types in their signatures.
pub use kombu_core as core;

#[cfg(feature = "amqp")]
#[doc(hidden)]
pub use kombu_amqp as _amqp;
#[cfg(feature = "memory")]
#[doc(hidden)]
pub use kombu_memory as _memory;
#[cfg(feature = "redis")]
#[doc(hidden)]
pub use kombu_redis as _redis;

/// Compiles the program of the README with the other examples of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What most programs use: `use kombu::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Connection, Consumer, Entity, Error, ErrorKind, Exchange, ExchangeKind, Hub, Json, Message, MessageStream,
        Pending, Producer, Queue, Result, Value,
    };
}
