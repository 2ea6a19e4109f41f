//! Messages and bindings as bytes, for stores that keep nothing else.

use std::time::Duration;

use bytes::Bytes;
use kombu_core::serialization::json;
use kombu_core::{DeliveryMode, Envelope, Error, ErrorKind, FieldTable, Headers, Properties, Result, ShortStr, Value};

use crate::definition::BindingDefinition;
use crate::message::QueueMessage;
use crate::moment::Moment;

impl QueueMessage {
    /// Returns the message as bytes: a line of JSON, in which header values are as Kombu writes them, then the body as it is. The
    /// [`position`](QueueMessage::position) is not in it.
    ///
    /// # Errors
    ///
    /// `Encode` for a header that JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let envelope = &self.envelope;
        let mut line = FieldTable::from([("exchange", Value::from(envelope.exchange.as_str()))]);
        line.insert("routing_key", envelope.routing_key.as_str());
        line.insert("properties", Value::Map(write_properties(&envelope.properties)));
        line.insert("headers", Value::Map(envelope.headers.table().clone()));
        line.insert("expires", self.expiry().and_then(|when| i64::try_from(when.0).ok()));
        line.insert("delivery_count", i64::from(self.delivery_count));
        line.insert("redelivered", self.redelivered);
        let mut bytes = json::to_vec(&line)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&envelope.body);
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](QueueMessage::to_bytes) returned.
    ///
    /// # Errors
    ///
    /// `Decode` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let end =
            bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong("there is no line before the body"))?;
        let line = read_line(&bytes[..end])?;
        let mut message = QueueMessage::new(std::sync::Arc::new(Envelope {
            exchange: text(&line, "exchange")?,
            routing_key: text(&line, "routing_key")?,
            properties: read_properties(&table(&line, "properties")?),
            headers: Headers::from(table(&line, "headers")?),
            body: Bytes::copy_from_slice(&bytes[end + 1..]),
        }));
        let number = |name| line.get(name).and_then(Value::as_i64).and_then(|number| u64::try_from(number).ok());
        message.expire_at(number("expires").map(Moment));
        message.delivery_count = number("delivery_count").map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX));
        message.redelivered = line.get("redelivered").and_then(Value::as_bool).unwrap_or(false);
        Ok(message)
    }
}

impl BindingDefinition {
    /// Returns the binding as one line of JSON, without its end.
    ///
    /// # Errors
    ///
    /// `Encode` for an argument that JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut line = FieldTable::from([("exchange", Value::from(self.exchange.as_str()))]);
        line.insert("destination", self.destination.as_str());
        line.insert("to_exchange", self.to_exchange);
        line.insert("routing_key", self.routing_key.as_str());
        line.insert("arguments", Value::Map(self.arguments.clone()));
        json::to_vec(&line)
    }

    /// Reads what [`to_bytes`](BindingDefinition::to_bytes) returned.
    ///
    /// # Errors
    ///
    /// `Decode` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let line = read_line(bytes)?;
        Ok(BindingDefinition {
            exchange: text(&line, "exchange")?,
            destination: text(&line, "destination")?,
            to_exchange: line.get("to_exchange").and_then(Value::as_bool).unwrap_or(false),
            routing_key: text(&line, "routing_key")?,
            arguments: table(&line, "arguments")?,
        })
    }
}

fn write_properties(properties: &Properties) -> FieldTable {
    let mut all = FieldTable::from([("delivery_mode", i64::from(properties.delivery_mode.number()))]);
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
        ("cluster_id", properties.cluster_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            all.insert(name, text);
        }
    }
    let expiration = properties.expiration().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let numbers = [
        ("priority", properties.priority.map(u64::from)),
        ("timestamp", properties.timestamp()),
        ("expiration", expiration),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            all.insert(name, number);
        }
    }
    if let Some(rare) = properties.rare().filter(|rare| !rare.other.is_empty()) {
        all.insert("other", Value::Map(rare.other.clone()));
    }
    all
}

