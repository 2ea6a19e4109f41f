//! What the arguments of a queue ask for; also for transports that keep queues by themselves.

use std::time::Duration;

use kombu_core::{FieldTable, Result, ShortStr, Value};

use crate::definition::QueueDefinition;
use crate::refusal;

/// What a queue does beyond keeping messages in order; most queues have none.
#[non_exhaustive]
#[derive(Debug, Default, PartialEq)]
pub struct Policy {
    /// `x-expires`: how long the queue may go unused.
    pub expires: Option<Duration>,
    /// `x-message-ttl`: how long a message may wait.
    pub message_ttl: Option<Duration>,
    /// `x-max-length`: how many messages may wait.
    pub max_length: Option<u64>,
    /// `x-max-length-bytes`: how many bytes the bodies of waiting messages may have together.
    pub max_length_bytes: Option<u64>,
    /// `x-overflow`: what gives way when it is full.
    pub overflow: Overflow,
    /// `x-dead-letter-exchange`: where messages go that leave it without being acknowledged.
    pub dead_letter_exchange: Option<ShortStr>,
    /// `x-dead-letter-routing-key`: with which key, instead of their own.
    pub dead_letter_routing_key: Option<ShortStr>,
    /// `x-max-priority`: the highest priority told apart; 0 by default.
    pub max_priority: u8,
    /// `x-delivery-limit`: how often a message may be given back.
    pub delivery_limit: Option<u32>,
    /// Deliveries carry the header `x-delivery-count`, as those of RabbitMQ's quorum queues do.
    pub shows_count: bool,
    /// `x-single-active-consumer`: one consumer at a time gets messages.
    pub single_active_consumer: bool,
}

/// What gives way when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest message.
    #[default]
    DropHead,
    /// The new message; its publisher is told.
    RejectPublish,
    /// The same, and the new message is dead-lettered.
    RejectPublishDlx,
}

/// The arguments in which two declarations of a queue must agree.
pub(crate) const COMPARED: [&str; 12] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-type",
];

impl Policy {
    /// Reads the arguments of a declaration; `None` for a queue that only keeps messages in order.
    ///
    /// # Errors
    ///
    /// What RabbitMQ knows and finds wrong is `PreconditionFailed`, as there. What nobody here understands is `Unsupported`, though
    /// RabbitMQ ignores it: a mistyped `x-mesage-ttl` would break a promise without a word.
    pub fn of(queue: &str, definition: &QueueDefinition) -> Result<Option<Box<Policy>>> {
        let mut policy = Policy::default();
        let arguments = Arguments { queue, table: &definition.arguments };
        let is_quorum = arguments.is_quorum()?;
        if is_quorum {
            for (property, is_wrong) in [
                ("durable", !definition.durable),
                ("exclusive", definition.exclusive),
                ("auto_delete", definition.auto_delete),
            ] {
                if is_wrong {
                    return Err(arguments.invalid(property, "a quorum queue cannot be that"));
                }
            }
            policy.shows_count = true;
        }
        for (name, value) in definition.arguments.iter() {
            match name.as_str() {
                "x-expires" => policy.expires = Some(arguments.span(name, value, 1)?),
                "x-message-ttl" => policy.message_ttl = Some(arguments.span(name, value, 0)?),
                "x-max-length" => policy.max_length = Some(arguments.number(name, value)?),
                "x-max-length-bytes" => policy.max_length_bytes = Some(arguments.number(name, value)?),
                "x-overflow" => policy.overflow = arguments.overflow(name, value)?,
                "x-dead-letter-exchange" => policy.dead_letter_exchange = Some(arguments.text(name, value)?),
                "x-dead-letter-routing-key" => policy.dead_letter_routing_key = Some(arguments.text(name, value)?),
                "x-max-priority" if !is_quorum => {
                    let number = arguments.number(name, value)?;
                    policy.max_priority =
                        u8::try_from(number).map_err(|_| arguments.invalid(name, "more than 255 priorities"))?;
                }
                "x-delivery-limit" if is_quorum => {
                    let limit = arguments.integer(name, value)?;
                    policy.delivery_limit = u32::try_from(limit).ok();
                }
                "x-max-priority" | "x-delivery-limit" => {
                    let message = if is_quorum { "not for quorum queues" } else { "for quorum queues only" };
                    return Err(arguments.invalid(name, message));
                }
                "x-single-active-consumer" => {
                    let Value::Bool(single) = value else { return Err(arguments.invalid(name, "not true or false")) };
                    policy.single_active_consumer = *single;
                }
                // Here none is lost on its way in any case.
                "x-dead-letter-strategy" => match value.as_str() {
                    Some("at-most-once" | "at-least-once") => {}
                    _ => return Err(arguments.invalid(name, "not one of at-most-once, at-least-once")),
                },
                // How RabbitMQ keeps the messages, not what becomes of them.
                "x-queue-type"
                | "x-queue-mode"
                | "x-queue-version"
                | "x-queue-master-locator"
                | "x-queue-leader-locator"
                | "x-quorum-initial-group-size" => {}
                other if other.starts_with("x-") => {
                    return Err(refusal::unsupported("queue arguments", other).with("argument", other));
                }
                // A note of the application's.
                _ => {}
            }
        }
        if policy.dead_letter_routing_key.is_some() && policy.dead_letter_exchange.is_none() {
            return Err(arguments.invalid("x-dead-letter-routing-key", "there is no x-dead-letter-exchange"));
        }
        Ok((policy != Policy::default()).then(|| Box::new(policy)))
    }
}

/// The arguments of one declaration, and whose they are.
struct Arguments<'a> {
    queue: &'a str,
    table: &'a FieldTable,
}

impl Arguments<'_> {
    fn is_quorum(&self) -> Result<bool> {
        match self.table.get("x-queue-type") {
            None => Ok(false),
            Some(value) => match value.as_str() {
                Some("classic") => Ok(false),
                Some("quorum") => Ok(true),
                Some("stream") => {
                    Err(refusal::unsupported("queue arguments", "stream").with("argument", "x-queue-type"))
                }
                _ => Err(self.invalid("x-queue-type", "no such type of queue")),
            },
        }
    }

    fn integer(&self, name: &str, value: &Value) -> Result<i64> {
        value.as_i64().ok_or_else(|| self.invalid(name, "not an integer"))
    }

    fn number(&self, name: &str, value: &Value) -> Result<u64> {
        u64::try_from(self.integer(name, value)?).map_err(|_| self.invalid(name, "negative"))
    }

    fn span(&self, name: &str, value: &Value, least: i64) -> Result<Duration> {
        match self.integer(name, value)? {
            number if number < 0 => Err(self.invalid(name, "negative")),
            number if number < least => Err(self.invalid(name, "zero")),
            number => Ok(Duration::from_millis(number.unsigned_abs())),
        }
    }

    fn text(&self, name: &str, value: &Value) -> Result<ShortStr> {
        value.as_str().map(ShortStr::from).ok_or_else(|| self.invalid(name, "not text"))
    }

    fn overflow(&self, name: &str, value: &Value) -> Result<Overflow> {
        match value.as_str() {
            Some("drop-head") => Ok(Overflow::DropHead),
            Some("reject-publish") => Ok(Overflow::RejectPublish),
            Some("reject-publish-dlx") => Ok(Overflow::RejectPublishDlx),
            _ => Err(self.invalid(name, "not one of drop-head, reject-publish, reject-publish-dlx")),
        }
    }

    fn invalid(&self, argument: &str, why: &'static str) -> kombu_core::Error {
        refusal::invalid_argument("queue", self.queue, argument, why)
    }
}
