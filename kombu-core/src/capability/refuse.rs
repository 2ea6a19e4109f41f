//! Finds what a declaration or an operation asks for that a transport does not do.

use super::{Capabilities, Support};
use crate::FieldTable;
use crate::entity::ExchangeKind;
use crate::error::{Error, ErrorKind, Result};
use crate::method::{BasicConsume, BasicPublish, ExchangeDeclare, QueueDeclare, QueueDelete};
use crate::value::Value;

/// What core refuses before a transport is asked: whatever would silently not happen, or go elsewhere.
///
/// Not refused is what Kombu's programs say by default everywhere and what travels with the message: `durable`, `exclusive`,
/// `auto_delete`, delivery mode, priority and expiration. A program that relies on them asks by
/// [`Connection::require`](crate::Connection::require).
impl Capabilities {
    pub(crate) fn check_exchange(&self, method: &ExchangeDeclare) -> Result<()> {
        let kind = &method.kind;
        let check = |kind: &str| match kind {
            "topic" => self.check("exchange_topic", self.exchange_topic, "exchanges of type topic"),
            "fanout" => self.check("exchange_fanout", self.exchange_fanout, "exchanges of type fanout"),
            "headers" => self.check("exchange_headers", self.exchange_headers, "exchanges of type headers"),
            "x-delayed-message" => self.check("delayed", self.delayed, "exchanges of type x-delayed-message"),
            _ => Ok(()),
        };
        check(kind.as_str())?;
        if matches!(kind, ExchangeKind::Other(_)) {
            check(method.arguments.get("x-delayed-type").and_then(Value::as_str).unwrap_or_default())?;
        }
        self.check_arguments(&method.arguments, |name| match name {
            "alternate-exchange" => Some(("alternate_exchange", self.alternate_exchange)),
            _ => None,
        })
    }

    pub(crate) fn check_queue(&self, method: &QueueDeclare) -> Result<()> {
        let priority = if self.priority.is_some() { Support::Native } else { Support::No };
        self.check_arguments(&method.arguments, |name| {
            Some(match name {
                "x-expires" => ("queue_expires", self.queue_expires),
                "x-message-ttl" => ("queue_ttl", self.queue_ttl),
                "x-max-length" | "x-max-length-bytes" | "x-overflow" => ("queue_max_length", self.queue_max_length),
                "x-max-priority" => ("priority", priority),
                "x-dead-letter-exchange" | "x-dead-letter-routing-key" => ("dead_letter", self.dead_letter),
                "x-delivery-limit" => ("delivery_limit", self.delivery_limit),
                "x-single-active-consumer" => ("single_active_consumer", self.single_active_consumer),
                _ => return None,
            })
        })
    }

    pub(crate) fn check_queue_delete(&self, method: &QueueDelete) -> Result<()> {
        if method.if_unused || method.if_empty {
            return self.check("delete_conditions", self.delete_conditions, "if_unused and if_empty");
        }
        Ok(())
    }

    pub(crate) fn check_exchange_bind(&self) -> Result<()> {
        self.check("exchange_to_exchange", self.exchange_to_exchange, "bindings from exchange to exchange")
    }

    pub(crate) fn check_consume(&self, method: &BasicConsume) -> Result<()> {
        if method.exclusive {
            self.check("exclusive_consumer", self.exclusive_consumer, "exclusive consumers")?;
        }
        self.check_arguments(&method.arguments, |name| match name {
            "x-priority" => Some(("consumer_priority", self.consumer_priority)),
            _ => None,
        })
    }

    pub(crate) fn check_publish(&self, method: &BasicPublish, body: usize) -> Result<()> {
        if let Some(max) = self.max_body
            && body as u64 > max
        {
            let error = unsupported("max_body", &format!("bodies of more than {max} bytes"));
            return Err(error.with("body", body));
        }
        if method.mandatory {
            return self.check("mandatory_returns", self.mandatory_returns, "mandatory messages");
        }
        Ok(())
    }

