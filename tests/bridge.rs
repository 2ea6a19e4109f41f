//! The bridge of the examples loses nothing when either broker is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]
#![allow(unreachable_pub, reason = "an example is a program of its own")]

#[path = "../examples/04_bridge.rs"]
#[allow(dead_code, reason = "its `main` is another program's")]
mod bridge;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bridge::{QUEUE, bridge};
use kombu::prelude::*;
use kombu_brokers::{PATIENCE, RabbitServer, RedisServer, eventually};

const MESSAGES: usize = 2000;

#[test]
fn nothing_is_lost_when_either_broker_is_killed() {
    let mut rabbit = RabbitServer::start();
    // What Redis has confirmed survives its kill only if it is on disk.
    let mut redis = RedisServer::options().appendonly().start();
    let (from_url, to_url) = (rabbit.url(), redis.url());
    let feeding = Connection::new(&from_url).unwrap();
    Queue::new(QUEUE).declare(&feeding).wait().unwrap();
    let pending: Vec<_> =
        (0..MESSAGES).map(|number| feeding.producer().publish(number.to_string()).routing_key(QUEUE).send()).collect();
    pending.into_iter().for_each(|pending| _ = pending.wait().unwrap());
    feeding.close().wait().unwrap();

    let forwarded = Arc::new(AtomicUsize::new(0));
    let (counting, is_over) = (Arc::clone(&forwarded), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let bridging = std::thread::spawn(move || {
        let hub = Hub::new().unwrap();
        let (from, to) = (Connection::new(&from_url).unwrap(), Connection::new(&to_url).unwrap());
        from.register_with_event_loop(&hub).unwrap();
        to.register_with_event_loop(&hub).unwrap();
        let _consumer = bridge(&hub, &from, &to, move |_| {
            // Slow enough to be caught in the middle.
            std::thread::sleep(Duration::from_micros(500));
            counting.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        while !over.load(Ordering::SeqCst) {
            hub.run_once(Some(Duration::from_millis(20))).unwrap();
        }
    });
    let reaches = |count: usize| {
        assert!(eventually(3 * PATIENCE, || forwarded.load(Ordering::SeqCst) >= count), "{forwarded:?} of {count}");
    };
    reaches(200);
    rabbit.kill();
    rabbit.restart();
    reaches(700);
    redis.kill();
    redis.restart();
    reaches(MESSAGES);
    let bodies = || -> BTreeSet<usize> {
        let connection = Connection::new(&redis.url()).unwrap();
        let mut found = BTreeSet::new();
        while let Some(message) = Queue::new(QUEUE).get(&connection).wait().unwrap() {
            found.insert(message.text().unwrap().parse().unwrap());
            message.leave_unacked();
        }
        // What was fetched goes back.
        connection.close().wait().unwrap();
        found
    };
    let mut missing = MESSAGES;
    assert!(
        eventually(3 * PATIENCE, || {
            missing = MESSAGES - bodies().len();
            missing == 0
        }),
        "{missing} messages are missing"
    );
    is_over.store(true, Ordering::SeqCst);
    bridging.join().unwrap();
}
