//! Sources of transports: edge-triggered, fair, their ids never used again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;

use common::{Log, tick, turn_until};
use kombu_core::hub::{Progress, Readiness};
use kombu_hub::MioHub;
use mio::Interest;
use mio::net::UnixStream;

#[test]
fn a_source_is_told_of_changes_only() {
    let hub = MioHub::new().unwrap();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let log = Log::new();
    let copy = log.clone();
    let id = hub
        .add_source(&mut here, Interest::READABLE, move |_, readiness| {
            copy.add(readiness);
            Progress::Drained
        })
        .unwrap();
    there.write_all(b"x").unwrap();
    turn_until(&hub, "the change", || log.len() == 1);
    tick(&hub, 3);
    assert_eq!(log.take(), [Readiness { readable: true, writable: false, closed: false }]);
    hub.modify_source(&mut here, id, Interest::WRITABLE).unwrap();
    turn_until(&hub, "writability", || log.len() == 1);
    assert!(log.take()[0].writable);
    hub.remove_source(&mut here, id).unwrap();
    assert!(hub.remove_source(&mut here, id).is_err());
    assert!(hub.modify_source(&mut here, id, Interest::READABLE).is_err());
    let next = hub.add_source(&mut here, Interest::READABLE, |_, _| Progress::Drained).unwrap();
    assert_ne!(id, next);
}

#[test]
fn one_that_stopped_early_is_called_in_every_tick_and_starves_nobody() {
    let hub = MioHub::new().unwrap();
    let (mut flood, mut flooded) = UnixStream::pair().unwrap();
    let (mut calm, mut calmed) = UnixStream::pair().unwrap();
    let log = Log::new();
    let (floods, calms) = (log.clone(), log.clone());
    hub.io()
        .add_source(
            &mut flood,
            Interest::READABLE,
            Box::new(move |_, _| {
                floods.add("flood");
                Progress::More
            }),
        )
        .unwrap();
    hub.io()
        .add_source(
            &mut calm,
            Interest::READABLE,
            Box::new(move |_, _| {
                calms.add("calm");
                Progress::Drained
            }),
        )
        .unwrap();
    flooded.write_all(b"x").unwrap();
    tick(&hub, 1);
    assert_eq!(log.take(), ["flood"]);
    calmed.write_all(b"x").unwrap();
    let timed = Rc::new(Cell::new(0));
    let copy = Rc::clone(&timed);
    hub.call_repeatedly(std::time::Duration::ZERO, move |_| copy.set(copy.get() + 1));
    tick(&hub, 3);
    assert_eq!(log.take(), ["flood", "calm", "flood", "flood"]);
    assert!(timed.get() >= 2, "timers run in every tick");
    // `None` would sleep if the flood were not on the ready list.
    hub.run_once(None).unwrap();
}

#[test]
fn one_removed_in_the_tick_it_became_ready_is_not_called() {
    let hub = MioHub::new().unwrap();
    let sources = Rc::new(RefCell::new(Vec::new()));
    let ids = Rc::new(RefCell::new(Vec::new()));
    let log = Log::new();
    let mut peers = Vec::new();
    for number in 0..2 {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let (others, other_ids, copy) = (Rc::clone(&sources), Rc::clone(&ids), log.clone());
        let id = hub
            .add_source(&mut here, Interest::READABLE, move |hub, _| {
                copy.add(number);
                let other: usize = 1 - number;
                let mut others: std::cell::RefMut<'_, Vec<UnixStream>> = others.borrow_mut();
                hub.remove_source(&mut others[other], other_ids.borrow()[other]).unwrap();
                Progress::Drained
            })
            .unwrap();
        there.write_all(b"x").unwrap();
        sources.borrow_mut().push(here);
        ids.borrow_mut().push(id);
        peers.push(there);
    }
    tick(&hub, 3);
    assert_eq!(log.len(), 1);
}

#[test]
fn a_source_registered_twice_is_refused() {
    let hub = MioHub::new().unwrap();
    let (mut here, _there) = UnixStream::pair().unwrap();
    hub.add_source(&mut here, Interest::READABLE, |_, _| Progress::Drained).unwrap();
    let error = hub.add_reader(&here, |_| ()).unwrap_err();
    assert!(error.to_string().contains("registered already"), "{error}");
}
