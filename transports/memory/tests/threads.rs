//! Many threads at once lose nothing, double nothing, and keep each publisher's order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};

use common::{Broker, Collect, Lane, body, wait};
use kombu_core::{Delivery, DeliverySink, Error, ExchangeKind};

/// A message of publisher `who`, its `number`th.
fn mark(who: u32, number: u32) -> String {
    format!("{who} {number}")
}

fn read(delivery: &Delivery) -> (u32, u32) {
    let body = body(delivery);
    let (who, number) = body.split_once(' ').unwrap();
    (who.parse().unwrap(), number.parse().unwrap())
}

/// Counts what it gets, checks the order of each publisher, and acknowledges at once, inside the delivery.
struct Count {
    lane: Lane,
    last: Mutex<HashMap<u32, u32>>,
    got: AtomicU32,
    inside: AtomicBool,
}

impl Count {
    fn consume(lane: &Lane, queue: &str) -> Arc<Self> {
        let count = Arc::new(Count {
            lane: lane.clone(),
            last: Mutex::default(),
            got: AtomicU32::new(0),
            inside: AtomicBool::new(false),
        });
        lane.consume_into(queue, count.clone());
        count
    }

    fn got(&self) -> u32 {
        self.got.load(Ordering::SeqCst)
    }
}

impl DeliverySink for Count {
    fn deliver(&self, delivery: Delivery) {
        assert!(!self.inside.swap(true, Ordering::SeqCst), "two threads deliver to one sink at once");
        let (who, number) = read(&delivery);
        let before = self.last.lock().unwrap().insert(who, number);
        assert!(before.is_none_or(|before| before < number), "{number} of {who} came after {before:?}");
        self.got.fetch_add(1, Ordering::SeqCst);
        self.inside.store(false, Ordering::SeqCst);
        self.lane.ack(delivery.tag);
    }

    fn cancelled(&self, reason: Error) {
        panic!("{reason}");
    }
}

fn publish_from(broker: &Broker, publishers: u32, each: u32, queue: &str) {
    let start = Barrier::new(publishers as usize);
    std::thread::scope(|scope| {
        for who in 0..publishers {
            let (lane, start) = (broker.channel(), &start);
            scope.spawn(move || {
                start.wait();
                (0..each).for_each(|number| assert_eq!(lane.publish("", queue, &mark(who, number)), 1));
            });
        }
    });
}

#[test]
fn many_publishers_one_consumer_in_order() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    let count = Count::consume(&lane, "q");
    publish_from(&broker, 8, 2_000, "q");
    assert_eq!((count.got(), lane.ready("q")), (16_000, 0));
    wait(lane.0.close()).unwrap();
    assert_eq!(broker.channel().ready("q"), 0, "all were acknowledged");
}

#[test]
fn many_publishers_many_consumers_share() {
    let broker = Broker::new();
    let lanes: Vec<_> = (0..4).map(|_| broker.channel()).collect();
    lanes[0].queue("q");
    // No window that could fill, so the turns are exact.
    lanes.iter().for_each(|lane| lane.qos(0, false));
    let counts: Vec<_> = lanes.iter().map(|lane| Count::consume(lane, "q")).collect();
    publish_from(&broker, 4, 4_000, "q");
    assert_eq!(counts.iter().map(|count| count.got()).collect::<Vec<_>>(), [4_000; 4]);
}

#[test]
fn small_windows_and_another_acknowledger_lose_nothing() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(3, false);
    let sinks: Vec<_> = (0..3).map(|_| lane.consume("q")).collect();
    let mut seen = HashMap::new();
    std::thread::scope(|scope| {
        let broker = &broker;
        scope.spawn(move || publish_from(broker, 4, 1_000, "q"));
        while seen.len() < 4_000 {
            let got: Vec<_> = sinks.iter().flat_map(|sink| sink.take()).collect();
            assert!(got.len() <= 9, "{} at once", got.len());
            if got.is_empty() {
                std::thread::yield_now();
            }
            for delivery in got {
                assert_eq!(seen.insert(read(&delivery), delivery.tag), None, "a double");
                lane.ack(delivery.tag);
            }
        }
    });
    assert_eq!((lane.ready("q"), lane.get("q").is_none()), (0, true));
}

/// Gives every third delivery back once.
struct GiveBack {
    lane: Lane,
    done: AtomicU32,
}

impl DeliverySink for GiveBack {
    fn deliver(&self, delivery: Delivery) {
        if !delivery.redelivered && read(&delivery).1.is_multiple_of(3) {
            self.lane.requeue(delivery.tag);
        } else {
            self.done.fetch_add(1, Ordering::SeqCst);
            self.lane.ack(delivery.tag);
        }
    }

