//! A message from RabbitMQ costs few allocations, all threads counted.
//!
//! Alone in its file, and so in its process, whose allocations are counted.

use std::alloc::System;

use kombu::ExchangeKind;
use kombu_benches::amqp::Publisher;
use kombu_benches::bodies::Bodies;
use kombu_benches::rig::{Rig, Via};
use kombu_brokers::{RabbitServer, RabbitVhost};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const COUNT: u64 = 2_000;

/// How many allocations a delivery may cost, lapin's among them.
const MOST: f64 = 16.0;

/// How many a publish may cost with its confirmation.
const MOST_PUBLISHING: f64 = 30.0;

#[test]
fn a_delivery_costs_few_allocations() {
    let vhost = RabbitServer::shared().vhost();
    let bodies = Bodies::new(200);
    // What happens once in a process happens here.
    let _warm = (deliver(&vhost, COUNT, &bodies), publish(&vhost, COUNT, &bodies));
    let each = least(|count| deliver(&vhost, count, &bodies), MOST);
    assert!(each <= MOST, "{each:.2} allocations for each delivery");
    let each = least(|count| publish(&vhost, count, &bodies), MOST_PUBLISHING);
    assert!(each <= MOST_PUBLISHING, "{each:.2} allocations for each publish");
}

/// Returns what a message costs by `count_allocations`, which counts those of as many messages as it is told. A busy machine, on
/// which threads wake each other for every message instead of for many, only adds to it; so the least of some looks is it.
fn least(mut count_allocations: impl FnMut(u64) -> f64, enough: f64) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let each = (count_allocations(3 * COUNT) - count_allocations(COUNT)) / (2 * COUNT) as f64;
        eprintln!("{each:.2} allocations");
        least = least.min(each);
        if least <= enough {
            break;
        }
    }
    least
}

/// Counts the allocations of taking and acknowledging `count` messages.
fn deliver(vhost: &RabbitVhost<'_>, count: u64, bodies: &Bodies) -> f64 {
    Publisher::new(vhost).fill(count, bodies);
    let rig = Rig::new(&vhost.url(), ExchangeKind::Direct, "bench.key");
    let region = Region::new(ALLOCATOR);
    assert_eq!(rig.drain(count), bodies.tally(count));
    let change = region.change();
    rig.close();
    (change.allocations + change.reallocations) as f64
}

/// Counts the allocations of publishing `count` messages with confirms.
fn publish(vhost: &RabbitVhost<'_>, count: u64, bodies: &Bodies) -> f64 {
    let rig = Rig::new(&vhost.url(), ExchangeKind::Direct, "bench.key");
    rig.publish_one_by_one(Via::Default, 1, bodies);
    let region = Region::new(ALLOCATOR);
    rig.publish_pipelined(Via::Default, count, bodies);
    let change = region.change();
    rig.close();
    vhost.purge(kombu_benches::amqp::QUEUE);
    (change.allocations + change.reallocations) as f64
}
