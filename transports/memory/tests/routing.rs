//! A message goes to the queues that AMQP says, once each.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Broker, binding, exchange, wait};
use kombu_core::method::ExchangeDelete;
use kombu_core::{Confirmation, ErrorKind, ExchangeKind, Outcome, Scope};

#[test]
fn the_default_exchange_routes_by_queue_name() {
    let lane = Broker::new().channel();
    lane.queue("orders");
    assert_eq!(lane.publish("", "orders", "a"), 1);
    assert_eq!(lane.publish("", "Orders", "b"), 0);
    assert_eq!(lane.drain("orders"), ["a"]);
}

#[test]
fn a_publish_to_a_missing_queue_creates_nothing() {
    let broker = Broker::new();
    let lane = broker.channel();
    assert_eq!(lane.publish("", "later", "lost"), 0);
    assert_eq!(lane.queue("later").message_count, 0);
    assert_eq!(lane.publish("", "later", "kept"), 1);
    assert_eq!(lane.drain("later"), ["kept"]);
    lane.delete("later").unwrap();
    assert_eq!(lane.publish("", "later", "lost"), 0);
}

#[test]
fn the_default_exchange_is_the_brokers() {
    let broker = Broker::new();
    broker.channel().queue("orders");
    let refused = |result: kombu_core::Result<()>| {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::AccessRefused, Scope::Channel), "{error}");
    };
    refused(wait(broker.channel().0.queue_bind(binding("orders", "", "key"))));
    refused(wait(broker.channel().0.exchange_delete(ExchangeDelete::default())));
    refused(wait(broker.channel().0.exchange_declare(exchange("", ExchangeKind::Direct))));
    refused(wait(broker.channel().0.exchange_declare(exchange("amq.mine", ExchangeKind::Direct))));
    refused(wait(
        broker.channel().0.exchange_delete(ExchangeDelete { exchange: "amq.topic".into(), if_unused: false }),
    ));
    assert_eq!(broker.channel().publish("", "orders", "still routed"), 1);
}

#[test]
fn every_broker_has_the_named_exchanges() {
    let lane = Broker::new().channel();
    lane.queue("orders");
    for (name, kind) in
        [("amq.direct", ExchangeKind::Direct), ("amq.topic", ExchangeKind::Topic), ("amq.fanout", ExchangeKind::Fanout)]
    {
        lane.exchange(name, kind);
        lane.bind("orders", name, "key");
        assert_eq!(lane.publish(name, "key", name), 1);
    }
    assert_eq!(lane.drain("orders"), ["amq.direct", "amq.topic", "amq.fanout"]);
}

#[test]
fn direct_is_exact() {
    let lane = Broker::new().channel();
    lane.exchange("media", ExchangeKind::Direct);
    for queue in ["one", "two"] {
        lane.queue(queue);
        lane.bind(queue, "media", "video");
    }
    lane.bind("two", "media", "audio");
    assert_eq!(lane.publish("media", "video", "a"), 2);
    assert_eq!(lane.publish("media", "audio", "b"), 1);
    assert_eq!(lane.publish("media", "Video", "c"), 0);
    assert_eq!(lane.publish("media", "", "d"), 0);
    assert_eq!((lane.drain("one"), lane.drain("two")), (vec!["a".into()], vec!["a".into(), "b".into()]));
}

#[test]
fn topic_follows_the_table() {
    let lane = Broker::new().channel();
    lane.exchange("events", ExchangeKind::Topic);
    for (pattern, key, matches) in [
        ("#", "", true),
        ("*", "", false),
        ("a.*", "a.", true),
        ("a.*", "a", false),
        ("*.b", ".b", true),
        ("a.#.b", "a.b", true),
        ("a.#.b", "a.x.y.b", true),
        ("#.#", "a", true),
        ("a.*.#", "a.b", true),
        ("a.*.#", "a", false),
        ("A", "a", false),
        ("a.b", "a.b.", false),
        ("", "", true),
    ] {
        lane.queue("q");
        lane.bind("q", "events", pattern);
        assert_eq!(lane.publish("events", key, "x"), u32::from(matches), "`{pattern}` and `{key}`");
        lane.delete("q").unwrap();
    }
}

#[test]
fn fanout_ignores_the_key_and_reaches_idle_queues() {
    let lane = Broker::new().channel();
    lane.exchange("all", ExchangeKind::Fanout);
    for queue in ["one", "two", "three"] {
        lane.queue(queue);
        lane.bind(queue, "all", queue);
    }
    lane.bind("one", "all", "again");
    assert_eq!(lane.publish("all", "whatever", "x"), 3);
    for queue in ["one", "two", "three"] {
        assert_eq!(lane.drain(queue), ["x"]);
    }
}

