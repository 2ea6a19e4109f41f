//! Messages go from exchange to exchange, by headers, and to alternates.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Broker, Lane, binding, exchange, wait};
use kombu_core::method::{ExchangeBind, ExchangeDelete, QueueBind};
use kombu_core::{Confirmation, ErrorKind, ExchangeKind, FieldTable, Result, Scope, Value};

fn bind(lane: &Lane, destination: &str, source: &str, routing_key: &str) -> Result<()> {
    wait(lane.0.exchange_bind(between(destination, source, routing_key)))
}

fn between(destination: &str, source: &str, routing_key: &str) -> ExchangeBind {
    let (destination, source, routing_key) = (destination.into(), source.into(), routing_key.into());
    ExchangeBind { destination, source, routing_key, arguments: FieldTable::new() }
}

fn alternate(lane: &Lane, name: &str, kind: ExchangeKind, to: &str) {
    let mut method = exchange(name, kind);
    method.arguments.insert("alternate-exchange", to);
    wait(lane.0.exchange_declare(method)).unwrap();
}

fn delete(lane: &Lane, name: &str, if_unused: bool) -> Result<()> {
    wait(lane.0.exchange_delete(ExchangeDelete { exchange: name.into(), if_unused }))
}

#[test]
fn a_circle_of_exchanges_delivers_once() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.exchange("x", ExchangeKind::Topic);
    lane.exchange("y", ExchangeKind::Fanout);
    lane.queue("q");
    bind(&lane, "y", "x", "a.#").unwrap();
    bind(&lane, "y", "x", "a.#").unwrap();
    bind(&lane, "x", "y", "").unwrap();
    bind(&lane, "x", "x", "#").unwrap();
    lane.bind("q", "y", "");
    lane.bind("q", "x", "a.b");
    assert_eq!(lane.publish("x", "a.b", "1"), 1);
    assert_eq!(lane.publish("x", "b", "2"), 0);
    assert_eq!(lane.publish("y", "b", "3"), 1);
    assert_eq!(lane.drain("q"), ["1", "3"]);
    wait(lane.0.exchange_unbind(between("y", "x", "a.#"))).unwrap();
    assert_eq!(lane.publish("x", "a.c", "4"), 0);
    wait(lane.0.exchange_unbind(between("y", "x", "a.#"))).unwrap();
    wait(lane.0.exchange_unbind(between("y", "none", ""))).unwrap();
    assert_eq!(delete(&lane, "x", true).unwrap_err().kind(), ErrorKind::PreconditionFailed);
}

#[test]
fn both_exchanges_must_be_there_and_not_the_default_one() {
    let broker = Broker::new();
    for (destination, source, kind) in [
        ("none", "amq.fanout", ErrorKind::NotFound),
        ("amq.fanout", "none", ErrorKind::NotFound),
        ("amq.fanout", "", ErrorKind::AccessRefused),
        ("", "amq.fanout", ErrorKind::AccessRefused),
    ] {
        let error = bind(&broker.channel(), destination, source, "").unwrap_err();
        assert_eq!((error.kind(), error.scope()), (kind, Scope::Channel));
    }
}

#[test]
fn an_auto_delete_exchange_goes_with_the_exchange_it_leads_to() {
    let broker = Broker::new();
    let lane = broker.channel();
    let auto = |name: &str| {
        let mut method = exchange(name, ExchangeKind::Fanout);
        method.auto_delete = true;
        wait(lane.0.exchange_declare(method)).unwrap();
    };
    auto("x");
    auto("y");
    bind(&lane, "y", "x", "").unwrap();
    delete(&lane, "y", false).unwrap();
    assert_eq!(broker.channel().try_publish("x", "", "1", false).unwrap_err().kind(), ErrorKind::NotFound);
    auto("x");
    auto("y");
    bind(&lane, "y", "x", "").unwrap();
    delete(&lane, "x", false).unwrap();
    assert_eq!(lane.publish("y", "", "1"), 0);
}

#[test]
fn an_internal_exchange_takes_what_other_exchanges_send() {
    let lane = Broker::new().channel();
    let mut method = exchange("inside", ExchangeKind::Fanout);
    method.internal = true;
    wait(lane.0.exchange_declare(method)).unwrap();
    lane.queue("q");
    lane.bind("q", "inside", "");
    bind(&lane, "inside", "amq.fanout", "").unwrap();
    assert_eq!(lane.publish("amq.fanout", "", "1"), 1);
    assert_eq!(lane.drain("q"), ["1"]);
}

