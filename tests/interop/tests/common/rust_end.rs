//! The Rust program, which understands the requests of the Python end.

use std::collections::HashMap;
use std::time::Duration;

use kombu::serialization::{Body, encode};
use kombu::{
    Confirmed, Connection, DeliveryMode, Exchange, IntoBody, Message, Properties, Publish, Queue, Value, compression,
};
use serde_json::{Map, Value as JsonValue, json};

use super::Incoming;
use super::tagged::{base64, from_base64, from_tagged, table_from_tagged, table_to_tagged, to_tagged};

/// The facade of `kombu`, driven like the peer: requests in JSON, messages reported in JSON.
pub struct RustEnd {
    pub connection: Connection,
    exchanges: HashMap<String, Exchange>,
    queues: HashMap<String, Queue>,
}

impl RustEnd {
    pub fn new(connection: Connection) -> Self {
        RustEnd { connection, exchanges: HashMap::new(), queues: HashMap::new() }
    }

    /// Returns the exchange declared under this name, or else a direct one that is never declared.
    pub fn exchange(&self, name: &str) -> Exchange {
        self.exchanges.get(name).cloned().unwrap_or_else(|| Exchange::direct(name).no_declare())
    }

    /// Returns the queue declared under this name, or else one without bindings.
    pub fn queue(&self, name: &str) -> Queue {
        let unknown = || {
            let queue = Queue::new(name);
            // Nobody but the server may declare what it has named.
            if name.starts_with("amq.") { queue.no_declare() } else { queue }
        };
        self.queues.get(name).cloned().unwrap_or_else(unknown)
    }

    #[track_caller]
    pub fn declare(&mut self, declaration: &JsonValue) {
        let mut bound_to = None;
        if let Some(exchange) = declaration.get("exchange") {
            let name = text(&exchange["name"]);
            let kind = exchange["type"].as_str().unwrap_or("direct").parse().unwrap();
            let flag = |name: &str| exchange[name] == true;
            let mut exchange = [
                (flag("auto_delete"), Exchange::auto_delete as fn(Exchange) -> Exchange),
                (exchange["durable"] == false, Exchange::transient),
                (flag("internal"), Exchange::internal),
            ]
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .fold(Exchange::new(name, kind), |exchange, (_, with)| with(exchange));
            for (name, value) in declaration["exchange"]["arguments"].as_object().into_iter().flatten() {
                exchange = exchange.argument(name.as_str(), from_tagged(value));
            }
            exchange.declare(&self.connection).wait().unwrap();
            self.exchanges.insert(name.to_owned(), exchange.clone());
            bound_to = Some(exchange);
        }
        let Some(described) = declaration.get("queue") else { return };
        let mut queue = Queue::new(text(&described["name"]));
        for (name, value) in described.as_object().into_iter().flatten() {
            queue = with_queue_option(queue, name, value);
        }
        for binding in described["bindings"].as_array().into_iter().flatten() {
            let exchange = self.exchange(text(&binding["exchange"]));
            let mut bound = exchange.binding(binding["routing_key"].as_str().unwrap_or_default());
            for (name, value) in binding["arguments"].as_object().into_iter().flatten() {
                bound = bound.argument(name.as_str(), from_tagged(value));
            }
            queue = queue.binding(bound);
        }
        if let Some(exchange) = bound_to.filter(|_| described.get("bindings").is_none()) {
            queue = queue.bind(&exchange, described["routing_key"].as_str().unwrap_or_default());
        }
        self.try_declare(queue).unwrap();
    }

    /// Declares `queue`, to be known under its name.
    pub fn try_declare(&mut self, queue: Queue) -> kombu::Result<()> {
        let declared = queue.declare(&self.connection).wait()?;
        self.queues.insert(declared.queue.to_string(), queue.renamed(declared.queue));
        Ok(())
    }

    #[track_caller]
    pub fn publish(&self, request: &JsonValue) -> Vec<Confirmed> {
        let exchange = self.exchange(request["exchange"].as_str().unwrap_or_default());
        let key = request["routing_key"].as_str().unwrap_or_default();
        let empty = Map::new();
        let options = request["options"].as_object().unwrap_or(&empty);
        let bodies: Vec<&JsonValue> = match request["bodies"].as_array() {
            Some(bodies) => bodies.iter().collect(),
            None => vec![&request["body"]; request["count"].as_u64().unwrap_or(1) as usize],
        };
        let numbered = request["numbered"] == true;
        let producer = self.connection.producer();
        let pending: Vec<_> = bodies
            .into_iter()
            .enumerate()
            .map(|(number, body)| {
                let publish = producer.publish(body_from_request(body, options)).exchange(&exchange).routing_key(key);
                let publish = options.iter().fold(publish, |publish, (name, value)| with_option(publish, name, value));
                let publish = if numbered { publish.header("id", number as i64) } else { publish };
                publish.send()
            })
            .collect();
        pending.into_iter().map(|publish| publish.wait().unwrap()).collect()
    }

    /// Consumes `count` messages, acknowledges them, and returns their reports.
    #[track_caller]
    pub fn receive(&self, queue: &str, count: usize) -> Vec<JsonValue> {
        let incoming = Incoming::start(&self.connection, &self.queue(queue));
        let read = |message: Message| {
            let reported = report(&message);
            message.ack().wait().unwrap();
            reported
        };
        let reports = incoming.take(count).into_iter().map(read).collect();
        incoming.cancel();
        reports
    }

    /// Fetches one message and acknowledges it.
    #[track_caller]
    pub fn get(&self, queue: &str) -> Option<JsonValue> {
        let message = self.queue(queue).get(&self.connection).wait().unwrap()?;
        let reported = report(&message);
        message.ack().wait().unwrap();
        Some(reported)
    }
}

