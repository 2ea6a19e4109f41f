//! The parking protocol under every interleaving with up to three preemptions; loom reports a lost wake-up as a deadlock.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod sync {
    pub(crate) use loom::sync::atomic;
}

#[path = "../src/park.rs"]
mod park;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use park::Park;

/// What the two sides share: queues, and the bell that the poll waits for (an eventfd: rung once, it stays rung until heard).
struct World {
    park: Park,
    queue: Mutex<usize>,
    flag: AtomicBool,
    rung: Mutex<bool>,
    bell: Condvar,
    rings: AtomicUsize,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(World {
            park: Park::new(),
            queue: Mutex::new(0),
            flag: AtomicBool::new(false),
            rung: Mutex::new(false),
            bell: Condvar::new(),
            rings: AtomicUsize::new(0),
        })
    }

    fn wake(&self) {
        self.park.wake(|| {
            self.rings.fetch_add(1, Ordering::Relaxed);
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        });
    }

    /// Queues one item behind the mutex, as `call_soon` does.
    fn push(&self) {
        *self.queue.lock().unwrap() += 1;
        self.wake();
    }

    /// Sets a flag, as a waker of `block_on` does.
    fn set(&self) {
        self.flag.swap(true, Ordering::SeqCst);
        self.wake();
    }

    /// Turns until `items` were taken and, if `flag`, the flag was seen. A lost wake-up is a deadlock, which loom reports.
    fn turn(&self, items: usize, flag: bool) {
        let (mut taken, mut seen) = (0, !flag);
        loop {
            taken += std::mem::take(&mut *self.queue.lock().unwrap());
            seen |= self.flag.swap(false, Ordering::SeqCst);
            if taken == items && seen {
                return;
            }
            if self.park.sleep_unless(|| *self.queue.lock().unwrap() > 0 || self.flag.load(Ordering::SeqCst)) {
                let mut rung = self.rung.lock().unwrap();
                while !*rung {
                    rung = self.bell.wait(rung).unwrap();
                }
                *rung = false;
            }
            self.park.awake();
        }
    }
}

/// Runs `test` under every interleaving in which at most this many times a thread is interrupted; all of them would take hours.
fn explore(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

#[test]
fn two_wakers_with_a_queue() {
    explore(|| {
        let world = World::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                loom::thread::spawn(move || world.push())
            })
            .collect();
        world.turn(2, false);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(world.rings.load(Ordering::Relaxed) <= 2);
    });
}

#[test]
fn one_waker_with_a_queue_and_a_flag() {
    explore(|| {
        let world = World::new();
        let copy = Arc::clone(&world);
        let thread = loom::thread::spawn(move || {
            copy.push();
            copy.set();
        });
        world.turn(1, true);
        thread.join().unwrap();
    });
}

#[test]
fn a_queue_and_a_flag_from_two_threads() {
    explore(|| {
        let world = World::new();
        let (one, two) = (Arc::clone(&world), Arc::clone(&world));
        let pusher = loom::thread::spawn(move || one.push());
        let setter = loom::thread::spawn(move || two.set());
        world.turn(1, true);
        pusher.join().unwrap();
        setter.join().unwrap();
    });
}
