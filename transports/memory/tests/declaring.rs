//! Declaring twice is fine, declaring otherwise is refused, and what is deleted is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Broker, Lane, exchange, queue, wait};
use kombu_core::method::{ExchangeDeclare, ExchangeDelete, QueueDeclare, QueueDelete};
use kombu_core::{Error, ErrorKind, ExchangeKind, Scope, Value};

#[track_caller]
fn ends_the_channel(lane: &Lane, error: &Error, kind: ErrorKind) {
    assert_eq!((error.kind(), error.scope()), (kind, Scope::Channel), "{error}");
    let after = wait(lane.0.queue_declare(queue("other"))).unwrap_err();
    assert_eq!(after.kind(), ErrorKind::Closed, "{after}");
    assert!(after.context("reason").is_some(), "{after}");
}

#[test]
fn a_declaration_may_be_repeated() {
    let lane = Broker::new().channel();
    lane.exchange("media", ExchangeKind::Topic);
    lane.exchange("media", ExchangeKind::Topic);
    lane.queue("q");
    lane.fill("q", 0..3);
    assert_eq!(lane.queue("q").message_count, 3);
}

#[test]
fn a_queue_declared_otherwise_is_refused() {
    let broker = Broker::new();
    broker.channel().queue("q");
    for (other, kind) in [
        (QueueDeclare { durable: false, ..queue("q") }, ErrorKind::PreconditionFailed),
        (QueueDeclare { auto_delete: true, ..queue("q") }, ErrorKind::PreconditionFailed),
        (QueueDeclare { exclusive: true, ..queue("q") }, ErrorKind::ResourceLocked),
    ] {
        let lane = broker.channel();
        let error = wait(lane.0.queue_declare(other)).unwrap_err();
        ends_the_channel(&lane, &error, kind);
        assert_eq!(error.context("queue"), Some("q"));
    }
    broker.channel().queue("q");
}

/// As RabbitMQ has it: what goes with its connection is never durable, whatever is said.
#[test]
fn an_exclusive_queue_is_not_durable() {
    let broker = Broker::new();
    let lane = broker.channel();
    for durable in [true, false] {
        wait(lane.0.queue_declare(QueueDeclare { exclusive: true, durable, ..queue("mine") })).unwrap();
    }
    let error = wait(lane.0.queue_declare(queue("mine"))).unwrap_err();
    ends_the_channel(&lane, &error, ErrorKind::ResourceLocked);
}

#[test]
fn an_exchange_declared_otherwise_is_refused() {
    let broker = Broker::new();
    let declare = || exchange("media", ExchangeKind::Direct);
    wait(broker.channel().0.exchange_declare(declare())).unwrap();
    for other in [
        exchange("media", ExchangeKind::Fanout),
        ExchangeDeclare { durable: false, ..declare() },
        ExchangeDeclare { auto_delete: true, ..declare() },
        ExchangeDeclare { internal: true, ..declare() },
    ] {
        let lane = broker.channel();
        let error = wait(lane.0.exchange_declare(other)).unwrap_err();
        ends_the_channel(&lane, &error, ErrorKind::PreconditionFailed);
    }
}

#[test]
fn passive_only_asks() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.exchange("media", ExchangeKind::Fanout);
    // Asking says nothing of properties.
    let asked = QueueDeclare { passive: true, durable: false, ..queue("q") };
    assert_eq!(wait(lane.0.queue_declare(asked)).unwrap().queue, "q");
    let asked = ExchangeDeclare { passive: true, ..exchange("media", ExchangeKind::Direct) };
    wait(lane.0.exchange_declare(asked)).unwrap();

    let error = wait(lane.0.queue_declare(QueueDeclare { passive: true, ..queue("none") })).unwrap_err();
    ends_the_channel(&lane, &error, ErrorKind::NotFound);
    let lane = broker.channel();
    let asked = ExchangeDeclare { passive: true, ..exchange("none", ExchangeKind::Direct) };
    ends_the_channel(&lane, &wait(lane.0.exchange_declare(asked)).unwrap_err(), ErrorKind::NotFound);
}

#[test]
fn counts_are_of_ready_messages_and_consumers() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.fill("q", 0..5);
    let held = lane.get("q").unwrap();
    lane.qos(1, false);
    let _sink = lane.consume("q");
    let declared = lane.queue("q");
    assert_eq!((declared.message_count, declared.consumer_count), (3, 1));
    lane.ack(held.tag);
}

#[test]
fn a_thousand_server_named_queues_differ() {
    let lane = Broker::new().channel();
    let names: std::collections::HashSet<_> = (0..1000).map(|_| lane.queue("").queue.to_string()).collect();
    assert_eq!(names.len(), 1000);
    assert!(names.iter().all(|name| name.starts_with("amq.gen-")));
}

