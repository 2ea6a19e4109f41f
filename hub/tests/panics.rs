//! A callback that panics is removed and reported; everybody else goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{Log, errors_of, tick, turn_until};
use kombu_core::hub::Progress;
use kombu_core::{Error, ErrorKind};
use kombu_hub::MioHub;

#[test]
fn every_kind_of_callback_is_caught() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, mut there) = UnixStream::pair().unwrap();
    let (mut source, mut peer) = mio::net::UnixStream::pair().unwrap();
    there.write_all(b"x").unwrap();
    peer.write_all(b"x").unwrap();
    hub.call_soon(|_| panic!("in call_soon"));
    hub.call_later(Duration::ZERO, |_| panic!("in a timer"));
    hub.call_repeatedly(Duration::from_nanos(1), |_| panic!("in a repeated timer"));
    hub.on_tick(|_| panic!("in on_tick"));
    hub.add_reader(&here, |_| panic!("in a reader")).unwrap();
    hub.add_writer(&here, |_| panic!("in a writer")).unwrap();
    hub.add_source(&mut source, mio::Interest::READABLE, |_, _| -> Progress { panic!("in a source") }).unwrap();
    let task = hub.spawn_local(async { panic!("in a task") });
    hub.handle().call_soon(|_| panic!("in a remote callback"));
    turn_until(&hub, "nine reports", || errors.len() >= 9);
    tick(&hub, 3);
    let mut errors = errors.take();
    errors.sort();
    let found: Vec<_> = errors.iter().filter_map(|error| error.split("removed: ").nth(1)).collect();
    let mut wanted = [
        "in a reader",
        "in a remote callback",
        "in a repeated timer",
        "in a source",
        "in a task",
        "in a timer",
        "in a writer",
        "in call_soon",
        "in on_tick",
    ];
    wanted.sort_unstable();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted, "{errors:?}");
    let outcome: kombu_core::Result<()> = hub.block_on(task).unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Closed);
    assert!(!hub.remove(&here));
    assert!(hub.timer().is_empty());
}

#[test]
fn the_error_names_its_kind_and_operation() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.on_error(move |error: &Error| copy.add((error.kind(), error.operation())));
    hub.call_soon(|_| panic!("oh"));
    tick(&hub, 1);
    assert_eq!(log.take(), [(ErrorKind::Panicked, Some("hub.call_soon"))]);
}

#[test]
fn a_handler_that_panics_is_caught_too() {
    let hub = MioHub::new().unwrap();
    hub.on_error(|_| panic!("in the handler"));
    hub.call_soon(|_| panic!("first"));
    hub.call_soon(|_| panic!("second"));
    let log = Log::new();
    let copy = log.clone();
    hub.call_soon(move |_| copy.add(()));
    tick(&hub, 1);
    assert_eq!((log.len(), hub.stats().errors), (1, 2));
}

#[test]
fn a_panic_in_a_drop_is_caught() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in a drop");
            }
        }
    }
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let loud = Loud;
    hub.call_later(Duration::from_secs(3600), move |_| drop(loud));
    let loud = Loud;
    drop(hub.spawn_local(async move {
        let _loud = loud;
        std::future::pending::<()>().await;
    }));
    tick(&hub, 2);
    hub.close();
    assert_eq!(errors.len(), 2);
}
