//! The event loop: callbacks, hooks, tasks, errors. With the transport connected and at rest on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use kombu_core::hub::Hub;

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Verdict, ensure, same};
use crate::lane::Consumed;

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Hub, "call_soon_fifo", call_soon_fifo)
        .promise("callbacks run in the order they were asked for, each once, in the tick after")
        .steps("50 callbacks; callbacks asked for by a callback, a timer, a hook and a task, each in its order")
        .reference("Kombu runs 50 in arbitrary order (a set)")
        .spec("`Hub::call_soon`"),
    Check::new(Group::Hub, "call_soon_from_elsewhere", call_soon_from_elsewhere)
        .promise("a callback handed in by another thread wakes the hub and runs in that thread's order")
        .steps("a thread hands in 100 while the hub sleeps without a time-out; counted, not timed")
        .reference("Kombu waits up to a second")
        .spec("`HubHandle::call_soon`"),
    Check::new(Group::Hub, "call_soon_by_timer_runs_at_once", call_soon_by_timer_runs_at_once)
        .promise("a callback asked for by a timer or a hook does not wait for the next event")
        .steps("a timer asks for a callback on a hub on which nothing else happens; count the ticks until it ran")
        .reference("Kombu waits a full poll second")
        .spec("`Hub::call_soon`"),
    Check::new(Group::Hub, "on_tick_every_tick", on_tick_every_tick)
        .promise("a hook runs once in each tick, may add hooks and remove itself")
        .steps("count runs against ticks; a hook adds another and removes itself; remove the other")
        .reference("Kombu's on_tick")
        .spec("`Hub::on_tick`"),
    Check::new(Group::Hub, "panicking_callback_is_removed", panicking_callback_is_removed)
        .promise("a callback that panics is removed, and the hub goes on with all others")
        .steps("a callback, a timer, a repeated timer and a hook that panic; each with a good one beside it")
        .reference("Kombu's loop ends with the exception of a reader")
        .spec("`Hub`: callbacks"),
    Check::new(Group::Hub, "hub_is_not_reentrant", hub_is_not_reentrant)
        .promise("turning the hub from inside one of its callbacks is an error, not a recursion")
        .steps("run_once inside a callback")
        .reference("`ErrorKind::Reentrant`")
        .spec("`Hub::run_once`"),
    Check::new(Group::Hub, "wait_io_runs_no_user_callback", wait_io_runs_no_user_callback)
        .promise(
            "waiting inside a callback turns the I/O class only; the application's callbacks run afterwards, in order",
        )
        .steps("a callback waits for what an I/O callback does; a user callback was asked for before and one after")
        .reference("Kombu's drain_events runs everything")
        .spec("`Hub::wait_io`"),
    Check::new(Group::Hub, "local_tasks_run", local_tasks_run)
        .promise("a local task runs on the hub, sleeps by its clock and is dropped with it")
        .steps("a task that sleeps twice; its steps in order; `stop` ends a loop of ticks")
        .reference("`Hub::spawn_local`")
        .spec("`Hub::spawn_local`"),
];

/// What the checks of the hub share: the transport, connected and at rest, with a consumer that has nothing to do; nothing in a suite
/// of the hub alone.
pub(super) fn at_rest(bench: &Bench) -> Verdict<Option<Consumed<'_>>> {
    if bench.ground.is_hub_alone {
        return Ok(None);
    }
    let lane = bench.channel()?;
    let queue = lane.queue("rest")?;
    lane.consume(&queue).during("a consumer at rest").map(Some)
}

/// The transport still works after what was done to its hub.
pub(super) fn still_works(resting: &Option<Consumed<'_>>) -> Verdict {
    match resting {
        Some(resting) => same("deliveries to the resting consumer", resting.fence()?.len(), 0),
        None => Ok(()),
    }
}

/// A list that callbacks write into.
#[derive(Clone)]
pub(super) struct Seen<T>(Rc<RefCell<Vec<T>>>);

impl<T: Clone> Seen<T> {
    pub(super) fn new() -> Self {
        Seen(Rc::default())
    }

