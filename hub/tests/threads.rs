//! Hubs on threads of their own: one shared, others dedicated.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::mpsc;

use common::{PATIENCE, wait_until};
use kombu_core::hub::HubFactory;
use kombu_hub::HubThreads;

fn thread_name(handle: &kombu_core::hub::HubHandle) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    handle.call_soon(move |_| sender.send(std::thread::current().name().map(str::to_owned)).unwrap());
    receiver.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn the_shared_one_is_one_and_comes_again_after_a_stop() {
    let one = HubThreads.shared().unwrap();
    let same = HubThreads.shared().unwrap();
    assert_eq!(one.id(), same.id());
    assert_eq!(thread_name(&one).as_deref(), Some("kombu-hub"));
    one.stop();
    wait_until("the hub to close", || one.is_closed());
    let next = HubThreads.shared().unwrap();
    assert_ne!(one.id(), next.id());
    assert_eq!(thread_name(&next).as_deref(), Some("kombu-hub"));
}

#[test]
fn a_dedicated_one_has_its_name_and_ends_when_stopped() {
    let handle = HubThreads.dedicated("orders").unwrap();
    assert_eq!(thread_name(&handle).as_deref(), Some("orders"));
    assert!(handle.is_running());
    let (sender, receiver) = mpsc::channel();
    handle.io().call_soon(move |hub| {
        hub.on_close(Box::new(move |_| sender.send(()).unwrap()));
    });
    handle.stop();
    receiver.recv_timeout(PATIENCE).unwrap();
    wait_until("the hub to close", || handle.is_closed());
    assert!(!handle.is_running());
}

#[test]
fn it_survives_panics() {
    let handle = HubThreads.dedicated("sturdy").unwrap();
    handle.call_soon(|_| panic!("expected in this test"));
    drop(handle.spawn(async { panic!("expected in this test") }));
    assert_eq!(thread_name(&handle).as_deref(), Some("sturdy"));
    handle.stop();
}
