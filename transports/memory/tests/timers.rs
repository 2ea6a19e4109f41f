//! What happens at a time happens by a timer on the connection's hub, and a hub with nothing to wait for sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Broker, Lane, manual, wait};
use kombu_core::hub::Hub;
use kombu_core::{ManualClock, Transport, Value};
use kombu_hub::MioHub;

const SECOND: Duration = Duration::from_secs(1);

/// Connects to a broker, on a hub, both of which run by the same clock.
fn on_hub(broker: &Broker, clock: &ManualClock) -> (MioHub, Arc<dyn Transport>) {
    let hub = MioHub::with_clock(Arc::new(clock.clone())).unwrap();
    let transport = broker.connect();
    transport.register_with_event_loop(Hub::io(&hub)).unwrap();
    (hub, transport)
}

/// Turns the hub until it has nothing to do.
fn settle(hub: &MioHub) {
    while hub.run_once(Some(Duration::ZERO)).unwrap() {}
}

fn mortal(lane: &Lane, name: &str, ttl: i64) {
    let dead = [
        ("x-dead-letter-exchange", Value::from("")),
        ("x-dead-letter-routing-key", Value::from("dead")),
        ("x-message-ttl", Value::from(ttl)),
    ];
    lane.queue_with(name, dead);
}

#[test]
fn the_hub_alone_lets_messages_expire() {
    let (broker, clock) = manual();
    let (hub, transport) = on_hub(&broker, &clock);
    let lane = Lane(wait(transport.channel()).unwrap());
    lane.queue("dead");
    mortal(&lane, "late", 2000);
    mortal(&lane, "soon", 1000);
    let sink = lane.consume("dead");
    lane.fill("late", 0..1);
    lane.fill("soon", 1..2);
    settle(&hub);
    clock.advance(SECOND - Duration::from_millis(1));
    settle(&hub);
    assert_eq!(sink.len(), 0);
    clock.advance(Duration::from_millis(1));
    settle(&hub);
    assert_eq!(sink.take_bodies(), ["1"]);
    clock.advance(SECOND);
    settle(&hub);
    assert_eq!(sink.take_bodies(), ["0"]);
    // Nothing waits for its time any more.
    let before = hub.stats();
    clock.advance(SECOND * 3600);
    settle(&hub);
    assert_eq!((hub.stats().timers, hub.stats().tasks), (before.timers, before.tasks));
}

#[test]
fn a_broker_without_anything_to_wait_for_sets_no_timer() {
    let (broker, clock) = manual();
    let (hub, transport) = on_hub(&broker, &clock);
    let lane = Lane(wait(transport.channel()).unwrap());
    lane.queue("q");
    let sink = lane.consume("q");
    lane.fill("q", 0..100);
    sink.take().iter().for_each(|delivery| lane.ack(delivery.tag));
    settle(&hub);
    clock.advance(SECOND * 3600);
    settle(&hub);
    let stats = hub.stats();
    assert_eq!((stats.timers, stats.tasks, stats.ready), (0, 0, 0), "{stats:?}");
}

#[test]
fn many_messages_share_one_timer() {
    let (broker, clock) = manual();
    let (hub, transport) = on_hub(&broker, &clock);
    let lane = Lane(wait(transport.channel()).unwrap());
    mortal(&lane, "q", 1000);
    lane.fill("q", 0..500);
    settle(&hub);
    let before = hub.stats();
    clock.advance(SECOND);
    settle(&hub);
    assert!(hub.stats().tasks - before.tasks <= 2, "{:?} {before:?}", hub.stats());
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn another_connections_hub_takes_over() {
    let (broker, clock) = manual();
    let (hub, transport) = on_hub(&broker, &clock);
    let (other_hub, other) = on_hub(&broker, &clock);
    let lane = Lane(wait(transport.channel()).unwrap());
    let watching = Lane(wait(other.channel()).unwrap());
    lane.queue("dead");
    mortal(&lane, "q", 1000);
    let sink = watching.consume("dead");
    lane.fill("q", 0..1);
    settle(&hub);
    wait(transport.close()).unwrap();
    drop((lane, transport, hub));
    settle(&other_hub);
    clock.advance(SECOND);
    settle(&other_hub);
    assert_eq!(sink.take_bodies(), ["0"]);
}

#[test]
fn queues_and_delays_wait_on_the_hub_too() {
    let (broker, clock) = manual();
    let (hub, transport) = on_hub(&broker, &clock);
    let lane = Lane(wait(transport.channel()).unwrap());
    let mut method = common::exchange("later", kombu_core::ExchangeKind::Other("x-delayed-message".into()));
    method.arguments.insert("x-delayed-type", "fanout");
    wait(lane.0.exchange_declare(method)).unwrap();
    lane.queue("q");
    lane.bind("q", "later", "");
    let sink = lane.consume("q");
    lane.send("", "a", |envelope| {
        envelope.exchange = "later".into();
        envelope.headers.table_mut().insert("x-delay", 1000);
    })
    .unwrap();
    lane.queue_with("unused", [("x-expires", Value::from(500))]);
    settle(&hub);
    assert_eq!(sink.len(), 0);
    clock.advance(SECOND);
    settle(&hub);
    assert_eq!(sink.take_bodies(), ["a"]);
    assert_eq!(lane.publish("", "unused", "x"), 0);
}
