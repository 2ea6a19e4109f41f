//! What is done to messages on their way.

use kombu_core::{Delivery, DeliveryTag, Envelope, FieldTable, Properties, Value};

use crate::fault::Fault;

/// Returns what is stored of a message.
pub(crate) fn published(fault: Fault, mut envelope: Envelope) -> Envelope {
    match fault {
        Fault::DefaultExchangeFoldsCase if envelope.exchange.is_empty() => {
            envelope.routing_key = envelope.routing_key.to_lowercase().into();
        }
        Fault::DirectFoldsCase if !envelope.exchange.is_empty() => {
            envelope.routing_key = envelope.routing_key.to_lowercase().into();
        }
        Fault::BodyCutAtNul => {
            let end = envelope.body.iter().position(|byte| *byte == 0).unwrap_or(envelope.body.len());
            envelope.body.truncate(end);
        }
        Fault::BodyLossyText => {
            envelope.body = String::from_utf8_lossy(&envelope.body).into_owned().into();
        }
        Fault::LargeBodyCut => envelope.body.truncate(100_000),
        Fault::BodyLimitCuts => envelope.body.truncate(299_000),
        Fault::PropertiesDropped => envelope.properties = Properties::default(),
        Fault::PropertiesInvented if envelope.properties.message_id().is_none() => {
            envelope.properties.set_message_id("invented");
        }
        Fault::DropsHeaders => envelope.headers = FieldTable::new().into(),
        Fault::HeadersStringly => {
            let text = |value: &Value| match value {
                Value::Int(number) => Value::from(number.to_string()),
                other => other.clone(),
            };
            let table: FieldTable =
                envelope.headers.table().iter().map(|(name, value)| (name.clone(), text(value))).collect();
            envelope.headers = table.into();
        }
        Fault::HeaderLimitCuts => {
            let table = envelope.headers.table();
            let long = table.iter().find(|(_, value)| value.as_str().is_some_and(|text| text.len() > 2900));
            if let Some(name) = long.map(|(name, _)| name.clone()) {
                envelope.headers.table_mut().insert(name, "cut");
            }
        }
        Fault::TtlIgnored => clear_expiration(&mut envelope),
        Fault::TtlZeroKept if envelope.properties.expiration().is_some_and(|ttl| ttl.is_zero()) => {
            clear_expiration(&mut envelope);
        }
        Fault::PriorityIgnored => envelope.properties.priority = None,
        Fault::PriorityNotClamped if envelope.properties.priority.is_some_and(|priority| priority > 9) => {
            envelope.properties.priority = Some(1);
        }
        Fault::DelayIgnored => {
            envelope.headers.table_mut().remove("x-delay");
        }
        _ => {}
    }
    envelope
}

fn clear_expiration(envelope: &mut Envelope) {
    envelope.properties.rare_mut().expiration = None;
}

/// Returns what is delivered of a message.
pub(crate) fn delivered(fault: Fault, mut delivery: Delivery) -> Delivery {
    match fault {
        Fault::TagsFromEleven => delivery.tag = DeliveryTag(delivery.tag.0 + 10),
        Fault::NeverRedelivered => delivery.redelivered = false,
        Fault::AlwaysRedelivered => delivery.redelivered = true,
        Fault::NoDeliveryCount => delivery.delivery_count = None,
        Fault::DeadLettersWithoutCount | Fault::DeadLettersWithoutKey => {
            let is_count = fault == Fault::DeadLettersWithoutCount;
            let mut envelope = (*delivery.envelope).clone();
            if let Some(Value::List(deaths)) = envelope.headers.get("x-death").cloned() {
                let change = |death: Value| match death {
                    Value::Map(mut death) => {
                        if is_count {
                            death.insert("count", 1);
                        } else {
                            death.remove("routing-keys");
                        }
                        Value::Map(death)
                    }
                    other => other,
                };
                let deaths: Vec<Value> = deaths.into_iter().map(change).collect();
                envelope.headers.table_mut().insert("x-death", Value::List(deaths));
                delivery.envelope = std::sync::Arc::new(envelope);
            }
        }
        Fault::ExpiryKeepsExpiration if delivery.envelope.headers.get("x-death").is_some() => {
            let mut envelope = (*delivery.envelope).clone();
            envelope.properties.set_expiration(std::time::Duration::from_secs(600));
            delivery.envelope = std::sync::Arc::new(envelope);
        }
        _ => {}
    }
    delivery
}
