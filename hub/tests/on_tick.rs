//! `on_tick` callbacks run once per tick, the transports' after the application's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::{Log, errors_of, tick};
use kombu_core::hub::HookId;
use kombu_hub::MioHub;

#[test]
fn each_is_called_once_per_tick_the_flush_last() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let (io, first, second) = (log.clone(), log.clone(), log.clone());
    hub.io().on_tick(Box::new(move |_| io.add("flush")));
    hub.on_tick(move |_| first.add("first"));
    hub.on_tick(move |_| second.add("second"));
    tick(&hub, 2);
    assert_eq!(log.take(), ["first", "second", "flush", "first", "second", "flush"]);
}

#[test]
fn one_removes_itself_and_adds_another_for_the_next_tick() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    let me: Rc<Cell<Option<HookId>>> = Rc::default();
    let id = Rc::clone(&me);
    me.set(Some(hub.on_tick(move |hub| {
        copy.add("first");
        assert!(hub.remove_hook(id.get().unwrap()));
        let copy = copy.clone();
        hub.on_tick(move |_| copy.add("next"));
    })));
    tick(&hub, 1);
    assert_eq!(log.take(), ["first"]);
    tick(&hub, 1);
    assert_eq!(log.take(), ["next"]);
    assert!(!hub.remove_hook(me.get().unwrap()));
}

#[test]
fn one_that_panics_is_removed_and_the_others_go_on() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let log = Log::new();
    hub.on_tick(|_| panic!("tick trouble"));
    let copy = log.clone();
    hub.on_tick(move |_| copy.add(()));
    tick(&hub, 3);
    assert_eq!((log.len(), errors.len()), (3, 1));
    assert!(errors.take()[0].contains("tick trouble"));
}
