//! What is done to declarations on their way.

use kombu_core::method::{ExchangeDeclare, QueueBind, QueueDeclare};
use kombu_core::{ExchangeKind, FieldTable, ShortStr, Value};

use crate::fault::Fault;

pub(crate) fn exchange(name: &ShortStr, kind: ExchangeKind) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: name.clone(),
        kind,
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new(),
    }
}

pub(crate) fn of_exchange(fault: Fault, method: &mut ExchangeDeclare) {
    match fault {
        Fault::FanoutByKey if method.kind == ExchangeKind::Fanout => method.kind = ExchangeKind::Direct,
        Fault::ExchangeAutoDeleteNever => method.auto_delete = false,
        Fault::AlternateIgnored => {
            method.arguments.remove("alternate-exchange");
        }
        _ => {}
    }
}

pub(crate) fn of_queue(fault: Fault, method: &mut QueueDeclare) {
    let arguments = &mut method.arguments;
    let has = |name: &str, arguments: &FieldTable| arguments.contains_key(name);
    match fault {
        Fault::AutoDeleteNever => method.auto_delete = false,
        Fault::ExclusiveIgnored => method.exclusive = false,
        Fault::QueueExpiresNever => drop(arguments.remove("x-expires")),
        Fault::QueueExpiresSoon if has("x-expires", arguments) => drop(arguments.insert("x-expires", 1)),
        Fault::QueueTtlIgnored => drop(arguments.remove("x-message-ttl")),
        Fault::QueueTtlDoubled => {
            if let Some(ttl) = arguments.get("x-message-ttl").and_then(Value::as_i64) {
                drop(arguments.insert("x-message-ttl", ttl * 2));
            }
        }
        Fault::MaxLengthIgnored => {
            drop(arguments.remove("x-max-length"));
            drop(arguments.remove("x-max-length-bytes"));
        }
        Fault::MaxLengthKeepsOldest if has("x-max-length", arguments) => {
            drop(arguments.insert("x-overflow", "reject-publish"));
        }
        Fault::DeliveryLimitIgnored => drop(arguments.remove("x-delivery-limit")),
        Fault::DeliveryLimitTooSoon if has("x-delivery-limit", arguments) => {
            drop(arguments.insert("x-delivery-limit", 1));
        }
        Fault::SingleActiveIgnored => drop(arguments.remove("x-single-active-consumer")),
        Fault::MaxLengthNeverRejects => drop(arguments.remove("x-overflow")),
        Fault::DeadLettersIgnored => {
            drop(arguments.remove("x-dead-letter-exchange"));
            drop(arguments.remove("x-dead-letter-routing-key"));
        }
        _ => {}
    }
}

pub(crate) fn of_consumer(fault: Fault, arguments: &mut FieldTable) {
    match fault {
        Fault::ConsumerPriorityIgnored => drop(arguments.remove("x-priority")),
        Fault::ConsumerPriorityReversed => {
            if let Some(priority) = arguments.get("x-priority").and_then(Value::as_i64) {
                drop(arguments.insert("x-priority", -priority));
            }
        }
        _ => {}
    }
}

pub(crate) fn of_binding(fault: Fault, method: &mut QueueBind) {
    let key = method.routing_key.as_str();
    match fault {
        Fault::TopicHashNeedsWord if key.contains('#') => method.routing_key = key.replace('#', "*.#").into(),
        Fault::StarMatchesMany if key.contains('*') => method.routing_key = key.replace('*', "#").into(),
        Fault::DirectFoldsCase if !method.exchange.is_empty() => method.routing_key = key.to_lowercase().into(),
        Fault::HeadersAllIsAny => drop(method.arguments.insert("x-match", "any")),
        Fault::HeadersAnyIsAll => drop(method.arguments.insert("x-match", "all")),
        _ => {}
    }
}
