//! What dies in a queue goes where the queue says, with its death noted as RabbitMQ notes it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::time::Duration;

use common::{Lane, body, manual};
use kombu_core::{Delivery, ExchangeKind, FieldTable, Value};

/// Declares a queue whose dead letters go to the queue `dead`.
fn mortal<const N: usize>(lane: &Lane, name: &str, arguments: [(&str, Value); N]) {
    lane.queue("dead");
    let mut all = vec![("x-dead-letter-exchange", Value::from("")), ("x-dead-letter-routing-key", Value::from("dead"))];
    all.extend(arguments);
    let method = kombu_core::method::QueueDeclare { arguments: all.into_iter().collect(), ..common::queue(name) };
    common::wait(lane.0.queue_declare(method)).unwrap();
}

fn deaths(delivery: &Delivery) -> Vec<FieldTable> {
    let Some(Value::List(deaths)) = delivery.envelope.headers.get("x-death") else { panic!("{:?}", delivery.envelope) };
    deaths.iter().map(|death| death.as_map().unwrap().clone()).collect()
}

fn text(table: &FieldTable, name: &str) -> Option<String> {
    table.get(name).and_then(Value::as_str).map(str::to_owned)
}

#[test]
fn a_rejected_message_is_noted_as_rabbitmq_notes_it() {
    let (broker, _clock) = manual();
    let lane = broker.channel();
    mortal(&lane, "q", []);
    lane.send("q", "a", |envelope| {
        envelope.headers.table_mut().insert("own", 1);
        envelope.properties.priority = Some(3);
        envelope.properties.set_expiration(Duration::from_secs(60));
    })
    .unwrap();
    lane.reject(lane.get("q").unwrap().tag);
    let dead = lane.get("dead").unwrap();
    let envelope = &dead.envelope;
    assert_eq!((envelope.exchange.as_str(), envelope.routing_key.as_str()), ("", "dead"));
    assert_eq!((envelope.properties.expiration(), envelope.properties.priority), (None, Some(3)));
    assert_eq!((dead.redelivered, dead.delivery_count), (false, Some(0)));
    let headers = envelope.headers.table();
    assert_eq!(headers.get("own"), Some(&Value::from(1)));
    for (name, value) in
        [("x-first-death-reason", "rejected"), ("x-first-death-queue", "q"), ("x-first-death-exchange", "")]
    {
        assert_eq!(text(headers, name).as_deref(), Some(value), "{name}");
    }
    let [death] = &deaths(&dead)[..] else { panic!("{headers:?}") };
    let names: Vec<_> = death.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"]);
    assert_eq!(death.get("count"), Some(&Value::from(1)));
    assert_eq!(death.get("routing-keys"), Some(&Value::List(vec![Value::from("q")])));
    assert_eq!(text(death, "original-expiration").as_deref(), Some("60000"));
    assert!(matches!(death.get("time"), Some(Value::DateTime(_))));
}

#[test]
fn every_way_to_die_has_its_reason() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    mortal(&lane, "expired", [("x-message-ttl", Value::from(1000))]);
    mortal(&lane, "maxlen", [("x-max-length", Value::from(0))]);
    mortal(&lane, "delivery_limit", [("x-queue-type", Value::from("quorum")), ("x-delivery-limit", Value::from(2))]);
    lane.fill("expired", 0..1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(lane.ready("expired"), 0);
    lane.fill("maxlen", 1..2);
    lane.fill("delivery_limit", 2..3);
    let counts: Vec<_> = (0..3)
        .map(|_| {
            let held = lane.get("delivery_limit").unwrap();
            lane.requeue(held.tag);
            (held.delivery_count.unwrap(), held.envelope.headers.get("x-delivery-count").and_then(Value::as_i64))
        })
        .collect();
    assert_eq!(counts, [(0, Some(0)), (1, Some(1)), (2, Some(2))]);
    assert!(lane.get("delivery_limit").is_none());
    for (number, reason) in ["expired", "maxlen", "delivery_limit"].into_iter().enumerate() {
        let dead = lane.get("dead").unwrap();
        assert_eq!(body(&dead), number.to_string());
        let death = &deaths(&dead)[0];
        assert_eq!((text(death, "reason").as_deref(), text(death, "queue").as_deref()), (Some(reason), Some(reason)));
        assert_eq!(dead.envelope.headers.get("x-delivery-count"), None);
    }
}

