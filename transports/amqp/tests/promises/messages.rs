//! What is published comes out as it went in.

use std::time::Duration;

use kombu_brokers::RabbitServer;
use kombu_core::{DeliveryMode, ErrorKind, FieldTable, Queue, Raw, Value};

use crate::common::{Diary, connection};

#[test]
fn every_property_and_header_comes_back() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    let headers = FieldTable::from([
        ("null", Value::Null),
        ("bool", Value::from(true)),
        ("int", Value::from(-5)),
        ("long", Value::from(1_i64 << 50)),
        ("float", Value::from(1.25)),
        ("text", Value::from("größe")),
        ("bytes", Value::Bytes(vec![0, 159, 146].into())),
        ("list", Value::List(vec![Value::from(1), Value::from("a")])),
        ("map", Value::Map(FieldTable::from([("x", 1)]))),
        ("time", Value::DateTime("2024-02-29T12:00:00+00:00".parse().unwrap())),
        ("decimal", Value::Decimal("12.50".parse().unwrap())),
    ]);
    connection
        .producer()
        .publish(Raw(vec![0_u8, 1, 255]))
        .routing_key("q")
        .headers(headers.clone())
        .content_type("application/x-own", "binary")
        .priority(4)
        .delivery_mode(DeliveryMode::Transient)
        .expiration(Duration::from_secs(60))
        .correlation_id("c")
        .reply_to("r")
        .message_id("m")
        .timestamp(1_700_000_000)
        .kind("k")
        .user_id("guest")
        .app_id("a")
        .wait()
        .unwrap();
    let message = queue.get(&connection).wait().unwrap().expect("it is there");
    assert_eq!(message.headers().table(), &headers);
    assert_eq!(message.body().as_ref(), [0, 1, 255]);
    let properties = message.properties();
    assert_eq!((properties.content_type(), properties.content_encoding()), (Some("application/x-own"), Some("binary")));
    assert_eq!((properties.priority, properties.delivery_mode), (Some(4), DeliveryMode::Transient));
    assert_eq!(properties.expiration(), Some(Duration::from_secs(60)));
    assert_eq!((properties.correlation_id(), properties.reply_to()), (Some("c"), Some("r")));
    assert_eq!((properties.message_id(), properties.timestamp()), (Some("m"), Some(1_700_000_000)));
    assert_eq!((properties.kind(), properties.user_id(), properties.app_id()), (Some("k"), Some("guest"), Some("a")));
    assert_eq!((message.routing_key().as_str(), message.exchange().as_str()), ("q", ""));
    message.ack().wait().unwrap();
}

#[test]
fn bodies_of_any_size_come_back() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    // None, one byte, around one frame of 128 kB, and many frames.
    for size in [0, 1, 131_063, 131_064, 131_065, 5_000_000] {
        let body: Vec<u8> = (0..size).map(|number: usize| (number % 251) as u8).collect();
        connection.producer().publish(Raw(body.clone())).routing_key("q").wait().unwrap();
        let message = queue.get(&connection).wait().unwrap().expect("it is there");
        assert!(message.body().as_ref() == body, "a body of {size} bytes");
        message.ack();
    }
}

#[test]
fn what_amqp_cannot_carry_is_refused_before_it_is_sent() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let diary = Diary::of(&connection);
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    let producer = connection.producer();
    let error = producer.publish("x").routing_key("k".repeat(256)).wait().unwrap_err();
    assert_eq!(error.outcome(), Some(kombu_core::Outcome::NotSent), "{error}");
    let error = producer.publish("x").routing_key("q").header("h", "v").message_id("m".repeat(256)).wait().unwrap_err();
    assert!(error.to_string().contains("message id"), "{error}");
    // All headers go into one frame; the broker would end the connection over a larger one.
    let huge = producer.publish("x").routing_key("q").header("huge", "x".repeat(200_000)).wait().unwrap_err();
    assert_eq!((huge.kind(), huge.outcome()), (ErrorKind::InvalidArgument, Some(kombu_core::Outcome::NotSent)));
    assert!(huge.to_string().contains("`frame_max` is 131072"), "{huge}");
    let huge = Queue::new("other").argument("huge", "x".repeat(200_000)).declare(&connection).wait().unwrap_err();
    assert!(huge.kind() == ErrorKind::InvalidArgument && huge.to_string().contains("`frame_max`"), "{huge}");
    // To the byte.
    let fits = |size| producer.publish("x").routing_key("exact").header("huge", "x".repeat(size)).wait();
    Queue::new("exact").declare(&connection).wait().unwrap();
    let largest = (130_900..131_072).take_while(|size| fits(*size).is_ok()).last().expect("the first fits");
    assert!(largest < 131_064, "{largest}");
    let seen = Queue::new("exact").get(&connection).wait().unwrap().expect("it is there");
    seen.ack().wait().unwrap();
    assert_eq!(diary.count("disconnected"), 0, "{}", diary.text());
    // The channel goes on.
    producer.publish("good").routing_key("q").wait().unwrap();
    assert_eq!(vhost.messages("q"), 1);
}

#[test]
fn headers_may_fill_the_brokers_frame() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("wide");
    queue.declare(&connection).wait().unwrap();
    let big = "x".repeat(120_000);
    connection.producer().publish("body").routing_key("wide").header("big", big.as_str()).send().wait().unwrap();
    let narrow = crate::common::connection(&format!("{}?frame_max=32768", vhost.url()));
    let error = queue.get(&narrow).wait().expect_err("its frames are too small").to_string();
    assert!(error.contains("needs a larger `frame_max`"), "{error}");
    crate::common::wait_for("it is back", || vhost.unacknowledged("wide") == 0);
    let message = queue.get(&connection).wait().unwrap().expect("it is there");
    assert_eq!(message.headers().get("big").and_then(Value::as_str), Some(big.as_str()));
    message.ack();
}