    fn check_arguments(
        &self,
        arguments: &FieldTable,
        needed: impl Fn(&str) -> Option<(&'static str, Support)>,
    ) -> Result<()> {
        for (name, value) in arguments.iter() {
            if *value != Value::Null
                && let Some((capability, support)) = needed(name)
            {
                self.check(capability, support, name).map_err(|error| error.with("argument", name))?;
            }
        }
        Ok(())
    }

    fn check(&self, capability: &'static str, support: Support, what: &str) -> Result<()> {
        if support.is_available() { Ok(()) } else { Err(unsupported(capability, what)) }
    }
}

#[cold]
fn unsupported(capability: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the transport does not support {what}")).with("capability", capability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::{Exchange, Queue};

    fn names(result: Result<()>) -> (ErrorKind, String) {
        let error = result.unwrap_err();
        (error.kind(), error.context("capability").unwrap_or_default().to_owned())
    }

    #[test]
    fn what_is_not_declared_is_refused_by_name() {
        let can = Capabilities::default();
        let unsupported = |capability: &str| (ErrorKind::Unsupported, capability.to_owned());
        let exchanges = [
            (Exchange::topic("x"), "exchange_topic"),
            (Exchange::fanout("x"), "exchange_fanout"),
            (Exchange::headers("x"), "exchange_headers"),
            (Exchange::direct("x").delayed(), "delayed"),
            (Exchange::direct("x").alternate("y"), "alternate_exchange"),
        ];
        for (exchange, capability) in exchanges {
            assert_eq!(names(can.check_exchange(&exchange.to_method())), unsupported(capability));
        }
        let second = std::time::Duration::from_secs(1);
        let queue = || Queue::new("q");
        let queues = [
            (queue().expires(second), "queue_expires"),
            (queue().message_ttl(second), "queue_ttl"),
            (queue().max_length(1), "queue_max_length"),
            (queue().max_length_bytes(1), "queue_max_length"),
            (queue().max_priority(9), "priority"),
            (queue().dead_letter_exchange("x"), "dead_letter"),
            (queue().argument("x-delivery-limit", 1), "delivery_limit"),
            (queue().argument("x-single-active-consumer", true), "single_active_consumer"),
        ];
        for (queue, capability) in queues {
            assert_eq!(names(can.check_queue(&queue.to_method())), unsupported(capability));
        }
        let exclusive = BasicConsume { exclusive: true, ..Default::default() };
        assert_eq!(names(can.check_consume(&exclusive)), unsupported("exclusive_consumer"));
        let mandatory = BasicPublish { mandatory: true, ..Default::default() };
        assert_eq!(names(can.check_publish(&mandatory, 0)), unsupported("mandatory_returns"));
        let limited = Capabilities { max_body: Some(10), ..Capabilities::default() };
        limited.check_publish(&BasicPublish::default(), 10).unwrap();
        assert_eq!(names(limited.check_publish(&BasicPublish::default(), 11)), unsupported("max_body"));
        let if_empty = QueueDelete { if_empty: true, ..Default::default() };
        assert_eq!(names(can.check_queue_delete(&if_empty)), unsupported("delete_conditions"));
        assert_eq!(names(can.check_exchange_bind()), unsupported("exchange_to_exchange"));
    }

    #[test]
    fn what_kombu_says_by_default_is_not_refused() {
        let can = Capabilities::default();
        can.check_exchange(&Exchange::direct("x").auto_delete().to_method()).unwrap();
        can.check_queue(&Queue::new("q").exclusive().argument("note", 1).to_method()).unwrap();
        can.check_consume(&BasicConsume::default()).unwrap();
        can.check_publish(&BasicPublish::default(), usize::MAX).unwrap();
        can.check_queue_delete(&QueueDelete::default()).unwrap();
        let can = Capabilities { delayed: Support::Emulated, ..can };
        let error = can.check_exchange(&Exchange::topic("x").delayed().to_method()).unwrap_err();
        assert_eq!(error.context("capability"), Some("exchange_topic"));
    }
}
