//! What the tests of the hub share.
#![allow(dead_code, unreachable_pub, reason = "every test program uses a part")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kombu_core::hub::{Class, Hub};
use kombu_hub::MioHub;

/// The one time-out of these tests: long enough for a machine that does other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Turns `hub` until `done`.
pub fn turn_until(hub: &MioHub, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        hub.run_once(Some(Duration::from_millis(20))).unwrap();
    }
}

/// Turns `hub` through `ticks` ticks that do not wait.
pub fn tick(hub: &MioHub, ticks: usize) {
    for _ in 0..ticks {
        hub.run_once(Some(Duration::ZERO)).unwrap();
    }
}

/// Waits until `done`, on a thread that turns no hub.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A list that callbacks write into.
#[derive(Debug)]
pub struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(Rc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub fn new() -> Self {
        Log(Rc::default())
    }

    pub fn add(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub fn take(&self) -> Vec<T> {
        self.0.take()
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Collects the texts of the errors `hub` reports.
pub fn errors_of(hub: &MioHub) -> Log<String> {
    let log = Log::new();
    let copy = log.clone();
    hub.on_error(move |error| copy.add(error.to_string()));
    log
}

/// Counts how often it was dropped.
#[derive(Clone)]
pub struct DropCounter(pub Rc<std::cell::Cell<usize>>);

impl DropCounter {
    pub fn new() -> (Self, Rc<std::cell::Cell<usize>>) {
        let count = Rc::new(std::cell::Cell::new(0));
        (DropCounter(Rc::clone(&count)), count)
    }
}

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// The view of `hub` for `class`.
pub fn view(hub: &MioHub, class: Class) -> &dyn Hub {
    match class {
        Class::Io => hub.io(),
        Class::User => hub,
    }
}
