//! One tick does no more of each kind than its budget; the rest keeps its order and waits for the next.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::future::poll_fn;
use std::io::{Read, Write};
use std::task::Poll;
use std::time::Duration;

use common::{Log, tick, turn_until};
use kombu_core::hub::{Class, Progress};
use kombu_hub::MioHub;
use mio::Interest;
use mio::net::UnixStream;

#[test]
fn ready_callbacks_are_bounded_and_keep_their_order() {
    for class in [Class::Io, Class::User] {
        let hub = MioHub::builder().ready_per_tick(10).build().unwrap();
        let log = Log::new();
        for number in 0..25 {
            let log = log.clone();
            common::view(&hub, class).call_soon(Box::new(move |_| log.add(number)));
        }
        let mut ran = Vec::new();
        for expected in [10, 10, 5, 0] {
            tick(&hub, 1);
            let now = log.take();
            assert_eq!(now.len(), expected, "of {class:?} in one tick");
            ran.extend(now);
        }
        assert_eq!(ran, (0..25).collect::<Vec<_>>());
    }
}

#[test]
fn callbacks_that_ask_for_themselves_again_starve_neither_timers_nor_sources() {
    fn again(hub: &dyn kombu_core::hub::Hub, log: Log<&'static str>) {
        log.add("ready");
        hub.call_soon(Box::new(move |hub| again(hub, log)));
    }
    let hub = MioHub::builder().ready_per_tick(10).build().unwrap();
    let log = Log::new();
    for _ in 0..100 {
        let log = log.clone();
        hub.call_soon(move |hub| again(hub, log));
    }
    let timed = log.clone();
    hub.call_repeatedly(Duration::ZERO, move |_| timed.add("timer"));
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let read = log.clone();
    hub.add_source(&mut here, Interest::READABLE, move |_, _| {
        read.add("source");
        Progress::Drained
    })
    .unwrap();
    there.write_all(b"x").unwrap();
    turn_until(&hub, "the source", || log.len() > 0);
    tick(&hub, 3);
    let told = log.take();
    assert!(told.contains(&"timer") && told.contains(&"source"), "{told:?}");
    assert!(told.split(|what| *what == "timer").all(|between| between.len() <= 11), "{told:?}");
}

#[test]
fn task_polls_are_bounded() {
    for class in [Class::Io, Class::User] {
        let hub = MioHub::builder().tasks_per_tick(8).build().unwrap();
        for _ in 0..20 {
            // A task that is always ready to go on: only the budget ends a tick.
            common::view(&hub, class).spawn_local(Box::pin(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            })));
        }
        // The first poll of a new task may come with the tick's ready work.
        tick(&hub, 5);
        let before = hub.stats().tasks;
        tick(&hub, 10);
        assert_eq!(hub.stats().tasks - before, 80, "of {class:?}");
    }
}

#[test]
fn readinesses_taken_at_once_are_bounded_and_none_is_forgotten() {
    let hub = MioHub::builder().events_per_tick(2).build().unwrap();
    let log = Log::new();
    let pairs: Vec<_> = (0..9)
        .map(|number| {
            let (here, mut there) = UnixStream::pair().unwrap();
            let log = log.clone();
            let mut source = here;
            there.write_all(b"x").unwrap();
            hub.add_source(&mut source, Interest::READABLE, move |_, _| {
                log.add(number);
                Progress::Drained
            })
            .unwrap();
            (source, there)
        })
        .collect();
    let mut told = Vec::new();
    while told.len() < pairs.len() {
        turn_until(&hub, "a readiness", || log.len() > 0);
        let now = log.take();
        assert!(now.len() <= 2, "{now:?} in one tick");
        told.extend(now);
    }
    told.sort_unstable();
    assert_eq!(told, (0..9).collect::<Vec<_>>());
    for (mut source, _) in pairs {
        assert_eq!(source.read(&mut [0; 8]).unwrap(), 1);
    }
}