    fn cancelled(&self, reason: Error) {
        panic!("{reason}");
    }
}

#[test]
fn settling_inside_a_delivery_from_many_threads_ends_all() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(1, false);
    let sinks: Vec<_> = (0..2)
        .map(|_| {
            let sink = Arc::new(GiveBack { lane: lane.clone(), done: AtomicU32::new(0) });
            lane.consume_into("q", sink.clone());
            sink
        })
        .collect();
    publish_from(&broker, 4, 1_500, "q");
    assert_eq!(sinks.iter().map(|sink| sink.done.load(Ordering::SeqCst)).sum::<u32>(), 6_000);
    assert_eq!(lane.ready("q"), 0);
}

#[test]
fn channels_that_come_and_go_lose_nothing() {
    let broker = Broker::new();
    let keeper = broker.channel();
    keeper.queue("q");
    let publishing = AtomicBool::new(true);
    let done = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        let (broker, publishing, done) = (&broker, &publishing, &done);
        scope.spawn(move || {
            publish_from(broker, 2, 3_000, "q");
            publishing.store(false, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(move || {
                while publishing.load(Ordering::SeqCst) || broker.channel().ready("q") > 0 {
                    let lane = broker.channel();
                    lane.qos(20, false);
                    let sink = lane.consume("q");
                    std::thread::yield_now();
                    for delivery in sink.take().into_iter().take(7) {
                        assert!(done.lock().unwrap().insert(read(&delivery), ()).is_none(), "a double");
                        lane.ack(delivery.tag);
                    }
                    lane.close();
                    let after = sink.len();
                    std::thread::yield_now();
                    assert_eq!(sink.len(), after, "a delivery after close");
                }
            });
        }
    });
    let left = keeper.drain("q").len();
    assert_eq!(done.into_inner().unwrap().len() + left, 6_000);
}

#[test]
fn no_delivery_comes_after_cancel() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.queue("q");
    lane.qos(0, false);
    let publishing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (broker, publishing) = (&broker, &publishing);
        scope.spawn(move || {
            publish_from(broker, 2, 5_000, "q");
            publishing.store(false, Ordering::SeqCst);
        });
        while publishing.load(Ordering::SeqCst) {
            let sink = Arc::new(Collect::default());
            let tag = lane.consume_into("q", sink.clone());
            std::thread::yield_now();
            wait(lane.0.basic_cancel(tag)).unwrap();
            sink.take().iter().for_each(|delivery| lane.ack(delivery.tag));
            std::thread::yield_now();
            assert_eq!(sink.len(), 0, "a delivery after cancel");
        }
    });
}

#[test]
fn bindings_that_change_under_publishers_route_each_message_whole() {
    let broker = Broker::new();
    let lane = broker.channel();
    lane.exchange("all", ExchangeKind::Fanout);
    lane.queue("always");
    lane.bind("always", "all", "");
    let always = Count::consume(&broker.channel(), "always");
    let publishing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (broker, publishing) = (&broker, &publishing);
        scope.spawn(move || {
            let lane = broker.channel();
            for number in 0..5_000 {
                let queues = lane.publish("all", "key", &mark(0, number));
                assert!((1..=2).contains(&queues));
            }
            publishing.store(false, Ordering::SeqCst);
        });
        while publishing.load(Ordering::SeqCst) {
            lane.queue("sometimes");
            lane.bind("sometimes", "all", "");
            std::thread::yield_now();
            lane.delete("sometimes").unwrap();
        }
    });
    assert_eq!(always.got(), 5_000);
}

/// Publishes again from inside the delivery, until the number is used up.
struct Chain {
    lane: Lane,
    itself: Weak<Chain>,
    got: AtomicU32,
}

impl DeliverySink for Chain {
    fn deliver(&self, delivery: Delivery) {
        assert!(self.itself.strong_count() > 0);
        self.got.fetch_add(1, Ordering::SeqCst);
        let (who, left) = read(&delivery);
        if left > 0 {
            self.lane.publish("", "q", &mark(who, left - 1));
        }
        self.lane.ack(delivery.tag);
    }

    fn cancelled(&self, reason: Error) {
        panic!("{reason}");
    }
}

#[test]
fn a_delivery_may_publish_and_settle_without_end_of_stack() {
    let lane = Broker::new().channel();
    lane.queue("q");
    let chain = Arc::new_cyclic(|itself| Chain { lane: lane.clone(), itself: itself.clone(), got: AtomicU32::new(0) });
    lane.consume_into("q", chain.clone());
    lane.publish("", "q", &mark(0, 99_999));
    assert_eq!(chain.got.load(Ordering::SeqCst), 100_000);
    lane.close();
}