#[test]
fn the_same_death_is_counted_and_another_comes_first() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    mortal(&lane, "q", []);
    lane.fill("q", 0..1);
    let again = |change: fn(&mut kombu_core::Properties)| {
        let dead = lane.get("dead").unwrap();
        lane.ack(dead.tag);
        lane.send("q", "again", |envelope| {
            envelope.headers = dead.envelope.headers.clone();
            change(&mut envelope.properties);
        })
        .unwrap();
    };
    for _ in 0..2 {
        lane.reject(lane.get("q").unwrap().tag);
        clock.advance(Duration::from_secs(5));
        again(|_| {});
    }
    lane.reject(lane.get("q").unwrap().tag);
    again(|properties| properties.set_expiration(Duration::ZERO));
    let dead = lane.get("dead").unwrap();
    let noted: Vec<_> =
        deaths(&dead).iter().map(|death| (text(death, "reason").unwrap(), death.get("count").cloned())).collect();
    assert_eq!(noted, [("expired".into(), Some(Value::from(1))), ("rejected".into(), Some(Value::from(3)))]);
    assert_eq!(dead.envelope.headers.get("x-first-death-reason"), Some(&Value::from("rejected")));
}

#[test]
fn a_circle_nobody_rejects_in_ends() {
    let (broker, clock) = manual();
    let lane = broker.channel();
    let round = |name, to: &str| {
        lane.queue_with(
            name,
            [
                ("x-dead-letter-exchange", Value::from("")),
                ("x-dead-letter-routing-key", Value::from(to)),
                ("x-message-ttl", Value::from(10)),
            ],
        );
    };
    round("a", "b");
    round("b", "a");
    lane.fill("a", 0..1);
    clock.advance(Duration::from_millis(10));
    assert_eq!((lane.ready("a"), lane.ready("b")), (0, 1));
    clock.advance(Duration::from_millis(10));
    assert_eq!((lane.ready("a"), lane.ready("b")), (0, 0));
    // With a rejection in it, it goes on.
    lane.fill("a", 1..2);
    for _ in 0..3 {
        lane.reject(lane.get("a").unwrap().tag);
        lane.reject(lane.get("b").unwrap().tag);
    }
    assert_eq!(lane.drain("a"), ["1"]);
}

#[test]
fn dead_letters_go_through_exchanges_or_nowhere() {
    let (broker, _clock) = manual();
    let lane = broker.channel();
    lane.exchange("graves", ExchangeKind::Topic);
    lane.queue("grave");
    lane.bind("grave", "graves", "q.#");
    lane.queue_with("q.1", [("x-dead-letter-exchange", Value::from("graves"))]);
    lane.queue_with("lost", [("x-dead-letter-exchange", Value::from("nowhere"))]);
    for queue in ["q.1", "lost"] {
        lane.fill(queue, 0..2);
        lane.get(queue).unwrap();
        let last = lane.get(queue).unwrap();
        lane.0.basic_nack(last.tag, true, false).take_now().unwrap().unwrap();
    }
    // In order, and under their own key.
    let dead = lane.get("grave").unwrap();
    assert_eq!(
        (body(&dead), dead.envelope.routing_key.as_str(), dead.envelope.exchange.as_str()),
        ("0".into(), "q.1", "graves")
    );
    assert_eq!(lane.drain("grave"), ["1"]);
    // Neither purging nor deleting is a death.
    lane.fill("q.1", 0..2);
    common::wait(lane.0.queue_purge("q.1".into())).unwrap();
    lane.fill("q.1", 0..2);
    lane.delete("q.1").unwrap();
    assert_eq!(lane.ready("grave"), 0);
}
