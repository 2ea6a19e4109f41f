//! What travels with a message: bytes, properties, headers, names.

use bytes::Bytes;
use kombu_core::{
    DeliveryMode, ErrorKind, ExchangeKind, FieldTable, HeaderTypes, Outcome, Properties, ShortStr, Value,
};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, refused, same};
use crate::lane::{Lane, envelope};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Publish, "bodies_byte_exact", bodies_byte_exact)
        .promise("a body arrives as it was sent, byte for byte: empty, all values, no UTF-8, large")
        .steps("send bodies of 0 bytes, of all 256 values, invalid UTF-8, JSON-like text, random sizes, 1 MiB; consume")
        .reference("equal")
        .spec("AMQP 0-9-1 §4.2.6.2"),
    Check::new(Group::Publish, "large_body_byte_exact", large_body_byte_exact)
        .promise("a body of 16 MiB, or of the declared limit if that is smaller, arrives as it was sent")
        .steps("send one, fetch it")
        .reference("equal")
        .spec("AMQP 0-9-1 §4.2.6.2"),
    Check::new(Group::Publish, "body_over_limit_refused", body_over_limit_refused)
        .promise("a body over the declared limit is refused before it is sent, and the channel goes on")
        .steps("publish a body one byte larger than max_body, one of just that size if it is small, and a small one")
        .reference("RabbitMQ refuses what is beyond its max_message_size (128 MiB)")
        .spec("`Capabilities::max_body`"),
    Check::new(Group::Publish, "headers_over_limit_refused", headers_over_limit_refused)
        .promise("headers beyond the declared size or types are refused before they are sent, and the channel goes on")
        .steps("headers a byte larger than max_headers, of that size, of each kind that header_types leaves out; a small one")
        .reference("RabbitMQ takes headers up to a frame, of the types AMQP has")
        .spec("`Capabilities::max_headers`, `Capabilities::header_types`"),
    Check::new(Group::Publish, "properties_round_trip", properties_round_trip)
        .promise("all properties arrive as they were sent, and none that was not sent")
        .steps("send all of them, send none of them; fetch both")
        .reference("equal")
        .spec("AMQP 0-9-1 class `basic`, properties"),
    Check::new(Group::Publish, "headers_round_trip", headers_round_trip)
        .promise("header values of each kind arrive with their kind and value")
        .steps("send null, booleans, integers to 64 bits, floats, text, bytes, lists, nested maps; fetch")
        .reference("equal")
        .spec("AMQP 0-9-1 §4.2.5, field tables"),
    Check::new(Group::Publish, "odd_names_work", odd_names_work)
        .promise("names and keys may hold blanks, dots, slashes, quotes, and any Unicode")
        .steps("exchanges, queues and keys with such names: declare, bind, publish, fetch, delete")
        .reference("like any other name")
        .spec("AMQP 0-9-1 §4.2.5.3 short strings"),
];

fn send_and_fetch(lane: &Lane<'_>, queue: &ShortStr, sent: kombu_core::Envelope) -> Verdict<kombu_core::Delivery> {
    lane.publish_envelope(sent, false)?;
    let came = lane.get_soon(queue)?;
    lane.ack(came.tag)?;
    Ok(came)
}

fn bodies_byte_exact(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let mut bodies = vec![
        Vec::new(),
        (0..=255).collect(),
        vec![0xff, 0xfe, 0x80, 0xc0],
        vec![0],
        b"{\"body\": \"\\u0000\", \"x\": [1, 2]}".to_vec(),
        "\u{feff}ü\u{1F980}\u{2028}".as_bytes().to_vec(),
    ];
    for _ in 0..10 {
        let length = bench.random(if bench.is_small() { 200 } else { 5000 });
        bodies.push((0..length).map(|_| u8::try_from(bench.random(256)).unwrap_or(0)).collect());
    }
    let mebibyte = if bench.is_small() { 4 << 10 } else { 1 << 20 };
    bodies.push((0..mebibyte).map(|index: u32| u8::try_from(index % 251).unwrap_or(0)).collect());
    let consumed = lane.consume(&queue)?;
    for (number, body) in bodies.iter().enumerate() {
        let mut sent = envelope(&ShortStr::default(), &queue, "");
        sent.body = Bytes::copy_from_slice(body);
        lane.publish_envelope(sent, false)?;
        let came = consumed.expect(1).during(format!("body {number} of {} bytes", body.len()))?;
        let what = format!("body {number} of {} bytes arrives unchanged", body.len());
        same(what, came[0].envelope.body == body[..], true)?;
        lane.ack(came[0].tag)?;
    }
    Ok(())
}