#[test]
fn reserved_and_overlong_names_are_refused() {
    let broker = Broker::new();
    let refused = |name: &str| wait(broker.channel().0.queue_declare(queue(name))).unwrap_err().kind();
    assert_eq!(refused("amq.mine"), ErrorKind::AccessRefused);
    assert_eq!(refused(&"q".repeat(256)), ErrorKind::InvalidArgument);
    broker.channel().queue(&"q".repeat(255));
    let declare = exchange(&"x".repeat(256), ExchangeKind::Direct);
    let error = wait(broker.channel().0.exchange_declare(declare)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn arguments_that_cannot_be_are_refused_by_name() {
    let broker = Broker::new();
    // What RabbitMQ 3.10.8 refused.
    let wrong = [
        ("x-message-ttl", Value::from(-1)),
        ("x-message-ttl", Value::from("5")),
        ("x-message-ttl", Value::from(1.5)),
        ("x-expires", Value::from(0)),
        ("x-max-length", Value::from(-1)),
        ("x-max-length-bytes", Value::from("a")),
        ("x-overflow", Value::from("nope")),
        ("x-max-priority", Value::from(256)),
        ("x-max-priority", Value::from(-1)),
        ("x-dead-letter-exchange", Value::from(5)),
        ("x-dead-letter-routing-key", Value::from("without exchange")),
        ("x-delivery-limit", Value::from(3)),
        ("x-queue-type", Value::from("nope")),
        ("x-single-active-consumer", Value::from("yes")),
    ];
    for (argument, value) in wrong {
        let lane = broker.channel();
        let mut declare = queue("q");
        declare.arguments.insert(argument, value);
        let error = wait(lane.0.queue_declare(declare)).unwrap_err();
        ends_the_channel(&lane, &error, ErrorKind::PreconditionFailed);
        assert_eq!(error.context("argument"), Some(argument));
    }
    let quorum = |change: fn(&mut QueueDeclare)| {
        let mut declare = queue("q");
        declare.arguments.insert("x-queue-type", "quorum");
        change(&mut declare);
        wait(broker.channel().0.queue_declare(declare))
    };
    for change in [
        (|declare| declare.durable = false) as fn(&mut QueueDeclare),
        |declare| declare.exclusive = true,
        |declare| declare.auto_delete = true,
        |declare| drop(declare.arguments.insert("x-max-priority", 3)),
    ] {
        assert_eq!(quorum(change).unwrap_err().kind(), ErrorKind::PreconditionFailed);
    }
    quorum(|declare| drop(declare.arguments.insert("x-delivery-limit", 3))).unwrap();
    // What nobody here understands, though RabbitMQ ignores it.
    let mut declare = queue("q2");
    declare.arguments.insert("x-mesage-ttl", 5);
    let error = wait(broker.channel().0.queue_declare(declare)).unwrap_err();
    assert_eq!((error.kind(), error.context("argument")), (ErrorKind::Unsupported, Some("x-mesage-ttl")));
}

#[test]
fn equal_arguments_may_be_repeated_and_others_are_named() {
    let broker = Broker::new();
    let declare = |arguments: &[(&str, Value)]| {
        let arguments = arguments.iter().cloned().collect();
        wait(broker.channel().0.queue_declare(QueueDeclare { arguments, ..queue("q") }))
    };
    let (ttl, longer) = (("x-message-ttl", Value::from(5)), ("x-message-ttl", Value::from(6)));
    declare(std::slice::from_ref(&ttl)).unwrap();
    declare(&[ttl.clone(), ("note", Value::from(1)), ("x-queue-type", Value::from("classic"))]).unwrap();
    for (other, name) in [
        (vec![longer], "x-message-ttl"),
        (vec![], "x-message-ttl"),
        (vec![ttl.clone(), ("x-max-length", Value::from(5))], "x-max-length"),
        (vec![ttl.clone(), ("x-overflow", Value::from("drop-head"))], "x-overflow"),
        (vec![ttl.clone(), ("x-queue-mode", Value::from("lazy"))], "x-queue-mode"),
    ] {
        let error = declare(&other).unwrap_err();
        assert_eq!((error.kind(), error.context("argument")), (ErrorKind::PreconditionFailed, Some(name)));
    }
    let exchange = |alternate: Option<&str>| {
        let mut declare = exchange("media", ExchangeKind::Direct);
        declare.arguments = alternate.map(|alternate| ("alternate-exchange", alternate)).into_iter().collect();
        wait(broker.channel().0.exchange_declare(declare))
    };
    exchange(Some("a")).unwrap();
    exchange(Some("a")).unwrap();
    for other in [None, Some("b")] {
        assert_eq!(exchange(other).unwrap_err().context("argument"), Some("alternate-exchange"));
    }
}

#[test]
fn deleting_returns_the_count_and_drops_the_bindings() {
    let lane = Broker::new().channel();
    lane.exchange("media", ExchangeKind::Direct);
    lane.queue("q");
    lane.bind("q", "media", "video");
    assert_eq!(lane.publish("media", "video", "x"), 1);
    lane.fill("q", 0..4);
    assert_eq!(lane.delete("q").unwrap(), 5);
    assert_eq!(lane.delete("q").unwrap(), 0);
    lane.queue("q");
    assert_eq!(lane.publish("media", "video", "x"), 0);
    assert_eq!(lane.drain("q"), Vec::<String>::new());
}

#[test]
fn deleting_may_depend_on_use_and_content() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..1);
    let if_empty = || QueueDelete { queue: "q".into(), if_empty: true, if_unused: false };
    let if_unused = || QueueDelete { queue: "q".into(), if_unused: true, if_empty: false };
    let other = broker.channel();
    ends_the_channel(&other, &wait(other.0.queue_delete(if_empty())).unwrap_err(), ErrorKind::PreconditionFailed);
    let sink = lane.consume("q");
    let other = broker.channel();
    ends_the_channel(&other, &wait(other.0.queue_delete(if_unused())).unwrap_err(), ErrorKind::PreconditionFailed);
    assert_eq!(sink.len(), 1);
    // It is delivered, so it is not in the queue.
    assert_eq!(wait(broker.channel().0.queue_delete(if_empty())).unwrap(), 0);
    lane.queue("q");
    assert_eq!(wait(lane.0.queue_delete(if_unused())).unwrap(), 0);
}

