//! Runs inside one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kombu::ExchangeKind;
use kombu::serialization::Body;

use crate::bodies::Bodies;
use crate::rig::{Received, Rig, Via, check};
use crate::sample::Sample;

/// How many messages are published before they are delivered, where one thread does both.
pub const BATCH: u64 = 64;

/// How far a publishing thread may be ahead of the consuming one. Without a bound the backlog would be measured.
pub const LEAD: u64 = 8192;

/// How a publisher comes by the body of a message.
pub type Make = fn(&Bodies, u64) -> Body;

/// Publishes, delivers and acknowledges `count` messages on one thread: a batch is published, then the hub is turned until the
/// consumer's callback has acknowledged it.
///
/// # Panics
///
/// When a message is lost or changed.
pub fn one_thread(url: &str, count: u64, bodies: &Bodies, make: Make) -> Sample {
    let rig = Rig::new(url, ExchangeKind::Direct, "bench.key");
    let (consumer, received) = rig.consume(count, || {});
    let sample = Sample::of(count, || publish_and_turn(&rig, &received, count, bodies, make));
    finish(rig, consumer, &received, count, bodies);
    sample
}

/// The loop of [`one_thread`].
///
/// # Panics
///
/// When a message is not confirmed or does not come.
pub fn publish_and_turn(rig: &Rig, received: &Received, count: u64, bodies: &Bodies, make: Make) {
    let producer = rig.producer(Via::Named);
    let mut published = 0;
    while published < count {
        for _ in 0..BATCH.min(count - published) {
            check(producer.publish(make(bodies, published)).wait());
            published += 1;
        }
        rig.turn_until(received, published);
    }
}

/// As [`one_thread`], with a second thread that publishes while the first one turns the hub.
///
/// # Panics
///
/// When a message is lost or changed.
pub fn two_threads(url: &str, count: u64, bodies: &Bodies, make: Make) -> Sample {
    let rig = Rig::new(url, ExchangeKind::Direct, "bench.key");
    let handle = rig.hub.handle();
    let (consumer, received) = rig.consume(count, move || handle.stop());
    let producer = rig.producer(Via::Named).clone();
    // The first publish declares the exchange, which takes the hub.
    let start = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (start, received, bodies) = (Arc::clone(&start), Arc::clone(&received), bodies.clone());
        thread::spawn(move || {
            while !start.load(Ordering::Acquire) {
                thread::park();
            }
            for index in 0..count {
                while index - received.count() >= LEAD {
                    thread::yield_now();
                }
                check(producer.publish(make(&bodies, index)).wait());
            }
        })
    };
    let sample = Sample::of(count, || {
        start.store(true, Ordering::Release);
        publisher.thread().unpark();
        rig.hub.run_forever().unwrap();
    });
    publisher.join().unwrap();
    finish(rig, consumer, &received, count, bodies);
    sample
}

/// Fills a queue with `count` messages, then consumes and acknowledges them: two samples.
///
/// # Panics
///
/// When a message is lost or changed.
pub fn publish_then_consume(url: &str, count: u64, bodies: &Bodies) -> [Sample; 2] {
    let rig = Rig::new(url, ExchangeKind::Direct, "bench.key");
    let publish = Sample::of(count, || rig.publish_one_by_one(Via::Named, count, bodies));
    let mut tally = None;
    let consume = Sample::of(count, || tally = Some(rig.drain(count)));
    assert_eq!(tally, Some(bodies.tally(count)));
    rig.close();
    [publish, consume]
}

fn finish(rig: Rig, consumer: kombu::Consumer, received: &Received, count: u64, bodies: &Bodies) {
    let (tally, settled) = received.end();
    rig.hub.block_on(settled).unwrap().unwrap();
    assert_eq!(tally, bodies.tally(count));
    drop(consumer);
    rig.close();
}
