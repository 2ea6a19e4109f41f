//! The event loop's timers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use kombu_core::hub::TimerHandle;

use super::loop_basics::{Seen, at_rest, still_works, ticks};
use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{Verdict, ensure, same};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Hub, "timers_fire_in_order", timers_fire_in_order)
        .promise("timers fire in the order they are due, equal ones in the order they were asked for, none early")
        .steps("timers of 30, 10, 20, 10 and 0 ms; let 10 ms pass, look; let 20 ms pass, look")
        .reference("Kombu's timer")
        .spec("`Hub::call_at`"),
    Check::new(Group::Hub, "timers_cancel", timers_cancel)
        .promise(
            "a cancelled timer does not fire: cancelled before, by another due at the same time, or by another thread",
        )
        .steps("cancel one before it is due, one from a timer due with it, one from a thread, one twice")
        .reference("Kombu's Entry.cancel")
        .spec("`TimerHandle::cancel`"),
    Check::new(Group::Hub, "timers_repeat_without_drift", timers_repeat_without_drift)
        .promise(
            "a repeated timer is due at multiples of its interval; what was missed is skipped; it can be cancelled",
        )
        .steps("repeat every 100 ms; let 10 × 100 ms pass; let 350 ms pass at once; cancel from inside")
        .reference("`Hub::call_repeatedly`")
        .spec("`Hub::call_repeatedly`"),
    Check::new(Group::Hub, "timers_all_due_in_a_tick", timers_all_due_in_a_tick)
        .promise("all timers that are due fire in one tick, up to the budget, and none is forgotten beyond it")
        .steps("50 due timers, one tick; 3 000 due timers, until all fired")
        .reference("Kombu fires 10 of 50 per tick")
        .spec("`Hub`, one tick"),
    Check::new(Group::Hub, "timers_from_callbacks", timers_from_callbacks)
        .promise("a timer may be asked for by a timer, also one that is due at once; it does not starve the tick")
        .steps("a timer that asks for itself with no delay, 100 times; a callback asked for after the first")
        .reference("`Hub::call_later`")
        .spec("`Hub::call_later`"),
];

const MS: Duration = Duration::from_millis(1);

fn timers_fire_in_order(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    // Time that passes by itself may have passed before it is looked at.
    let unit = if bench.is_manual() { MS } else { 20 * MS };
    for (delay, name) in [(30, "30"), (10, "10"), (20, "20"), (10, "10 again"), (0, "0")] {
        let seen = seen.clone();
        hub.call_later(delay * unit, Box::new(move |hub| seen.add((name, hub.now()))));
    }
    let began = hub.now();
    bench.pass(10 * unit)?;
    if bench.is_manual() {
        let names: Vec<_> = seen.all().iter().map(|(name, _)| *name).collect();
        same("timers due after 10 ms", names, ["0", "10", "10 again"])?;
    }
    bench.pass(20 * unit)?;
    bench.wait_until("all timers", || seen.len() >= 5)?;
    let names: Vec<_> = seen.all().iter().map(|(name, _)| *name).collect();
    same("timers", names, ["0", "10", "10 again", "20", "30"])?;
    for (name, at) in seen.all() {
        let due = name.split(' ').next().and_then(|delay| delay.parse::<u32>().ok()).unwrap_or(0) * unit;
        let late = at.saturating_duration_since(began);
        ensure(late + unit / 2 >= due, format!("the timer of {name} fired after {late:?}"))?;
    }
    still_works(&resting)
}