/// What the Python end would report of this message.
#[track_caller]
pub fn report(message: &Message) -> JsonValue {
    let body = message.payload();
    let raw = match message.headers().get("compression").and_then(Value::as_str) {
        Some(method) => {
            compression::decompress(method, message.body(), compression::DEFAULT_LIMIT).map(|raw| raw.to_vec())
        }
        None => Ok(message.body().to_vec()),
    };
    let mut reported = json!({
        "body": body.as_ref().map(body_to_json).unwrap_or_default(),
        "raw": raw.as_ref().map(|raw| base64(raw)).unwrap_or_default(),
        "content_type": message.content_type(),
        "content_encoding": message.content_encoding(),
        "headers": table_to_tagged(message.headers().table()),
        "properties": properties_to_json(message.properties()),
        "delivery_info": {"exchange": message.exchange().as_str(), "routing_key": message.routing_key().as_str()},
        "redelivered": message.redelivered(),
    });
    if let Err(error) = body {
        reported["decode_error"] = json!(error.to_string());
    }
    reported
}

fn body_to_json(body: &Value) -> JsonValue {
    match body {
        Value::Text(text) => json!({"kind": "text", "value": text}),
        Value::Bytes(bytes) => json!({"kind": "bytes", "value": base64(bytes)}),
        other => json!({"kind": "json", "value": to_tagged(other)}),
    }
}

fn properties_to_json(properties: &Properties) -> JsonValue {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<JsonValue>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    set("delivery_mode", Some(json!(properties.delivery_mode.number())));
    set("priority", properties.priority.map(|priority| json!(priority)));
    set("correlation_id", properties.correlation_id().map(|value| json!(value)));
    set("reply_to", properties.reply_to().map(|value| json!(value)));
    set("expiration", properties.expiration().map(|value| json!(value.as_millis().to_string())));
    set("message_id", properties.message_id().map(|value| json!(value)));
    set("timestamp", properties.timestamp().map(|value| json!(value)));
    set("type", properties.kind().map(|value| json!(value)));
    set("user_id", properties.user_id().map(|value| json!(value)));
    set("app_id", properties.app_id().map(|value| json!(value)));
    set("cluster_id", properties.cluster_id().map(|value| json!(value)));
    if let Some(rare) = properties.rare() {
        for (name, value) in &rare.other {
            set(name, Some(to_tagged(value)));
        }
    }
    JsonValue::Object(fields)
}

fn body_from_request(body: &JsonValue, options: &Map<String, JsonValue>) -> Body {
    let value = match text(&body["kind"]) {
        "bytes" => Value::Bytes(from_base64(text(&body["value"])).into()),
        _ => from_tagged(&body["value"]),
    };
    let option = |name: &str| options.get(name).and_then(JsonValue::as_str);
    match (option("content_type"), &value) {
        (Some(content_type), Value::Text(value)) => {
            Body::from_text(content_type, option("content_encoding").unwrap_or("utf-8"), value).unwrap()
        }
        (Some(content_type), Value::Bytes(value)) => {
            Body::new(content_type, option("content_encoding").unwrap_or("binary"), value.clone())
        }
        (Some(_), other) => panic!("a body with a content type of its own is text or bytes, not {}", other.kind()),
        (None, value) => encode(value, option("serializer")).and_then(IntoBody::into_body).unwrap(),
    }
}

fn with_option<'p>(publish: Publish<'p>, name: &str, value: &JsonValue) -> Publish<'p> {
    match name {
        "serializer" | "content_type" | "content_encoding" => publish,
        "compression" => publish.compression(text(value)),
        "headers" => publish.headers(table_from_tagged(value)),
        "priority" => publish.priority(value.as_u64().unwrap().try_into().unwrap()),
        "delivery_mode" => {
            publish.delivery_mode(DeliveryMode::from_number(value.as_u64().unwrap().try_into().unwrap()))
        }
        "expiration" => publish.expiration(Duration::from_secs_f64(value.as_f64().unwrap())),
        "correlation_id" => publish.correlation_id(text(value)),
        "reply_to" => publish.reply_to(text(value)),
        "message_id" => publish.message_id(text(value)),
        "timestamp" => publish.timestamp(value.as_u64().unwrap()),
        "type" => publish.kind(text(value)),
        "user_id" => publish.user_id(text(value)),
        "app_id" => publish.app_id(text(value)),
        other => panic!("no such option: {other}"),
    }
}

fn with_queue_option(queue: Queue, name: &str, value: &JsonValue) -> Queue {
    let seconds = || Duration::from_secs_f64(value.as_f64().unwrap());
    let number = || value.as_u64().unwrap();
    match name {
        "name" | "bindings" | "routing_key" => queue,
        "expires" => queue.expires(seconds()),
        "message_ttl" => queue.message_ttl(seconds()),
        "max_length" => queue.max_length(number().try_into().unwrap()),
        "max_length_bytes" => queue.max_length_bytes(number()),
        "max_priority" => queue.max_priority(number().try_into().unwrap()),
        "durable" if value == false => queue.transient(),
        "exclusive" if value == true => queue.exclusive(),
        "auto_delete" if value == true => queue.auto_delete(),
        "durable" | "exclusive" | "auto_delete" => queue,
        "queue_arguments" => value
            .as_object()
            .unwrap()
            .iter()
            .fold(queue, |queue, (name, value)| queue.argument(name.as_str(), from_tagged(value))),
        other => panic!("no such option of a queue: {other}"),
    }
}

#[track_caller]
fn text(value: &JsonValue) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