fn large_body_byte_exact(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let most: u64 = if bench.is_small() { 101_000 } else { 16 << 20 };
    let length = bench.capabilities()?.max_body.map_or(most, |limit| limit.min(most));
    let body: Bytes = (0..length).map(|index| u8::try_from(index % 253).unwrap_or(0)).collect::<Vec<_>>().into();
    let mut sent = envelope(&ShortStr::default(), &queue, "");
    sent.body = body.clone();
    let came = send_and_fetch(&lane, &queue, sent)?;
    same("length", came.envelope.body.len(), body.len())?;
    same("whether the bytes arrive unchanged", came.envelope.body == body, true)
}

fn body_over_limit_refused(bench: &Bench) -> Verdict {
    /// Bodies up to this length are tried at the limit too.
    const SMALL: usize = 1 << 20;
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    // Without a declared limit there is nothing to be over.
    if let Some(limit) = bench.capabilities()?.max_body {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX - 1);
        let user = bench.user()?;
        let producer = user.connection.producer();
        // Zeroed memory is not touched until somebody reads it.
        let sent = producer.publish(Bytes::from(vec![0; limit + 1])).routing_key(&queue).send();
        let error = refused("a body one byte over the limit", user.answer(sent), &[ErrorKind::Unsupported])?;
        same("the capability it names", error.context("capability"), Some("max_body"))?;
        same("its outcome", error.outcome(), Some(Outcome::NotSent))?;
        if limit <= SMALL {
            user.answer(producer.publish(Bytes::from(vec![7; limit])).routing_key(&queue).send())
                .during("publish a body of the largest length")?;
            let largest = lane.get_soon(&queue)?;
            same("bytes of the largest body", largest.envelope.body.len(), limit)?;
            lane.ack(largest.tag)?;
        }
        user.answer(producer.publish("small").routing_key(&queue).send())?;
        user.answer(user.connection.close())?;
    } else {
        lane.put(&queue, "small")?;
    }
    same("messages", lane.bodies(&queue)?, ["small"])
}

fn headers_over_limit_refused(bench: &Bench) -> Verdict {
    let (lane, can) = (bench.channel()?, bench.capabilities()?);
    let queue = lane.queue("q")?;
    let user = bench.user()?;
    let producer = user.connection.producer();
    let refuse = |value: Value, capability: &str| -> Verdict {
        let what = format!("a header of kind `{}` beyond {capability}", value.kind());
        let sent = producer.publish("refused").routing_key(&queue).header("name", value).send();
        let error = refused(&what, user.answer(sent), &[ErrorKind::Unsupported])?;
        same(format!("the capability that refuses {what}"), error.context("capability"), Some(capability))?;
        same("its outcome", error.outcome(), Some(Outcome::NotSent))
    };
    if let Some(limit) = can.max_headers {
        // Length of the table, length and letters of the name, type and length of the text.
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(4 + 1 + "name".len() + 1 + 4);
        let text = "x".repeat(room);
        refuse(Value::from(format!("{text}x")), "max_headers")?;
        let largest = producer.publish("largest").routing_key(&queue).header("name", text.as_str()).send();
        user.answer(largest).during("publish the largest headers")?;
        let came = lane.get_soon(&queue)?;
        same("the largest header", came.envelope.headers.get("name").and_then(Value::as_str), Some(text.as_str()))?;
        lane.ack(came.tag)?;
    }
    let (plain, odd) = kinds();
    for value in plain.into_iter().chain(odd).filter(|value| !holds(can.header_types, value)) {
        refuse(Value::from(vec![value]), "header_types")?;
    }
    user.answer(producer.publish("small").routing_key(&queue).header("name", "text").send())?;
    user.answer(user.connection.close())?;
    same("messages", lane.bodies(&queue)?, ["small"])
}

/// A value of each kind: those AMQP has a type for, and the others.
fn kinds() -> (Vec<Value>, Vec<Value>) {
    let plain = vec![
        Value::Null,
        Value::from(true),
        Value::from(7),
        Value::from(0.5),
        Value::from("text"),
        Value::Bytes(Bytes::from_static(&[0, 255, 128])),
        "12.50".parse().map_or(Value::Null, Value::Decimal),
    ];
    let big = "123456789012345678901234567890".parse().map_or(Value::Null, Value::BigInt);
    (plain, vec![big])
}

/// Says whether headers of `types` hold a value of this kind.
fn holds(types: HeaderTypes, value: &Value) -> bool {
    let json = types == HeaderTypes::Json && matches!(value, Value::Bytes(_) | Value::Decimal(_));
    let amqp = types == HeaderTypes::Amqp && matches!(value, Value::BigInt(_));
    !json && !amqp
}

