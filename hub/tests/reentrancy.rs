//! A callback may wait for an answer: the I/O class is turned, the application's callbacks keep their order for later.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::cell::Cell;
use std::io::{Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::{Log, PATIENCE, tick, turn_until};
use kombu_core::hub::{Hub, Progress};
use kombu_core::{Clock, ErrorKind, ManualClock, reply};
use kombu_hub::MioHub;
use mio::Interest;
use mio::net::UnixStream;

/// Waits for `answer` as `.wait()` does.
fn wait<T>(hub: &dyn Hub, answer: reply::Reply<T>) -> Option<T> {
    let mut value = None;
    {
        let future = pin!(async { value = answer.await });
        assert!(hub.wait_io(future, Some(hub.now() + PATIENCE)).unwrap(), "no answer came");
    }
    value
}

#[test]
fn io_runs_under_a_waiting_callback_and_user_callbacks_do_not() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.call_soon(move |hub| {
        copy.add("before");
        for name in ["queued 1", "queued 2"] {
            let copy = copy.clone();
            hub.call_soon(move |_| copy.add(name));
        }
        let late = copy.clone();
        hub.call_later(Duration::ZERO, move |_| late.add("user timer"));
        let ticked = copy.clone();
        hub.on_tick(move |_| ticked.add("user tick"));
        let task = copy.clone();
        drop(hub.spawn_local(async move { task.add("user task") }));

        let (sender, answer) = reply::channel();
        let io = copy.clone();
        hub.io().call_soon(Box::new(move |hub| {
            io.add("io soon");
            let io = io.clone();
            hub.call_later(
                Duration::ZERO,
                Box::new(move |hub| {
                    io.add("io timer");
                    let io = io.clone();
                    hub.spawn_local(Box::pin(async move {
                        io.add("io task");
                        sender.send(());
                    }));
                }),
            );
        }));
        wait(hub, answer);
        copy.add("after");
    });
    tick(&hub, 1);
    assert_eq!(log.take(), ["before", "io soon", "io timer", "io task", "after", "user timer", "user tick"]);
    tick(&hub, 1);
    assert_eq!(log.take(), ["queued 1", "queued 2", "user task", "user tick"]);
}