    pub(super) fn add(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub(super) fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Runs so many ticks that wait for nothing.
pub(super) fn ticks(bench: &Bench, count: usize) -> Verdict {
    for _ in 0..count {
        bench.hub.run_once(Some(Duration::ZERO))?;
    }
    Ok(())
}

fn call_soon_fifo(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    for number in 0..50 {
        let seen = seen.clone();
        hub.call_soon(Box::new(move |_| seen.add(number)));
    }
    bench.wait_until("50 callbacks", || seen.len() >= 50)?;
    same("callbacks", seen.all(), (0..50).collect::<Vec<_>>())?;

    let nested = Seen::new();
    let (outer, first) = (nested.clone(), nested.clone());
    hub.call_soon(Box::new(move |hub| {
        let (one, two) = (outer.clone(), outer.clone());
        hub.call_soon(Box::new(move |_| one.add("asked for inside, first")));
        hub.call_soon(Box::new(move |_| two.add("asked for inside, second")));
        outer.add("first");
    }));
    hub.call_soon(Box::new(move |_| first.add("second")));
    bench.wait_until("four callbacks", || nested.len() >= 4)?;
    let want = ["first", "second", "asked for inside, first", "asked for inside, second"];
    same("callbacks asked for by a callback", nested.all(), want)?;
    ticks(bench, 3)?;
    same("callbacks that ran", seen.len() + nested.len(), 54)?;
    still_works(&resting)
}

fn call_soon_from_elsewhere(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (handle, seen) = (bench.hub.handle(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let log = std::sync::Arc::clone(&seen);
    let thread = std::thread::spawn(move || {
        for number in 0..100 {
            let log = std::sync::Arc::clone(&log);
            handle.call_soon(move |_| log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(number));
        }
    });
    let count = || seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
    // Handing in does not wait for the hub.
    thread.join().map_err(|_| crate::failure::Failure::new("the calling thread panicked"))?;
    bench.wait_until("100 callbacks of another thread", || count() >= 100)?;
    let all = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    same("callbacks of another thread", all, (0..100).collect::<Vec<_>>())?;
    wakes_a_sleeper(bench)?;
    still_works(&resting)
}

/// The hub sleeps for longer than anybody's patience and must be woken.
fn wakes_a_sleeper(bench: &Bench) -> Verdict {
    let handle = bench.hub.handle();
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mark = std::sync::Arc::clone(&ran);
    let rescue = bench.rescue();
    let thread = std::thread::spawn(move || {
        while !handle.is_running() {
            std::thread::yield_now();
        }
        // Time to fall asleep; were it too short, the hub would only be awake already.
        std::thread::sleep(Duration::from_millis(5));
        handle.call_soon(move |_| mark.store(true, std::sync::atomic::Ordering::Release));
    });
    while !ran.load(std::sync::atomic::Ordering::Acquire) {
        bench.hub.run_once(Some(bench.patience() * 2))?;
        ensure(!rescue.came(), "the hub slept on although another thread called")?;
    }
    drop(rescue);
    thread.join().map_err(|_| crate::failure::Failure::new("the calling thread panicked"))
}

fn call_soon_by_timer_runs_at_once(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, ran) = (&bench.hub, Rc::new(Cell::new(false)));
    let mark = Rc::clone(&ran);
    hub.call_later(Duration::ZERO, Box::new(move |hub| hub.call_soon(Box::new(move |_| mark.set(true)))));
    let (mut turned, rescue) = (0, bench.rescue());
    while !ran.get() && turned < 5 {
        // It may sleep for long: what waits must keep it from that.
        hub.run_once(Some(if bench.is_manual() { Duration::ZERO } else { bench.patience() * 2 }))?;
        ensure(!rescue.came(), "the hub slept although a callback waited")?;
        turned += 1;
    }
    drop(rescue);
    ensure(ran.get(), format!("a callback asked for by a timer did not run within {turned} ticks"))?;
    still_works(&resting)
}

fn on_tick_every_tick(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    ticks(bench, 5)?;
    let (hub, count, extra) = (&bench.hub, Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let counting = Rc::clone(&count);
    let hook = hub.on_tick(Box::new(move |_| counting.set(counting.get() + 1)));
    ticks(bench, 10)?;
    let runs = count.get();
    ensure((10..=20).contains(&runs), format!("a hook ran {runs} times in 10 ticks"))?;

    let (own, adding) = (Rc::new(Cell::new(None)), Rc::clone(&extra));
    let (mine, once) = (Rc::clone(&own), Rc::new(Cell::new(0)));
    let runs_of_one = Rc::clone(&once);
    let id = hub.on_tick(Box::new(move |hub| {
        runs_of_one.set(runs_of_one.get() + 1);
        if let Some(id) = mine.take() {
            hub.remove_hook(id);
            let adding = Rc::clone(&adding);
            hub.on_tick(Box::new(move |_| adding.set(adding.get() + 1)));
        }
    }));
    own.set(Some(id));
    ticks(bench, 10)?;
    same("runs of a hook that removed itself", once.get(), 1)?;
    ensure(extra.get() >= 5, format!("a hook added by a hook ran {} times in 10 ticks", extra.get()))?;
    ensure(hub.remove_hook(hook), "a hook that is there was not found")?;
    ensure(!hub.remove_hook(hook), "a hook was removed twice")?;
    let before = count.get();
    ticks(bench, 5)?;
    same("runs of a removed hook", count.get() - before, 0)?;
    still_works(&resting)
}

/// A panic that prints nothing.
fn on_purpose() {
    std::panic::resume_unwind(Box::new("on purpose"));
}

fn panicking_callback_is_removed(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, good, bad) = (&bench.hub, Seen::new(), Rc::new(Cell::new(0)));
    let counting = || {
        let bad = Rc::clone(&bad);
        move || {
            bad.set(bad.get() + 1);
            on_purpose();
        }
    };
    let (one, two, three) = (counting(), counting(), counting());
    hub.call_soon(Box::new(move |_| one()));
    hub.call_later(Duration::ZERO, Box::new(move |_| two()));
    hub.on_tick(Box::new(move |_| three()));
    for name in ["callback", "timer", "hook"] {
        let seen = good.clone();
        match name {
            "callback" => hub.call_soon(Box::new(move |_| seen.add(name))),
            "timer" => drop(hub.call_later(Duration::ZERO, Box::new(move |_| seen.add(name)))),
            _ => drop(hub.on_tick(Box::new(move |_| seen.add(name)))),
        }
    }
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ticks(bench, 5)));
    caught.map_err(|_| crate::failure::Failure::new("a callback's panic left the hub"))??;
    let seen = good.all();
    for name in ["callback", "timer", "hook"] {
        ensure(seen.contains(&name), format!("the {name} beside one that panicked did not run"))?;
    }
    same("runs of what panics", bad.get(), 3)?;
    still_works(&resting)
}

fn hub_is_not_reentrant(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    let log = seen.clone();
    hub.call_soon(Box::new(move |hub| {
        log.add(hub.run_once(Some(Duration::ZERO)).map_err(|error| error.kind()));
    }));
    bench.wait_until("the callback", || seen.len() >= 1)?;
    same("run_once inside a callback", seen.all(), [Err::<bool, _>(kombu_core::ErrorKind::Reentrant)])?;
    still_works(&resting)
}

fn wait_io_runs_no_user_callback(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    let log = seen.clone();
    hub.call_soon(Box::new(move |hub: &dyn Hub| {
        log.add("waiting");
        let (user, io) = (log.clone(), log.clone());
        hub.call_soon(Box::new(move |_| user.add("user")));
        let (sender, reply) = kombu_core::reply::channel();
        hub.io().call_soon(Box::new(move |_| {
            io.add("io");
            sender.send(());
        }));
        let mut waiting = std::pin::pin!(async move {
            reply.await;
        });
        let ended = hub.wait_io(waiting.as_mut(), None);
        log.add(if matches!(ended, Ok(true)) { "waited" } else { "failed" });
    }));
    bench.wait_until("all callbacks", || seen.len() >= 4)?;
    same("callbacks", seen.all(), ["waiting", "io", "waited", "user"])?;
    still_works(&resting)
}

fn local_tasks_run(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    let (log, handle) = (seen.clone(), hub.handle());
    hub.spawn_local(Box::pin(async move {
        log.add("begun");
        handle.sleep(Duration::from_millis(20)).await;
        log.add("slept");
        handle.sleep(Duration::from_millis(20)).await;
        log.add("done");
    }));
    same("steps before a tick", seen.len(), 0)?;
    ticks(bench, 2)?;
    // By the machine's clock, 20 ms may have passed between two ticks.
    let begun = if bench.is_manual() { seen.all() } else { seen.all().into_iter().take(1).collect() };
    same("steps in the first ticks", begun, ["begun"])?;
    bench.pass(Duration::from_millis(20))?;
    bench.wait_until("the second step", || seen.len() >= 2)?;
    bench.pass(Duration::from_millis(20))?;
    bench.wait_until("the last step", || seen.len() >= 3)?;
    same("steps", seen.all(), ["begun", "slept", "done"])?;
    still_works(&resting)
}
