//! Callbacks run in the order they were asked for, in the next tick, whoever asks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Log, PATIENCE, tick, turn_until, view};
use kombu_core::hub::{Class, Hub, Scheduled};
use kombu_hub::MioHub;

#[test]
fn fifty_callbacks_keep_their_order() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    for number in 0..50 {
        let log = log.clone();
        hub.call_soon(move |_| log.add(number));
    }
    tick(&hub, 1);
    assert_eq!(log.take(), (0..50).collect::<Vec<_>>());
}

struct Note(u32, Arc<std::sync::Mutex<Vec<u32>>>);

impl Scheduled for Note {
    fn run(self: Arc<Self>, _hub: &dyn Hub) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn every_way_of_asking_shares_one_order() {
    for class in [Class::User, Class::Io] {
        let hub = MioHub::new().unwrap();
        let log = Arc::new(std::sync::Mutex::new(Vec::new()));
        let add = |number| {
            let log = Arc::clone(&log);
            move || log.lock().unwrap().push(number)
        };
        let hub_view = view(&hub, class);
        let handle = hub_view.handle();
        let (first, second, third, fourth, fifth) = (add(1), add(3), add(4), add(5), add(6));
        hub_view.call_soon(Box::new(move |_| first()));
        handle.schedule(Arc::new(Note(2, Arc::clone(&log))));
        handle.call_soon(move |_| second());
        hub_view.spawn_local(Box::pin(async move { third() }));
        drop(handle.spawn(async move { fourth() }));
        hub_view.call_soon(Box::new(move |_| fifth()));
        tick(&hub, 1);
        assert_eq!(*log.lock().unwrap(), [1, 2, 3, 4, 5, 6], "{class:?}");
    }
}

#[test]
fn what_is_queued_during_a_tick_runs_in_the_next() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.call_soon(move |hub| {
        copy.add("first");
        let copy = copy.clone();
        hub.call_soon(move |_| copy.add("second"));
    });
    tick(&hub, 1);
    assert_eq!(log.take(), ["first"]);
    tick(&hub, 1);
    assert_eq!(log.take(), ["second"]);
}

#[test]
fn one_queued_by_a_timer_or_a_tick_does_not_wait_for_the_poll() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let (timed, ticked) = (log.clone(), log.clone());
    hub.call_later(Duration::ZERO, move |hub| hub.call_soon(move |_| timed.add("by a timer")));
    let mut ticked = Some(ticked);
    hub.on_tick(move |hub| {
        if let Some(log) = ticked.take() {
            hub.call_soon(move |hub| {
                log.add("by a tick");
                hub.stop();
            });
        }
    });
    // Would sleep for ever if the poll did not see what is queued.
    hub.run_forever().unwrap();
    assert_eq!(log.take(), ["by a timer", "by a tick"]);
    assert_eq!(hub.stats().wake_ups, 0);
}

#[test]
fn another_thread_wakes_a_sleeping_hub() {
    let hub = MioHub::new().unwrap();
    let handle = hub.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    let (copy, sleeping) = (Arc::clone(&ran), hub.handle());
    let thread = std::thread::spawn(move || {
        common::wait_until("the hub to run", || sleeping.is_running());
        for number in 0..100 {
            let ran = Arc::clone(&copy);
            handle.call_soon(move |_| assert_eq!(ran.fetch_add(1, Ordering::SeqCst), number));
        }
        handle.call_soon(|hub| hub.stop());
    });
    hub.run_forever().unwrap();
    thread.join().unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 100);
}

#[test]
fn run_once_returns_when_a_callback_of_another_thread_ran() {
    let hub = MioHub::new().unwrap();
    let handle = hub.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    let copy = Arc::clone(&ran);
    let thread = std::thread::spawn(move || {
        common::wait_until("the hub to run", || handle.is_running());
        handle.call_soon(move |_| {
            copy.fetch_add(1, Ordering::SeqCst);
        });
    });
    assert!(hub.run_once(Some(PATIENCE)).unwrap());
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    thread.join().unwrap();
}

#[test]
fn a_callback_that_asks_for_itself_does_not_starve_a_timer() {
    let hub = MioHub::new().unwrap();
    fn again(hub: &MioHub) {
        hub.call_soon(again);
    }
    again(&hub);
    let log = Log::new();
    let copy = log.clone();
    hub.call_later(Duration::from_millis(2), move |_| copy.add(()));
    turn_until(&hub, "the timer", || log.len() == 1);
}
