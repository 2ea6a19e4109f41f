//! With a clock that is turned by hand, a hub waits for the hand, not for time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Log, wait_until};
use kombu_core::{Clock, ManualClock};
use kombu_hub::MioHub;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn hours_pass_at_once() {
    let clock = ManualClock::new();
    let hub = MioHub::with_clock(Arc::new(clock.clone())).unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.call_repeatedly(HOUR, move |_| copy.add(()));
    for _ in 0..24 {
        clock.advance(HOUR);
        assert!(hub.run_once(None).unwrap());
    }
    assert_eq!(log.len(), 24);
}

#[test]
fn run_once_returns_when_the_clock_passes_its_time_out() {
    let clock = ManualClock::new();
    let hub = MioHub::with_clock(Arc::new(clock.clone())).unwrap();
    let handle = hub.handle();
    let hand = std::thread::spawn(move || {
        wait_until("the hub to run", || handle.is_running());
        clock.advance(HOUR / 2);
        clock.advance(HOUR / 2);
    });
    assert!(!hub.run_once(Some(HOUR)).unwrap());
    hand.join().unwrap();
}

#[test]
fn wait_io_keeps_its_deadline_by_the_same_clock() {
    let clock = ManualClock::new();
    let hub = MioHub::with_clock(Arc::new(clock.clone())).unwrap();
    let handle = hub.handle();
    let deadline = clock.now() + HOUR;
    let hand = std::thread::spawn(move || {
        wait_until("the hub to run", || handle.is_running());
        clock.advance(HOUR);
    });
    let mut never = std::pin::pin!(std::future::pending());
    let hub_view: &dyn kombu_core::hub::Hub = &hub;
    assert!(!hub_view.wait_io(never.as_mut(), Some(deadline)).unwrap());
    hand.join().unwrap();
}

#[test]
fn sleeping_futures_follow_it() {
    let clock = ManualClock::new();
    let hub = MioHub::with_clock(Arc::new(clock.clone())).unwrap();
    let handle = hub.handle();
    let start = clock.now();
    let (sleeper, hand) = (handle.clone(), clock.clone());
    let woken = hub.spawn_local(async move {
        sleeper.sleep(HOUR).await;
        sleeper.now()
    });
    hub.call_soon(move |_| hand.advance(HOUR));
    common::tick(&hub, 3);
    assert_eq!(hub.block_on(woken).unwrap().unwrap() - start, HOUR);
}