#[test]
fn a_double_binding_gives_one_copy() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.exchange("events", ExchangeKind::Topic);
    ["a.#", "#", "*.b", "a.b", "a.b"].into_iter().for_each(|pattern| lane.bind("q", "events", pattern));
    assert_eq!(lane.publish("events", "a.b", "x"), 1);
    assert_eq!(lane.drain("q"), ["x"]);
}

#[test]
fn unbind_stops_that_binding_only() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.exchange("media", ExchangeKind::Direct);
    lane.bind("q", "media", "video");
    lane.bind("q", "media", "audio");
    assert_eq!((lane.publish("media", "video", "a"), lane.publish("media", "audio", "b")), (1, 1));
    wait(lane.0.queue_unbind(binding("q", "media", "video"))).unwrap();
    assert_eq!((lane.publish("media", "video", "c"), lane.publish("media", "audio", "d")), (0, 1));
    for (queue, exchange, key) in [("q", "media", "video"), ("none", "media", "audio"), ("q", "none", "audio")] {
        wait(lane.0.queue_unbind(binding(queue, exchange, key))).unwrap();
    }
    assert_eq!(lane.drain("q"), ["a", "b", "d"]);
}

#[test]
fn bindings_that_differ_in_arguments_are_two() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.exchange("media", ExchangeKind::Direct);
    lane.bind("q", "media", "video");
    let mut noted = binding("q", "media", "video");
    noted.arguments.insert("note", "second");
    wait(lane.0.queue_bind(noted.clone())).unwrap();
    assert_eq!(lane.publish("media", "video", "a"), 1);
    wait(lane.0.queue_unbind(noted)).unwrap();
    assert_eq!(lane.publish("media", "video", "b"), 1);
    wait(lane.0.queue_unbind(binding("q", "media", "video"))).unwrap();
    assert_eq!(lane.publish("media", "video", "c"), 0);
}

#[test]
fn a_missing_exchange_is_not_found_and_nothing_is_sent() {
    let broker = Broker::new();
    let lane = broker.channel();
    let error = lane.try_publish("none", "key", "x", false).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::NotFound, Scope::Channel));
    assert_eq!(error.outcome(), Some(Outcome::NotSent));
    assert_eq!(error.context("exchange"), Some("none"));
    let after = lane.try_publish("", "q", "x", false).unwrap_err();
    assert_eq!((after.kind(), after.outcome()), (ErrorKind::Closed, Some(Outcome::NotSent)));
    for (queue, exchange) in [("q", "none"), ("none", "amq.direct")] {
        let lane = broker.channel();
        lane.queue("q");
        assert_eq!(wait(lane.0.queue_bind(binding(queue, exchange, "key"))).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn an_internal_exchange_takes_no_publish() {
    let lane = Broker::new().channel();
    let internal = kombu_core::method::ExchangeDeclare { internal: true, ..exchange("inside", ExchangeKind::Direct) };
    wait(lane.0.exchange_declare(internal)).unwrap();
    assert_eq!(lane.try_publish("inside", "key", "x", false).unwrap_err().kind(), ErrorKind::AccessRefused);
}

#[test]
fn an_unroutable_mandatory_message_comes_back() {
    let lane = Broker::new().channel();
    let hear = common::Hear::on(&lane);
    lane.queue("q");
    lane.exchange("media", ExchangeKind::Direct);
    let confirmed = lane.try_publish("", "q", "x", true).unwrap();
    assert_eq!(confirmed, Confirmation::Confirmed { queues: Some(1) });
    for exchange in ["media", ""] {
        let Confirmation::Returned(returned) = lane.try_publish(exchange, "none", "back", true).unwrap() else {
            panic!("it was taken");
        };
        assert_eq!((returned.code, returned.text.as_str()), (312, "NO_ROUTE"));
        assert_eq!(returned.envelope.body.as_ref(), b"back");
        // The answer to the publish says it; the observer hears of returns that answer no publish.
        assert!(hear.take().is_empty());
        assert_eq!(lane.publish(exchange, "none", "dropped"), 0);
    }
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let broker = Broker::new();
    let lane = broker.channel();
    let declare =
        kombu_core::method::ExchangeDeclare { auto_delete: true, ..exchange("fleeting", ExchangeKind::Direct) };
    wait(lane.0.exchange_declare(declare)).unwrap();
    lane.queue("q");
    lane.queue("r");
    lane.bind("q", "fleeting", "a");
    lane.bind("r", "fleeting", "b");
    wait(lane.0.queue_unbind(binding("q", "fleeting", "a"))).unwrap();
    assert_eq!(lane.publish("fleeting", "b", "x"), 1);
    lane.delete("r").unwrap();
    assert_eq!(lane.try_publish("fleeting", "b", "x", false).unwrap_err().kind(), ErrorKind::NotFound);
}