#[test]
fn an_edge_of_the_user_class_during_a_wait_is_not_lost() {
    let hub = MioHub::new().unwrap();
    let (mut user_source, mut user_peer) = UnixStream::pair().unwrap();
    let (mut io_source, mut io_peer) = UnixStream::pair().unwrap();
    let (reader_here, mut reader_peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.add_source(&mut user_source, Interest::READABLE, move |_, _| {
        copy.add("user source");
        Progress::Drained
    })
    .unwrap();
    let (copy, reader_here) = (log.clone(), Rc::new(reader_here));
    let stream = Rc::clone(&reader_here);
    hub.add_reader(&*reader_here, move |_| {
        copy.add("user reader");
        assert_eq!((&*stream).read(&mut [0; 8]).unwrap(), 1);
    })
    .unwrap();
    let (sender, answer) = reply::channel();
    let (mut sender, copy) = (Some(sender), log.clone());
    hub.io()
        .add_source(
            &mut io_source,
            Interest::READABLE,
            Box::new(move |_, _| {
                copy.add("io source");
                if let Some(sender) = sender.take() {
                    sender.send(());
                }
                Progress::Drained
            }),
        )
        .unwrap();
    let copy = log.clone();
    hub.call_soon(move |hub| {
        user_peer.write_all(b"x").unwrap();
        reader_peer.write_all(b"x").unwrap();
        io_peer.write_all(b"x").unwrap();
        wait(hub, answer);
        copy.add("waited");
        // Kept open until the others were read.
        std::mem::forget((user_peer, reader_peer, io_peer));
    });
    turn_until(&hub, "all four", || log.len() >= 4);
    tick(&hub, 2);
    let log = log.take();
    assert_eq!(log[..2], ["io source", "waited"]);
    let mut rest = log[2..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, ["user reader", "user source"]);
}

#[test]
fn an_io_event_of_the_same_poll_reaches_the_nested_wait() {
    // Both descriptors are reported by one poll; the first one's callback waits for the second one's.
    let hub = MioHub::new().unwrap();
    let (mut user_source, mut user_peer) = UnixStream::pair().unwrap();
    let (mut io_source, mut io_peer) = UnixStream::pair().unwrap();
    let (sender, answer) = reply::channel::<()>();
    let (mut sender, mut answer) = (Some(sender), Some(answer));
    let passed = Rc::new(Cell::new(false));
    let copy = Rc::clone(&passed);
    hub.add_source(&mut user_source, Interest::READABLE, move |hub, _| {
        if let Some(answer) = answer.take() {
            wait(hub, answer);
            copy.set(true);
        }
        Progress::Drained
    })
    .unwrap();
    hub.io()
        .add_source(
            &mut io_source,
            Interest::READABLE,
            Box::new(move |_, _| {
                drop(sender.take());
                Progress::Drained
            }),
        )
        .unwrap();
    user_peer.write_all(b"x").unwrap();
    io_peer.write_all(b"x").unwrap();
    turn_until(&hub, "the wait", || passed.get());
}

#[test]
fn turning_the_hub_inside_a_callback_is_refused() {
    let hub = MioHub::new().unwrap();
    let kinds = Log::new();
    let copy = kinds.clone();
    hub.call_soon(move |hub| {
        copy.add(hub.run_once(None).unwrap_err().kind());
        copy.add(hub.run_forever().unwrap_err().kind());
        copy.add(hub.block_on(async {}).unwrap_err().kind());
    });
    let copy = kinds.clone();
    hub.io().call_soon(Box::new(move |hub| {
        copy.add(hub.run_once(None).unwrap_err().kind());
        copy.add(hub.wait_io(pin!(async {}), None).unwrap_err().kind());
    }));
    tick(&hub, 1);
    assert_eq!(kinds.take(), [ErrorKind::Reentrant; 5]);
}

#[test]
fn a_wait_inside_a_wait_is_refused() {
    let hub = MioHub::new().unwrap();
    let hub_view: &dyn Hub = &hub;
    let mut kind = None;
    let outer = pin!(async { kind = Some(hub_view.wait_io(pin!(async {}), None).unwrap_err().kind()) });
    assert!(hub_view.wait_io(outer, None).unwrap());
    assert_eq!(kind, Some(ErrorKind::Reentrant));
}

#[test]
fn a_wait_at_depth_zero_leaves_the_user_class_alone() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.call_soon(move |_| copy.add("user"));
    let (sender, answer) = reply::channel();
    hub.io().call_soon(Box::new(move |_| sender.send(())));
    wait(&hub, answer);
    assert_eq!(log.len(), 0);
    tick(&hub, 1);
    assert_eq!(log.take(), ["user"]);
}

#[test]
fn the_deadline_ends_a_wait_for_nothing() {
    let clock = ManualClock::new();
    let hub = MioHub::with_clock(Arc::new(clock.clone())).unwrap();
    let hand = clock.clone();
    hub.io().call_soon(Box::new(move |_| hand.advance(Duration::from_secs(5))));
    let hub_view: &dyn Hub = &hub;
    let deadline = clock.now() + Duration::from_secs(5);
    assert!(!hub_view.wait_io(pin!(std::future::pending()), Some(deadline)).unwrap());
}

#[test]
fn a_task_may_wait_too() {
    let hub = MioHub::new().unwrap();
    let handle = hub.handle();
    let local = kombu_core::hub::local_hub(handle.id()).expect("this thread's hub");
    let waited = hub.spawn_local(async move {
        let (sender, answer) = reply::channel();
        local.io().call_soon(Box::new(move |_| sender.send(7)));
        wait(&*local, answer)
    });
    assert_eq!(hub.block_on(waited).unwrap().unwrap(), Some(7));
}
