//! Small programs that always do the same work, to count instructions and allocations.
//!
//! Each does something `count` times. The difference between a run with `2 × count` and one with `count` is the cost of `count`
//! messages: start-up and shut-down cancel out.

use std::hint::black_box;

use kombu::{ExchangeKind, Json, Pending};
use kombu_virtual::topic;
use serde::{Deserialize, Serialize};

use crate::bodies::Bodies;
use crate::memory::publish_and_turn;
use crate::null;
use crate::rig::{Rig, Via};

/// A workload: its name, what it does, and how.
pub struct Workload {
    /// The name in `budget.json`.
    pub name: &'static str,
    /// What one message stands for.
    pub about: &'static str,
    run: fn(u64),
}

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "core",
        about: "publish, deliver to a callback and ack on a transport that does nothing",
        run: |count| deliver("null://", ExchangeKind::Direct, "bench.key", count),
    },
    Workload {
        name: "memory",
        about: "publish to a direct exchange, deliver to a callback and ack, on one thread",
        run: |count| deliver("memory://", ExchangeKind::Direct, "bench.key", count),
    },
    Workload {
        name: "memory_topic",
        about: "the same through a topic exchange with a wildcard",
        run: |count| deliver("memory://", ExchangeKind::Topic, "bench.*", count),
    },
    Workload {
        name: "memory_publish_awaited",
        about: "publish into a queue nobody reads, awaited in a task",
        run: publish_awaited,
    },
    Workload { name: "topic_match", about: "match a routing key with four binding keys", run: topic_match },
    Workload { name: "pending_ready", about: "wait for an answer that is there already", run: pending_ready },
    Workload { name: "json_body", about: "write a small struct as JSON and read it back", run: json_body },
];

impl Workload {
    /// Finds a workload by its name.
    pub fn named(name: &str) -> Option<&'static Workload> {
        WORKLOADS.iter().find(|workload| workload.name == name)
    }

    /// Does the work `count` times.
    pub fn run(&self, count: u64) {
        (self.run)(count);
    }
}

fn deliver(url: &str, kind: ExchangeKind, binding_key: &str, count: u64) {
    null::register();
    let bodies = Bodies::new(400);
    let rig = Rig::new(url, kind, binding_key);
    let (consumer, received) = rig.consume(count, || {});
    publish_and_turn(&rig, &received, count, &bodies, Bodies::at);
    assert_eq!(received.end().0.count, count);
    drop(consumer);
    rig.close();
}

fn publish_awaited(count: u64) {
    let bodies = Bodies::new(400);
    let rig = Rig::new("memory://", ExchangeKind::Direct, "bench.key");
    rig.publish_one_by_one(Via::Named, count, &bodies);
    rig.close();
}

fn topic_match(count: u64) {
    let keys = ["orders.eu.created", "orders.us.paid.late", "invoices.eu.created", "orders"];
    let mut matches = 0;
    for index in 0..count {
        let key = black_box(keys[index as usize % keys.len()]);
        let patterns = ["orders.*.created", "orders.#", "#.created", "orders.#.late"];
        matches += patterns.iter().filter(|pattern| topic::matches(black_box(pattern), key)).count();
    }
    assert_eq!(matches as u64, count / 4 * 7);
}

fn pending_ready(count: u64) {
    let sum: u64 = (0..count).map(|number| black_box(Pending::ready(Ok(number))).wait().unwrap()).sum();
    assert_eq!(sum, count * (count - 1) / 2);
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    items: Vec<u32>,
    total: f64,
}

fn json_body(count: u64) {
    use kombu::serialization::{IntoBody, decode_as};
    for id in 0..count {
        let order = Order { id, customer: "Ada".to_owned(), items: vec![1, 2, 3], total: 12.5 };
        let body = Json(&order).into_body().unwrap();
        let accept = kombu::AcceptList::default();
        let read: Order =
            decode_as(&body.bytes, Some(body.content_type()), Some(body.content_encoding()), &accept).unwrap();
        assert_eq!(read.id, id);
        black_box((read.customer, read.items, read.total));
    }
}