fn read_properties(all: &FieldTable) -> Properties {
    let text = |name| all.get(name).and_then(Value::as_str).map(ShortStr::from);
    let number = |name| all.get(name).and_then(Value::as_i64).and_then(|number| u64::try_from(number).ok());
    let mut properties = Properties::default();
    properties.set_content(text("content_type"), text("content_encoding"));
    properties.delivery_mode =
        DeliveryMode::from_number(number("delivery_mode").and_then(|number| u8::try_from(number).ok()).unwrap_or(2));
    properties.priority = number("priority").and_then(|priority| u8::try_from(priority).ok());
    type Set = fn(&mut Properties, ShortStr);
    let setters: [(&str, Set); 7] = [
        ("correlation_id", |properties, text| properties.set_correlation_id(text)),
        ("reply_to", |properties, text| properties.set_reply_to(text)),
        ("message_id", |properties, text| properties.set_message_id(text)),
        ("type", |properties, text| properties.set_kind(text)),
        ("user_id", |properties, text| properties.set_user_id(text)),
        ("app_id", |properties, text| properties.set_app_id(text)),
        ("cluster_id", |properties, text| properties.set_cluster_id(text)),
    ];
    for (name, set) in setters {
        if let Some(text) = text(name) {
            set(&mut properties, text);
        }
    }
    if let Some(timestamp) = number("timestamp") {
        properties.set_timestamp(timestamp);
    }
    if let Some(expiration) = number("expiration") {
        properties.set_expiration(Duration::from_millis(expiration));
    }
    if let Some(Value::Map(other)) = all.get("other") {
        properties.rare_mut().other = other.clone();
    }
    properties
}

fn read_line(line: &[u8]) -> Result<FieldTable> {
    match json::read(line)? {
        Value::Map(table) => Ok(table),
        _ => Err(wrong("the line is no JSON object")),
    }
}

fn text(line: &FieldTable, name: &'static str) -> Result<ShortStr> {
    line.get(name)
        .and_then(Value::as_str)
        .map(ShortStr::from)
        .ok_or_else(|| wrong("a name is missing").with("name", name))
}

fn table(line: &FieldTable, name: &'static str) -> Result<FieldTable> {
    match line.get(name) {
        Some(Value::Map(table)) => Ok(table.clone()),
        _ => Err(wrong("a table is missing").with("name", name)),
    }
}

#[cold]
fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::Decode, what)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let mut envelope = Envelope {
            exchange: "é\n".into(),
            routing_key: "a.b".into(),
            body: Bytes::from_static(b"{}\n\0\xff"),
            ..Envelope::default()
        };
        let properties = &mut envelope.properties;
        properties.set_content(Some("text/x".into()), Some("latin-1".into()));
        properties.delivery_mode = DeliveryMode::Transient;
        properties.priority = Some(9);
        properties.set_correlation_id("c");
        properties.set_reply_to("r");
        properties.set_message_id("m");
        properties.set_kind("k");
        properties.set_user_id("u");
        properties.set_app_id("a");
        properties.set_cluster_id("cl");
        properties.set_timestamp(7);
        properties.set_expiration(Duration::from_millis(1500));
        properties.rare_mut().other.insert("x", 1);
        let nested = Value::List(vec![Value::Null, Value::from(1.5), Value::Bytes(Bytes::from_static(b"\xff"))]);
        envelope.headers.table_mut().insert("nested", nested);
        let mut message = QueueMessage::new(Arc::new(envelope));
        message.delivery_count = 3;
        message.redelivered = true;
        message.set_expires(Some(std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001)));
        let back = QueueMessage::from_bytes(&message.to_bytes().unwrap()).unwrap();
        assert_eq!(back.envelope, message.envelope);
        assert_eq!((back.expires(), back.delivery_count, back.redelivered), (message.expires(), 3, true));
        let plain = QueueMessage::new(Arc::default());
        let back = QueueMessage::from_bytes(&plain.to_bytes().unwrap()).unwrap();
        assert_eq!((back.expires(), back.envelope), (None, plain.envelope));
    }

    #[test]
    fn a_binding_comes_back_as_it_went() {
        let mut binding = BindingDefinition::new("x".into(), "q".into(), "a.#".into());
        binding.to_exchange = true;
        binding.arguments.insert("x-match", "any");
        assert_eq!(BindingDefinition::from_bytes(&binding.to_bytes().unwrap()).unwrap(), binding);
    }

    #[test]
    fn anything_else_is_an_error() {
        for bytes in [&b""[..], b"{}", b"{}\n", b"[]\nx", b"{\"exchange\": 1}\n", b"\xff\n"] {
            assert_eq!(QueueMessage::from_bytes(bytes).unwrap_err().kind(), ErrorKind::Decode, "{bytes:?}");
            assert!(BindingDefinition::from_bytes(bytes).is_err());
        }
    }
}
