//! No wake-up is lost, however the threads interleave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::PATIENCE;
use kombu_core::hub::{Hub, Scheduled};
use kombu_hub::MioHub;

struct Count(AtomicU64);

impl Scheduled for Count {
    fn run(self: Arc<Self>, _hub: &dyn Hub) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_million_wakes_from_four_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 250_000;
    let hub = MioHub::new().unwrap();
    let count = Arc::new(Count(AtomicU64::new(0)));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (handle, count) = (hub.handle(), Arc::clone(&count));
            let handle = if number % 2 == 0 { handle.io() } else { handle };
            std::thread::spawn(move || {
                for round in 0..EACH {
                    handle.schedule(Arc::clone(&count) as Arc<dyn Scheduled>);
                    if round % 1000 == number {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let end = Instant::now() + 3 * PATIENCE;
    while count.0.load(Ordering::Relaxed) < THREADS * EACH {
        assert!(Instant::now() < end, "{} of {}", count.0.load(Ordering::Relaxed), THREADS * EACH);
        hub.run_once(Some(PATIENCE)).unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(hub.stats().ready, THREADS * EACH);
}

#[test]
fn a_ball_thrown_back_and_forth_is_never_dropped() {
    // Every throw finds the other hub asleep or falling asleep: the window in which a wake-up gets lost.
    const THROWS: u64 = 20_000;
    let (sender, receiver) = std::sync::mpsc::channel();
    let count = Arc::new(Count(AtomicU64::new(0)));
    let far_count = Arc::clone(&count);
    let far = std::thread::spawn(move || {
        let hub = MioHub::new().unwrap();
        sender.send(hub.handle()).unwrap();
        hub.run_forever().unwrap();
        drop(far_count);
    });
    let far_handle = receiver.recv().unwrap();
    let hub = MioHub::new().unwrap();
    let here = hub.handle();
    let end = Instant::now() + 3 * PATIENCE;
    for throw in 1..=THROWS {
        let (here, count) = (here.clone(), Arc::clone(&count));
        far_handle.call_soon(move |_| here.schedule(count as Arc<dyn Scheduled>));
        while count_of(&hub) < throw {
            assert!(Instant::now() < end, "lost at throw {throw}");
            hub.run_once(Some(PATIENCE)).unwrap();
        }
    }
    far_handle.stop();
    far.join().unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), THROWS);
}

fn count_of(hub: &MioHub) -> u64 {
    hub.stats().ready
}

#[test]
fn timers_from_other_threads_wake_in_time() {
    let hub = MioHub::new().unwrap();
    let handle = hub.handle();
    let sleeps = hub.spawn_local({
        let handle = handle.clone();
        async move {
            for _ in 0..200 {
                handle.sleep(Duration::from_micros(100)).await;
            }
        }
    });
    let thread = std::thread::spawn(move || {
        for _ in 0..200 {
            let mut sleep = Box::pin(handle.sleep(Duration::from_micros(50)));
            let (sender, receiver) = std::sync::mpsc::channel();
            let waker = std::task::Waker::from(Arc::new(Send1(std::sync::Mutex::new(sender))));
            let mut context = std::task::Context::from_waker(&waker);
            while std::future::Future::poll(sleep.as_mut(), &mut context).is_pending() {
                receiver.recv_timeout(PATIENCE).expect("the timer of another thread");
            }
        }
        handle.stop();
    });
    hub.run_forever().unwrap();
    thread.join().unwrap();
    hub.block_on(sleeps).unwrap().unwrap();
}

struct Send1(std::sync::Mutex<std::sync::mpsc::Sender<()>>);

impl std::task::Wake for Send1 {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}
