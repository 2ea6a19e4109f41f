//! A hub drives futures: its own tasks, others' sends, and the one it blocks on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use common::{Log, tick};
use kombu_core::ErrorKind;
use kombu_hub::MioHub;

#[test]
fn user_callbacks_run_meanwhile() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.call_soon(move |_| copy.add("callback"));
    let handle = hub.handle();
    let value = hub
        .block_on(async {
            handle.sleep(Duration::from_millis(1)).await;
            handle.spawn(async { 40 }).await.unwrap() + 2
        })
        .unwrap();
    assert_eq!((value, log.take()), (42, vec!["callback"]));
}

#[test]
fn a_future_woken_by_another_thread_goes_on() {
    let hub = MioHub::new().unwrap();
    for _ in 0..100 {
        let mut started = false;
        hub.block_on(poll_fn(|context| {
            if started {
                return Poll::Ready(());
            }
            started = true;
            let waker = context.waker().clone();
            drop(std::thread::spawn(move || waker.wake()));
            Poll::Pending
        }))
        .unwrap();
    }
}

#[test]
fn a_future_that_yields_lets_timers_run() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.call_later(Duration::from_millis(2), move |_| copy.add(()));
    hub.block_on(poll_fn(|context| {
        context.waker().wake_by_ref();
        if log.len() == 1 { Poll::Ready(()) } else { Poll::Pending }
    }))
    .unwrap();
}

#[test]
fn a_cancelled_task_is_dropped_and_says_so() {
    let hub = MioHub::new().unwrap();
    let (counter, drops) = common::DropCounter::new();
    let mut task = hub.spawn_local(async move {
        let _counter = counter;
        std::future::pending::<()>().await;
    });
    tick(&hub, 1);
    task.cancel();
    assert_eq!(hub.block_on(task).unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(drops.get(), 1);
}

#[test]
fn tasks_share_the_tick_in_turn() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    for name in ["a", "b"] {
        let log = log.clone();
        drop(hub.spawn_local(async move {
            for _ in 0..3 {
                log.add(name);
                let mut yielded = false;
                poll_fn(|context| {
                    if yielded {
                        return Poll::Ready(());
                    }
                    yielded = true;
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
        }));
    }
    tick(&hub, 3);
    assert_eq!(log.take(), ["a", "b", "a", "b", "a", "b"]);
}