#[test]
fn deleting_an_exchange_may_depend_on_its_bindings() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.exchange("media", ExchangeKind::Direct);
    lane.queue("q");
    lane.bind("q", "media", "video");
    let delete = |if_unused| ExchangeDelete { exchange: "media".into(), if_unused };
    let other = broker.channel();
    ends_the_channel(&other, &wait(other.0.exchange_delete(delete(true))).unwrap_err(), ErrorKind::PreconditionFailed);
    wait(lane.0.exchange_delete(delete(false))).unwrap();
    wait(lane.0.exchange_delete(delete(true))).unwrap();
    lane.exchange("media", ExchangeKind::Fanout);
    assert_eq!(lane.publish("media", "video", "x"), 0);
    lane.delete("q").unwrap();
}

#[test]
fn purge_counts_ready_and_leaves_unsettled() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.fill("q", 0..5);
    let held = lane.get("q").unwrap();
    assert_eq!(wait(lane.0.queue_purge("q".into())).unwrap(), 4);
    assert_eq!(wait(lane.0.queue_purge("q".into())).unwrap(), 0);
    lane.requeue(held.tag);
    assert_eq!(lane.drain("q"), ["0"]);
    let error = wait(lane.0.queue_purge("none".into())).unwrap_err();
    ends_the_channel(&lane, &error, ErrorKind::NotFound);
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let lane = Broker::new().channel();
    wait(lane.0.queue_declare(QueueDeclare { auto_delete: true, ..queue("q") })).unwrap();
    lane.fill("q", 0..1);
    assert_eq!(lane.ready("q"), 1);
    let one = lane.consume_into("q", std::sync::Arc::new(common::Collect::default()));
    let two = lane.consume_into("q", std::sync::Arc::new(common::Collect::default()));
    wait(lane.0.basic_cancel(one)).unwrap();
    assert_eq!(lane.publish("", "q", "x"), 1);
    wait(lane.0.basic_cancel(two)).unwrap();
    assert_eq!(lane.publish("", "q", "x"), 0);
}

#[test]
fn an_exclusive_queue_is_its_connections_alone() {
    let broker = Broker::new();
    let owner = broker.connect();
    let lane = Lane(wait(owner.channel()).unwrap());
    wait(lane.0.queue_declare(QueueDeclare { exclusive: true, ..queue("mine") })).unwrap();
    Lane(wait(owner.channel()).unwrap()).fill("mine", 0..1);
    let locked = |act: &dyn Fn(&Lane) -> Option<Error>| {
        let other = broker.channel();
        let error = act(&other).expect("an error");
        ends_the_channel(&other, &error, ErrorKind::ResourceLocked);
    };
    locked(&|other| wait(other.0.queue_declare(QueueDeclare { exclusive: true, ..queue("mine") })).err());
    locked(&|other| wait(other.0.queue_declare(QueueDeclare { passive: true, ..queue("mine") })).err());
    locked(&|other| wait(other.0.queue_purge("mine".into())).err());
    locked(&|other| other.delete("mine").err());
    locked(&|other| wait(other.0.basic_get(kombu_core::method::BasicGet { queue: "mine".into(), no_ack: true })).err());
    // Publishing to it is everybody's right.
    assert_eq!(broker.channel().publish("", "mine", "x"), 1);
    lane.close();
    assert_eq!(broker.channel().publish("", "mine", "x"), 1);
    wait(owner.close()).unwrap();
    assert_eq!(broker.channel().publish("", "mine", "x"), 0);
}
