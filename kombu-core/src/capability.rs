//! What a transport can do.

mod header_types;
mod refuse;
mod requirement;

use std::time::Duration;

pub use header_types::HeaderTypes;
pub use requirement::Requirement;

/// How a transport comes by a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// The broker does it.
    Native,
    /// The transport does it for the broker.
    Emulated,
    /// It cannot be had; core refuses it before the transport is asked.
    #[default]
    No,
}

impl Support {
    /// Says whether it can be had.
    pub fn is_available(self) -> bool {
        self != Support::No
    }
}

/// Which end of the priorities is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriorityOrder {
    /// A higher number is more urgent, as AMQP has it.
    HighFirst,
    /// A lower number is more urgent, as Kombu has it on Redis.
    LowFirst,
}

/// How a transport serves priorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// How many priorities are told apart.
    pub levels: u8,
    /// Which end is served first.
    pub order: PriorityOrder,
}

/// What order a consumer can rely on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// The order in which the queue took the messages.
    #[default]
    Queue,
    /// The order in which each publisher published.
    Publisher,
    /// None.
    None,
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a transport can do. Field names are AMQP's or RabbitMQ's words; each says whether the broker does it, the
        /// transport does it for the broker, or nobody does.
        ///
        /// What every transport does has no field: direct and default exchange, declare, delete, purge, bind, publish, get,
        /// consume, cancel, ack, reject, byte-exact bodies.
        #[non_exhaustive]
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Capabilities {
            $($(#[$doc])* pub $name: Support,)*
            /// How priorities are served; `None` when they are ignored.
            pub priority: Option<Priority>,
            /// How long after the death of a consumer's process its messages come back; zero is at once, `None` never.
            pub restore_after_crash: Option<Duration>,
            /// The largest body in bytes; `None` is no limit.
            pub max_body: Option<u64>,
            /// The largest headers in bytes, as AMQP writes them; `None` is no limit that holds for every message.
            pub max_headers: Option<u64>,
            /// Which values headers may hold.
            pub header_types: HeaderTypes,
            /// What order a consumer can rely on.
            pub ordering: Ordering,
            /// Whether deliveries outlive a lost socket: they can be settled on the next one.
            pub deliveries_survive_reconnect: bool,
        }

        impl Capabilities {
            /// Returns every capability that is a [`Support`], by name.
            pub fn supports(&self) -> Vec<(&'static str, Support)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

capabilities! {
    /// Topic exchanges.
    exchange_topic,
    /// Fanout exchanges.
    exchange_fanout,
    /// Headers exchanges.
    exchange_headers,
    /// Bindings from exchange to exchange.
    exchange_to_exchange,
    /// The argument `alternate-exchange`.
    alternate_exchange,
    /// A fanout message is stored in every bound queue: whatever its key, and also while nobody consumes.
    fanout_stored,
    /// Queues and exchanges are known apart from their messages, so that a missing one is found missing.
    topology_registry,
    /// Queues outlive the broker's restart.
    durable,
    /// Exclusive queues.
    exclusive,
    /// Auto-delete queues.
    auto_delete,
    /// Queues that expire unused (`x-expires`).
    queue_expires,
    /// `if_unused` and `if_empty`.
    delete_conditions,
    /// `x-max-length` and `x-max-length-bytes`.
    queue_max_length,
    /// One consumer of a queue at a time (`x-single-active-consumer`).
    single_active_consumer,
    /// Settling up to a tag.
    ack_multiple,
    /// `basic.nack`.
    nack,
    /// A requeued message goes back to its place.
    requeue_in_place,
    /// Deliveries say when they are repeats.
    redelivered,
    /// Deliveries say how often they were given back.
    delivery_count,
    /// Messages given back too often are dead-lettered (`x-delivery-limit`).
    delivery_limit,
    /// Unsettled deliveries of a closed channel go back.
    restore_on_close,
    /// A window per consumer.
    prefetch,
    /// A window per channel.
    prefetch_global,
    /// Consumers learn when the broker ends them.
    consumer_cancel_notice,
    /// One consumer may lock out others.
    exclusive_consumer,
    /// Consumers of a higher `x-priority` are served first.
    consumer_priority,
    /// Consumers of a queue share its messages evenly.
    fair_dispatch,
    /// Messages that expire (`expiration`).
    message_ttl,
    /// Queues whose messages expire (`x-message-ttl`).
    queue_ttl,
    /// Dead-letter exchanges.
    dead_letter,
    /// Exchanges that hold messages back (`x-delayed-message`, header `x-delay`).
    delayed,
    /// Messages outlive the broker's restart.
    persistent,
    /// The broker confirms publishes.
    confirms,
    /// Unroutable mandatory messages come back.
    mandatory_returns,
    /// Other processes share the queues.
    multi_process,
    /// A dead peer is found out.
    heartbeats,
    /// A lost connection is made again.
    recovery,
}