fn properties_round_trip(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let mut properties = Properties::default();
    properties.set_content(Some("text/x-odd".into()), Some("latin-1".into()));
    properties.delivery_mode = DeliveryMode::Transient;
    properties.priority = Some(3);
    properties.set_correlation_id("correlation ü");
    properties.set_reply_to("answers.here");
    if bench.can("message_ttl")? {
        properties.set_expiration(std::time::Duration::from_secs(600));
    }
    properties.set_message_id("message \"7\"");
    properties.set_timestamp(1_700_000_000);
    properties.set_kind("order.created");
    properties.set_app_id("suite");
    properties.set_cluster_id("cluster");
    let mut sent = envelope(&ShortStr::default(), &queue, "all");
    sent.properties = properties.clone();
    let came = send_and_fetch(&lane, &queue, sent)?;
    let got = &came.envelope.properties;
    same("content type", got.content_type(), properties.content_type())?;
    same("content encoding", got.content_encoding(), properties.content_encoding())?;
    same("delivery mode", got.delivery_mode, properties.delivery_mode)?;
    same("priority", got.priority, properties.priority)?;
    same("correlation id", got.correlation_id(), properties.correlation_id())?;
    same("reply to", got.reply_to(), properties.reply_to())?;
    same("expiration", got.expiration(), properties.expiration())?;
    same("message id", got.message_id(), properties.message_id())?;
    same("timestamp", got.timestamp(), properties.timestamp())?;
    same("type", got.kind(), properties.kind())?;
    same("app id", got.app_id(), properties.app_id())?;
    same("cluster id", got.cluster_id(), properties.cluster_id())?;
    let came = send_and_fetch(&lane, &queue, envelope(&ShortStr::default(), &queue, "none"))?;
    let got = &came.envelope.properties;
    let absent = [got.correlation_id(), got.reply_to(), got.message_id(), got.kind(), got.app_id(), got.user_id()];
    same("properties that were not sent", absent, [None; 6])?;
    same("expiration that was not sent", got.expiration(), None)?;
    same("delivery mode by default", got.delivery_mode, DeliveryMode::Persistent)
}

fn headers_round_trip(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let queue = lane.queue("q")?;
    let nested = FieldTable::from([("inner", Value::from(vec![Value::from(1), Value::from("x")]))]);
    let headers = FieldTable::from([
        ("null", Value::Null),
        ("true", Value::from(true)),
        ("false", Value::from(false)),
        ("zero", Value::from(0)),
        ("small", Value::from(-128)),
        ("wide", Value::from(i64::MAX)),
        ("low", Value::from(i64::MIN)),
        ("half", Value::from(0.5)),
        ("text", Value::from("ü \u{1F980} \"quoted\"")),
        ("empty", Value::from("")),
        ("bytes", Value::Bytes(Bytes::from_static(&[0, 255, 128]))),
        ("list", Value::from(vec![Value::from(1), Value::from("two"), Value::Null])),
        ("map", Value::Map(nested)),
        ("key with ü", Value::from("odd key")),
    ]);
    let types = bench.capabilities()?.header_types;
    let headers: FieldTable = headers
        .iter()
        .filter(|(_, value)| holds(types, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut sent = envelope(&ShortStr::default(), &queue, "headers");
    sent.headers = headers.clone().into();
    let came = send_and_fetch(&lane, &queue, sent)?;
    for (name, value) in headers.iter() {
        same(format!("header `{name}`"), came.envelope.headers.get(name), Some(value))?;
    }
    same("headers", came.envelope.headers.table().len(), headers.len())
}

fn odd_names_work(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    for odd in ["with blank", "dots.and.more", "slash/and\\", "quote\"'`", "ünï\u{1F980}", "{brace}", "a:b;c,d", "%41"]
    {
        let (exchange, queue) = (lane.exchange(odd, ExchangeKind::Direct)?, lane.queue(odd)?);
        lane.bind(&queue, &exchange, odd).during(format!("bind by `{odd}`"))?;
        lane.publish(&exchange, odd, "by exchange")?;
        lane.put(&queue, "by name")?;
        same(format!("messages by `{odd}`"), lane.bodies(&queue)?, ["by exchange", "by name"])?;
        let twin = lane.queue(&format!("{odd}'s twin"))?;
        same(format!("messages of a queue whose name only begins like `{odd}`"), lane.bodies(&twin)?, [""; 0])?;
        lane.put(&twin, "the twin's")?;
        same(format!("messages of `{odd}` after its twin got one"), lane.bodies(&queue)?, [""; 0])?;
        lane.unbind(&queue, &exchange, odd)?;
        lane.publish(&exchange, odd, "unbound")?;
        same(format!("messages by `{odd}` after it was unbound"), lane.bodies(&queue)?, [""; 0])?;
        lane.delete_queue(&queue)?;
    }
    Ok(())
}