#[test]
fn what_matches_no_binding_goes_to_the_alternate() {
    let lane = Broker::new().channel();
    lane.exchange("rest", ExchangeKind::Fanout);
    lane.queue("q");
    alternate(&lane, "media", ExchangeKind::Direct, "rest");
    lane.bind("q", "rest", "");
    let sent = lane.try_publish("media", "key", "1", true).unwrap();
    assert_eq!(sent, Confirmation::Confirmed { queues: Some(1) });
    let got = lane.get("q").unwrap();
    assert_eq!((got.envelope.exchange.as_str(), got.envelope.routing_key.as_str()), ("media", "key"));
    lane.queue("known");
    lane.bind("known", "media", "key");
    lane.publish("media", "key", "2");
    assert_eq!((lane.ready("q"), lane.drain("known")), (0, vec!["2".to_owned()]));
    // An exchange that another one leads to uses its own alternate, and a binding that leads nowhere is a binding.
    lane.exchange("first", ExchangeKind::Fanout);
    bind(&lane, "media", "first", "").unwrap();
    assert_eq!(lane.publish("first", "unknown", "3"), 1);
    lane.exchange("empty", ExchangeKind::Fanout);
    alternate(&lane, "second", ExchangeKind::Fanout, "rest");
    bind(&lane, "empty", "second", "").unwrap();
    assert_eq!(lane.publish("second", "", "4"), 0);
    // Two that point at each other end, and one that is missing is none.
    alternate(&lane, "ping", ExchangeKind::Direct, "pong");
    assert_eq!(lane.publish("ping", "", "5"), 0);
    alternate(&lane, "pong", ExchangeKind::Direct, "ping");
    assert_eq!(lane.publish("ping", "", "5"), 0);
}

#[test]
fn headers_decide() {
    let broker = Broker::new();
    let lane = broker.channel();
    let by_headers = |queue: &str, arguments: &[(&str, Value)]| {
        lane.queue(queue);
        let arguments = arguments.iter().cloned().collect();
        wait(lane.0.queue_bind(QueueBind { arguments, ..binding(queue, "amq.headers", "") })).unwrap();
    };
    by_headers("both", &[("x-match", "all".into()), ("kind", "video".into()), ("size", 3.into())]);
    by_headers("one", &[("x-match", "any".into()), ("kind", "video".into()), ("size", 3.into())]);
    by_headers("one", &[("x-match", "any".into()), ("kind", "audio".into())]);
    by_headers("there", &[("size", Value::Null)]);
    let publish = |headers: &[(&str, Value)]| {
        let sent = lane.send("ignored", "x", |envelope| {
            envelope.exchange = "amq.headers".into();
            envelope.headers = headers.iter().cloned().collect::<FieldTable>().into();
        });
        let counts = ["both", "one", "there"].map(|queue| lane.drain(queue).len());
        assert_eq!(sent.unwrap(), Confirmation::Confirmed { queues: Some(counts.iter().sum::<usize>() as u32) });
        counts
    };
    assert_eq!(publish(&[("kind", "video".into()), ("size", 3.into())]), [1, 1, 1]);
    assert_eq!(publish(&[("kind", "video".into()), ("size", "3".into())]), [0, 1, 1]);
    assert_eq!(publish(&[("kind", "audio".into())]), [0, 1, 0]);
    assert_eq!(publish(&[]), [0, 0, 0]);
    // Each binding goes by itself.
    let arguments = FieldTable::from([("x-match", "any"), ("kind", "audio")]);
    wait(lane.0.queue_unbind(QueueBind { arguments, ..binding("one", "amq.headers", "") })).unwrap();
    assert_eq!(publish(&[("kind", "audio".into())]), [0, 0, 0]);
    assert_eq!(publish(&[("kind", "video".into())]), [0, 1, 0]);
    lane.delete("both").unwrap();
    let arguments = FieldTable::from([("x-match", "most")]);
    let error =
        wait(broker.channel().0.queue_bind(QueueBind { arguments, ..binding("one", "amq.headers", "") })).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::PreconditionFailed, Scope::Channel));
}
