//! Timers run when they are due, in order, and not after they were cancelled.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::{DropCounter, Log, tick};
use kombu_core::hub::TimerHandle;
use kombu_core::{Clock, ManualClock};
use kombu_hub::MioHub;

const SECOND: Duration = Duration::from_secs(1);

fn manual() -> (MioHub, ManualClock) {
    let clock = ManualClock::new();
    (MioHub::with_clock(Arc::new(clock.clone())).unwrap(), clock)
}

#[test]
fn due_time_comes_first_then_insertion() {
    let (hub, clock) = manual();
    let log = Log::new();
    let add = |name: &'static str| {
        let log = log.clone();
        move |_: &MioHub| log.add(name)
    };
    hub.call_later(2 * SECOND, add("two"));
    hub.call_later(SECOND, add("one"));
    let also = add("one, later asked");
    hub.io().call_later(SECOND, {
        let log = log.clone();
        Box::new(move |_| log.add("one, of the I/O class"))
    });
    hub.call_later(SECOND, also);
    clock.advance(3 * SECOND);
    tick(&hub, 1);
    assert_eq!(log.take(), ["one", "one, of the I/O class", "one, later asked", "two"]);
    assert_eq!(hub.stats().timers, 4);
}

#[test]
fn all_that_are_due_run_in_one_tick_within_the_budget() {
    let clock = ManualClock::new();
    let hub = MioHub::builder().clock(Arc::new(clock.clone())).timers_per_tick(50).build().unwrap();
    let log = Log::new();
    for number in 0..70 {
        let log = log.clone();
        hub.call_later(SECOND, move |_| log.add(number));
    }
    clock.advance(SECOND);
    tick(&hub, 1);
    assert_eq!(log.len(), 50);
    assert!(hub.run_once(None).unwrap(), "the rest is due and is not slept on");
    assert_eq!(log.take(), (0..70).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_timer_is_dropped_at_once_and_does_not_run() {
    let (hub, clock) = manual();
    let (counter, drops) = DropCounter::new();
    let timer = hub.call_later(SECOND, move |_| drop(counter));
    assert_eq!(hub.timer().len(), 1);
    timer.cancel();
    assert_eq!(drops.get(), 1);
    assert!(hub.timer().is_empty());
    timer.cancel();
    clock.advance(2 * SECOND);
    tick(&hub, 2);
    assert_eq!(hub.stats().timers, 0);
}

#[test]
fn a_timer_cancels_another_of_the_same_instant() {
    let (hub, clock) = manual();
    let log = Log::new();
    let victim: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
    let (copy, found) = (log.clone(), Rc::clone(&victim));
    hub.call_later(SECOND, move |_| {
        copy.add("first");
        found.borrow().as_ref().unwrap().cancel();
    });
    let copy = log.clone();
    *victim.borrow_mut() = Some(hub.call_later(SECOND, move |_| copy.add("cancelled")));
    clock.advance(SECOND);
    tick(&hub, 2);
    assert_eq!(log.take(), ["first"]);
}

#[test]
fn a_repeated_timer_cancels_itself_while_it_runs() {
    let (hub, clock) = manual();
    let log = Log::new();
    let me: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
    let (copy, found) = (log.clone(), Rc::clone(&me));
    *me.borrow_mut() = Some(hub.call_repeatedly(SECOND, move |_| {
        copy.add(());
        if copy.len() == 2 {
            found.borrow().as_ref().unwrap().cancel();
        }
    }));
    for _ in 0..5 {
        clock.advance(SECOND);
        tick(&hub, 1);
    }
    assert_eq!(log.len(), 2);
    assert!(hub.timer().is_empty());
}

#[test]
fn repetition_does_not_drift_and_skips_what_was_missed() {
    let (hub, clock) = manual();
    let start = clock.now();
    let log = Log::new();
    let (copy, time) = (log.clone(), clock.clone());
    hub.timer().call_repeatedly(SECOND, move |_| copy.add(time.now() - start));
    let advance = |millis| {
        clock.advance(Duration::from_millis(millis));
        tick(&hub, 1);
    };
    advance(1300); // 1.3: one turn, due at 1
    advance(600); // 1.9: none
    advance(200); // 2.1: due at 2, no drift
    advance(3400); // 5.5: 3, 4 and 5 are missed but for one turn
    advance(400); // 5.9: none
    advance(100); // 6.0: due
    let millis: Vec<_> = log.take().iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [1300, 2100, 5500, 6000]);
}

#[test]
fn a_timer_added_by_a_timer_waits_for_the_next_tick() {
    let (hub, _clock) = manual();
    let log = Log::new();
    let copy = log.clone();
    hub.call_later(Duration::ZERO, move |hub| {
        let again = copy.clone();
        hub.call_later(Duration::ZERO, move |_| again.add("second"));
        copy.add("first");
    });
    tick(&hub, 1);
    assert_eq!(log.take(), ["first"]);
    tick(&hub, 1);
    assert_eq!(log.take(), ["second"]);
}

#[test]
fn a_time_in_the_past_means_the_next_tick() {
    let (hub, clock) = manual();
    let past = clock.now();
    clock.advance(SECOND);
    let log = Log::new();
    let copy = log.clone();
    hub.call_at(past, move |_| copy.add(()));
    tick(&hub, 1);
    assert_eq!(log.len(), 1);
}

#[test]
fn an_endless_delay_is_no_error() {
    let (hub, clock) = manual();
    let timer = hub.call_later(Duration::MAX, |_| ());
    clock.advance(SECOND);
    tick(&hub, 1);
    assert_eq!(hub.timer().len(), 1);
    timer.cancel();
}

#[test]
fn clearing_the_timers_leaves_those_of_transports() {
    let (hub, clock) = manual();
    let log = Log::new();
    let (user, io) = (log.clone(), log.clone());
    hub.timer().call_after(SECOND, move |_| user.add("user"));
    hub.io().call_later(SECOND, Box::new(move |_| io.add("io")));
    hub.timer().clear();
    clock.advance(SECOND);
    tick(&hub, 1);
    assert_eq!(log.take(), ["io"]);
}

#[test]
fn another_thread_cancels_a_timer() {
    let (hub, clock) = manual();
    let (counter, drops) = DropCounter::new();
    let timer = hub.call_repeatedly(SECOND, move |_| {
        let _ = &counter;
        panic!("cancelled");
    });
    std::thread::spawn(move || timer.cancel()).join().unwrap();
    assert_eq!(drops.get(), 0, "dropped on the hub's thread only");
    clock.advance(SECOND);
    tick(&hub, 1);
    assert_eq!((drops.get(), hub.stats().timers, hub.stats().errors), (1, 0, 0));
}

#[test]
fn ten_thousand_cancelled_timers_are_swept() {
    let (hub, clock) = manual();
    for _ in 0..10_000 {
        hub.call_later(3600 * SECOND, |_| ()).cancel();
    }
    hub.call_later(SECOND, |_| ());
    clock.advance(SECOND);
    tick(&hub, 1);
    assert_eq!(hub.stats().timers, 1);
}
