//! Finds what a declaration or an operation asks for that a transport does not do.

use super::{Capabilities, HeaderTypes, Support, header_types};
use crate::FieldTable;
use crate::entity::ExchangeKind;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::method::{BasicConsume, BasicPublish, ExchangeDeclare, ExchangeDelete, QueueDeclare, QueueDelete};
use crate::qos::Qos;
use crate::value::Value;

/// What core refuses before a transport is asked: whatever would silently not happen, or go elsewhere.
///
/// Four things are not refused. A program that relies on them asks by [`Connection::require`](crate::Connection::require).
///
/// * `durable` and the delivery mode `persistent`: Kombu's declarations and messages say both unless they are told otherwise, so
///   refusing them would refuse every program on a broker that keeps nothing. Nobody is told.
/// * `auto_delete`, which Kombu's own reply and event queues say on every broker: where it is not done, a queue stays, and nothing
///   is lost. [`ConnectionEvent::Ignored`](crate::ConnectionEvent::Ignored) tells.
/// * `exclusive`, which Kombu's programs say for the queues of their replies: where it is not done, others are not kept out, and
///   such names are random. `Ignored` tells.
/// * A message's priority: AMQP itself takes one everywhere, and says by the queue's `x-max-priority`, which is refused, whether
///   it means anything.
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

    pub(crate) fn check_exchange_delete(&self, method: &ExchangeDelete) -> Result<()> {
        if method.if_unused {
            return self.check("delete_conditions", self.delete_conditions, "if_unused");
        }
        Ok(())
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

    /// Returns the capability that a queue's declaration wants, does not get, and is not refused for.
    pub(crate) fn ignored_of_queue(&self, method: &QueueDeclare) -> Option<&'static str> {
        if method.exclusive && !self.exclusive.is_available() {
            return Some("exclusive");
        }
        (method.auto_delete && !self.auto_delete.is_available()).then_some("auto_delete")
    }

    /// Returns the same of an exchange's.
    pub(crate) fn ignored_of_exchange(&self, method: &ExchangeDeclare) -> Option<&'static str> {
        (method.auto_delete && !self.auto_delete.is_available()).then_some("auto_delete")
    }

    /// Checks a window that a program chose.
    pub(crate) fn check_window(&self, qos: Qos) -> Result<()> {
        if qos.prefetch_count == 0 {
            return Ok(());
        }
        self.check("prefetch", self.prefetch, "a window of unanswered messages")
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

    /// Says whether more of a publish is looked at than its body and `mandatory`.
    pub(crate) fn limits_messages(&self) -> bool {
        self.max_headers.is_some() || self.header_types != HeaderTypes::All || !self.message_ttl.is_available()
    }

    pub(crate) fn check_publish(&self, method: &BasicPublish, envelope: &Envelope) -> Result<()> {
        let body = envelope.body.len();
        if let Some(max) = self.max_body
            && body as u64 > max
        {
            let error = unsupported("max_body", &format!("bodies of more than {max} bytes"));
            return Err(error.with("body", body));
        }
        if method.mandatory {
            self.check("mandatory_returns", self.mandatory_returns, "mandatory messages")?;
        }
        if envelope.properties.expiration().is_some() {
            self.check("message_ttl", self.message_ttl, "messages that expire")?;
        }
        if self.max_headers.is_none() && self.header_types == HeaderTypes::All {
            return Ok(());
        }
        let headers = envelope.headers.table();
        if let Some(max) = self.max_headers
            && !headers.is_empty()
            && header_types::size(headers) > max
        {
            let error = unsupported("max_headers", &format!("headers of more than {max} bytes"));
            return Err(error.with("headers", header_types::size(headers)));
        }
        match self.header_types.missing(headers) {
            Some(kind) => Err(unsupported("header_types", &format!("headers of kind `{kind}`"))),
            None => Ok(()),
        }
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
        assert_eq!(names(can.check_window(Qos { prefetch_count: 1, global: false })), unsupported("prefetch"));
        let if_empty = QueueDelete { if_empty: true, ..Default::default() };
        assert_eq!(names(can.check_queue_delete(&if_empty)), unsupported("delete_conditions"));
        let if_unused = ExchangeDelete { exchange: "x".into(), if_unused: true };
        assert_eq!(names(can.check_exchange_delete(&if_unused)), unsupported("delete_conditions"));
        assert_eq!(names(can.check_exchange_bind()), unsupported("exchange_to_exchange"));
    }

    #[test]
    fn messages_beyond_what_is_declared_are_refused_by_name() {
        let unsupported = |capability: &str| (ErrorKind::Unsupported, capability.to_owned());
        let can = Capabilities { message_ttl: Support::Native, ..Capabilities::default() };
        let (plain, mandatory) = (BasicPublish::default(), BasicPublish { mandatory: true, ..Default::default() });
        let of = |length: usize| Envelope { body: vec![0; length].into(), ..Envelope::default() };
        let with =
            |value: Value| Envelope { headers: FieldTable::from([("name", value)]).into(), ..Envelope::default() };
        assert!(!can.limits_messages());
        assert_eq!(names(can.check_publish(&mandatory, &of(0))), unsupported("mandatory_returns"));
        let limited = Capabilities { max_body: Some(10), ..can.clone() };
        limited.check_publish(&plain, &of(10)).unwrap();
        assert_eq!(names(limited.check_publish(&plain, &of(11))), unsupported("max_body"));
        let mut expiring = of(1);
        expiring.properties.set_expiration(std::time::Duration::from_secs(1));
        can.check_publish(&plain, &expiring).unwrap();
        let forgets = Capabilities { message_ttl: Support::No, ..can.clone() };
        assert!(forgets.limits_messages());
        assert_eq!(names(forgets.check_publish(&plain, &expiring)), unsupported("message_ttl"));
        // Length of the table; length and letters of the name; type, length and letters of the text.
        let narrow = Capabilities { max_headers: Some(4 + 1 + 4 + 1 + 4 + 4), ..can.clone() };
        narrow.check_publish(&plain, &with(Value::from("text"))).unwrap();
        assert_eq!(names(narrow.check_publish(&plain, &with(Value::from("texts")))), unsupported("max_headers"));
        let json = Capabilities { header_types: HeaderTypes::Json, ..can };
        json.check_publish(&plain, &with(Value::from("text"))).unwrap();
        let bytes = with(Value::Bytes(bytes::Bytes::from_static(b"x")));
        assert_eq!(names(json.check_publish(&plain, &bytes)), unsupported("header_types"));
    }

    #[test]
    fn what_kombu_says_by_default_is_not_refused() {
        let can = Capabilities::default();
        can.check_exchange(&Exchange::direct("x").auto_delete().to_method()).unwrap();
        can.check_queue(&Queue::new("q").exclusive().argument("note", 1).to_method()).unwrap();
        can.check_consume(&BasicConsume::default()).unwrap();
        let mut urgent = Envelope { body: vec![0; 1 << 20].into(), ..Envelope::default() };
        urgent.properties.priority = Some(9);
        can.check_publish(&BasicPublish::default(), &urgent).unwrap();
        can.check_window(Qos { prefetch_count: 0, global: false }).unwrap();
        assert_eq!(can.ignored_of_queue(&Queue::new("q").exclusive().to_method()), Some("exclusive"));
        assert_eq!(can.ignored_of_queue(&Queue::new("q").auto_delete().to_method()), Some("auto_delete"));
        assert_eq!(can.ignored_of_queue(&Queue::new("q").to_method()), None);
        assert_eq!(can.ignored_of_exchange(&Exchange::direct("x").auto_delete().to_method()), Some("auto_delete"));
        can.check_queue_delete(&QueueDelete::default()).unwrap();
        let can = Capabilities { delayed: Support::Emulated, ..can };
        let error = can.check_exchange(&Exchange::topic("x").delayed().to_method()).unwrap_err();
        assert_eq!(error.context("capability"), Some("exchange_topic"));
    }
}
