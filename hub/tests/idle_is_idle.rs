//! A hub with nothing to do does nothing. Counted, not timed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::wait_until;
use kombu_core::ManualClock;
use kombu_hub::MioHub;

#[test]
fn an_idle_hub_wakes_up_for_its_timers_only() {
    let hub = MioHub::new().unwrap();
    let (mut here, _there) = mio::net::UnixStream::pair().unwrap();
    hub.add_source(&mut here, mio::Interest::READABLE, |_, _| kombu_core::hub::Progress::Drained).unwrap();
    hub.call_later(Duration::from_millis(20), |_| ());
    hub.call_later(Duration::from_millis(60), |_| ());
    hub.call_later(Duration::from_millis(300), |hub| hub.stop());
    hub.run_forever().unwrap();
    let stats = hub.stats();
    assert!(stats.wake_ups <= 3 + 2, "{stats:?}");
    assert!(stats.polls <= stats.wake_ups + 2, "{stats:?}");
}

#[test]
fn a_hub_on_a_clock_that_stands_still_does_not_wake_up() {
    let clock = ManualClock::new();
    let hub_clock = clock.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let hub = MioHub::with_clock(Arc::new(hub_clock)).unwrap();
        hub.call_later(Duration::from_secs(1), |hub| hub.stop());
        sender.send(hub.handle()).unwrap();
        hub.run_forever().unwrap();
        hub.stats()
    });
    let handle = receiver.recv().unwrap();
    wait_until("the hub to run", || handle.is_running());
    clock.advance(Duration::from_millis(999));
    clock.advance(Duration::from_millis(1));
    let stats = thread.join().unwrap();
    assert!(stats.wake_ups <= 2, "{stats:?}");
}

#[test]
fn only_an_earlier_timer_wakes_a_sleeping_hub() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let hub = MioHub::new().unwrap();
        hub.call_later(Duration::from_secs(3600), |_| ());
        sender.send(hub.handle()).unwrap();
        hub.run_forever().unwrap();
        hub.stats()
    });
    let handle = receiver.recv().unwrap();
    wait_until("the hub to run", || handle.is_running());
    // Time to fall asleep; were it too short, the count could only be lower.
    std::thread::sleep(Duration::from_millis(50));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut later: Vec<_> = (0..100).map(|_| Box::pin(handle.sleep(Duration::from_secs(7200)))).collect();
    for sleep in &mut later {
        assert!(std::future::Future::poll(sleep.as_mut(), &mut context).is_pending());
    }
    std::thread::sleep(Duration::from_millis(50));
    handle.stop();
    let stats = thread.join().unwrap();
    assert!(stats.wake_ups <= 1, "{stats:?}");
}