fn timers_cancel(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    let timer = |name: &'static str| {
        let seen = seen.clone();
        hub.call_later(10 * MS, Box::new(move |_| seen.add(name)))
    };
    let before = timer("cancelled before");
    before.cancel();
    before.cancel();
    let elsewhere = timer("cancelled by a thread");
    let thread = std::thread::spawn(move || elsewhere.cancel());
    thread.join().map_err(|_| crate::failure::Failure::new("cancelling panicked"))?;
    let victim: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
    let (own, log) = (Rc::clone(&victim), seen.clone());
    hub.call_later(
        10 * MS,
        Box::new(move |_| {
            log.add("canceller");
            if let Some(victim) = own.take() {
                victim.cancel();
            }
        }),
    );
    victim.replace(Some(timer("cancelled by one due with it")));
    let last = timer("kept");
    bench.pass(10 * MS)?;
    bench.wait_until("the timers that are left", || seen.len() >= 2)?;
    last.cancel();
    ticks(bench, 3)?;
    same("timers that fired", seen.all(), ["canceller", "kept"])?;
    still_works(&resting)
}

fn timers_repeat_without_drift(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    let unit = if bench.is_manual() { 100 * MS } else { 10 * MS };
    let (log, began) = (seen.clone(), hub.now());
    let own: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
    let (mine, ends) = (Rc::clone(&own), Rc::new(Cell::new(false)));
    let end = Rc::clone(&ends);
    let handle = hub.call_repeatedly(
        unit,
        Box::new(move |hub| {
            log.add(hub.now());
            if end.get()
                && let Some(handle) = mine.take()
            {
                handle.cancel();
            }
        }),
    );
    own.replace(Some(handle));
    if bench.is_manual() {
        for round in 1..=10 {
            bench.pass(unit)?;
            same("runs of a repeated timer", seen.len(), round)?;
        }
        let want: Vec<_> = (1..=10).map(|round| began + round * unit).collect();
        same("times of its runs", seen.all(), want)?;
        bench.pass(350 * MS)?;
        ensure((11..=13).contains(&seen.len()), format!("after a long pause it ran {} times", seen.len()))?;
        let count = seen.len();
        bench.pass(50 * MS)?;
        same("runs at the next multiple of its interval", seen.len(), count + 1)?;
    } else {
        bench.wait_until("five runs", || seen.len() >= 5)?;
    }
    ends.set(true);
    let count = seen.len();
    bench.pass(unit)?;
    bench.wait_until("the last run", || seen.len() > count)?;
    let count = seen.len();
    bench.pass(3 * unit)?;
    same("runs after it cancelled itself", seen.len() - count, 0)?;
    still_works(&resting)
}

fn timers_all_due_in_a_tick(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (hub, count) = (&bench.hub, Rc::new(Cell::new(0)));
    let many = |number: usize| {
        for _ in 0..number {
            let count = Rc::clone(&count);
            hub.call_later(Duration::ZERO, Box::new(move |_| count.set(count.get() + 1)));
        }
    };
    many(50);
    // A tick in which the clock has not moved yet may find them not due.
    ticks(bench, if bench.is_manual() { 1 } else { 2 })?;
    same("timers fired in the tick in which 50 are due", count.get(), 50)?;
    let more = bench.many(3000);
    many(more);
    bench.wait_until("all timers", || count.get() >= 50 + more)?;
    ticks(bench, 2)?;
    same("timers that fired", count.get(), 50 + more)?;
    still_works(&resting)
}

fn timers_from_callbacks(bench: &Bench) -> Verdict {
    fn again(hub: &dyn kombu_core::hub::Hub, left: u32, seen: Seen<String>) {
        seen.add(format!("timer {left}"));
        if left > 0 {
            hub.call_later(Duration::ZERO, Box::new(move |hub| again(hub, left - 1, seen)));
        }
    }
    let resting = at_rest(bench)?;
    let (hub, seen) = (&bench.hub, Seen::new());
    let (log, first) = (seen.clone(), seen.clone());
    hub.call_later(Duration::ZERO, Box::new(move |hub| again(hub, 100, log)));
    hub.call_soon(Box::new(move |hub| hub.call_soon(Box::new(move |_| first.add("callback".to_owned())))));
    bench.wait_until("all timers and the callback", || seen.len() >= 102)?;
    let place = seen.all().iter().position(|entry| entry == "callback");
    ensure(place.is_some_and(|place| place < 50), format!("the callback ran after {place:?} of 101 timers"))?;
    still_works(&resting)
}
