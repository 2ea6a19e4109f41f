//! The event loop's sources, and its rest.

use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use kombu_core::hub::{Progress, SourceId};
use mio::Interest;

use super::descriptors::{pair, read_one, write};
use super::loop_basics::{Seen, at_rest, still_works, ticks};
use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{Failure, Verdict, ensure, same};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Hub, "budget_stop_does_not_hang", budget_stop_does_not_hang)
        .promise("a source that stopped early to be fair is called again without a new readiness")
        .steps("an edge-triggered source with 10 bytes that reads one per call and says that there is more")
        .reference("10 calls")
        .spec("`Progress::More`"),
    Check::new(Group::Hub, "source_is_edge_triggered", source_is_edge_triggered)
        .promise("a source that was drained is called at the next change, and not before; after removal not at all")
        .steps("write, drain; 5 ticks; write, drain; change its interest; remove it, write")
        .reference("once for each write")
        .spec("`Hub::add_source`"),
    Check::new(Group::Hub, "fair_between_sources", fair_between_sources)
        .promise("one flooding source keeps no other source, timer or callback from its turn")
        .steps("a source that always has more; another with a byte, a timer and a callback; count ticks")
        .reference("each within a few ticks")
        .spec("`Hub`, one tick"),
    Check::new(Group::Hub, "idle_is_idle", idle_is_idle)
        .promise("a hub with nothing to do sleeps: no ticks beyond its timers, also with a transport at rest on it")
        .steps("a readable source that was drained, a timer, a connected consumer; count ticks while idle")
        .reference("Kombu ticks every poll interval")
        .spec("`Hub`")
        .alone(),
];

/// A mio socket that belongs to a source's callback.
fn mio_pair() -> Verdict<(mio::net::UnixStream, UnixStream)> {
    let (here, there) = pair()?;
    Ok((mio::net::UnixStream::from_std(here), there))
}

fn budget_stop_does_not_hang(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (source, mut there) = mio_pair()?;
    let source = Rc::new(RefCell::new(source));
    let (reading, seen) = (Rc::clone(&source), Seen::new());
    let log = seen.clone();
    write(&mut there, b"0123456789")?;
    let id = bench.hub.add_source(
        &mut *source.borrow_mut(),
        Interest::READABLE,
        Box::new(move |_, _| match read_one(&mut *reading.borrow_mut()) {
            Some(byte) => {
                log.add(byte);
                Progress::More
            }
            None => Progress::Drained,
        }),
    )?;
    bench.wait_until("all ten bytes of a source that stops after each", || seen.len() >= 10)?;
    same("bytes", seen.all(), b"0123456789".to_vec())?;
    bench.hub.remove_source(&mut *source.borrow_mut(), id)?;
    still_works(&resting)
}

fn source_is_edge_triggered(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (source, mut there) = mio_pair()?;
    let source = Rc::new(RefCell::new(source));
    let (reading, bytes, calls) = (Rc::clone(&source), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (count, called) = (Rc::clone(&bytes), Rc::clone(&calls));
    let hub = &bench.hub;
    let id: SourceId = hub.add_source(
        &mut *source.borrow_mut(),
        Interest::READABLE,
        Box::new(move |_, _| {
            called.set(called.get() + 1);
            while read_one(&mut *reading.borrow_mut()).is_some() {
                count.set(count.get() + 1);
            }
            Progress::Drained
        }),
    )?;
    for round in 1..=3 {
        write(&mut there, b"ab")?;
        bench.wait_until("the source", || bytes.get() >= round * 2)?;
        ticks(bench, 5)?;
        ensure(calls.get() <= round, format!("{} calls for {round} writes", calls.get()))?;
    }
    hub.modify_source(&mut *source.borrow_mut(), id, Interest::READABLE | Interest::WRITABLE)?;
    let before = calls.get();
    bench.wait_until("a call for the new interest", || calls.get() > before)?;
    hub.remove_source(&mut *source.borrow_mut(), id)?;
    let before = calls.get();
    write(&mut there, b"x")?;
    ticks(bench, 5)?;
    same("calls of the removed source", calls.get() - before, 0)?;
    ensure(hub.remove_source(&mut *source.borrow_mut(), id).is_err(), "a source was removed twice without an error")?;
    still_works(&resting)
}

fn fair_between_sources(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (source, mut flood) = mio_pair()?;
    let source = Rc::new(RefCell::new(source));
    let calls = Rc::new(Cell::new(0_u32));
    let counting = Rc::clone(&calls);
    write(&mut flood, b"x")?;
    let id = bench.hub.add_source(
        &mut *source.borrow_mut(),
        Interest::READABLE,
        Box::new(move |_, _| {
            counting.set(counting.get() + 1);
            Progress::More
        }),
    )?;
    bench.wait_until("the flood", || calls.get() >= 10)?;
    let (mut other, mut there) = pair()?;
    let (seen, fd) = (Seen::new(), other.as_raw_fd());
    let (reader, timer, callback) = (seen.clone(), seen.clone(), seen.clone());
    bench.hub.add_reader(
        fd,
        Box::new(move |_| {
            if read_one(&mut other).is_some() {
                reader.add("reader");
            }
        }),
    )?;
    write(&mut there, b"x")?;
    bench.hub.call_later(Duration::ZERO, Box::new(move |_| timer.add("timer")));
    bench.hub.call_soon(Box::new(move |_| callback.add("callback")));
    let before = calls.get();
    ticks(bench, 5)?;
    let mut served = seen.all();
    served.sort_unstable();
    same("what was served within 5 ticks of a flood", served, ["callback", "reader", "timer"])?;
    ensure(calls.get() > before, "the flooding source was not served at all")?;
    bench.hub.remove(fd);
    bench.hub.remove_source(&mut *source.borrow_mut(), id)?;
    still_works(&resting)
}

fn idle_is_idle(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (source, mut there) = mio_pair()?;
    let source = Rc::new(RefCell::new(source));
    let reading = Rc::clone(&source);
    let hub = &bench.hub;
    let id = hub.add_source(
        &mut *source.borrow_mut(),
        Interest::READABLE,
        Box::new(move |_, _| {
            while read_one(&mut *reading.borrow_mut()).is_some() {}
            Progress::Drained
        }),
    )?;
    write(&mut there, b"x")?;
    hub.call_later(Duration::from_secs(3600), Box::new(|_| ()));
    for _ in 0..50 {
        bench.turn()?;
    }
    let (naps, span) = (10, Duration::from_millis(if bench.is_small() { 2 } else { 50 }));
    // Each nap takes a few ticks; a transport may have a timer of its own, now and then.
    let most = if bench.is_manual() { naps * 4 } else { naps * 7 };
    let (count, rescue) = (Arc::new(AtomicU32::new(0)), bench.rescue());
    let counting = Arc::clone(&count);
    let hook = hub.on_tick(Box::new(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
    }));
    // What a connection does after it was made is not idleness, and takes a slow machine a while: a span of rest must come.
    let end = std::time::Instant::now() + bench.patience();
    let ticked = loop {
        count.store(0, Ordering::Relaxed);
        for _ in 0..naps {
            nap(bench, span, &count, most)?;
        }
        let ticked = count.load(Ordering::Relaxed);
        if ticked <= most || bench.is_manual() || std::time::Instant::now() > end {
            break ticked;
        }
    };
    hub.remove_hook(hook);
    ensure(!rescue.came(), "the hub slept on although it was told to stop")?;
    ensure(ticked <= most, format!("an idle hub ticked {ticked} times in {naps} naps"))?;
    hub.remove_source(&mut *source.borrow_mut(), id)?;
    still_works(&resting)
}

/// Lets the hub turn until it sleeps for `span`, or has ticked more than `most` times.
fn nap(bench: &Bench, span: Duration, count: &Arc<AtomicU32>, most: u32) -> Verdict {
    let (handle, is_over) = (bench.hub.handle(), Arc::new(AtomicBool::new(false)));
    let (over, count) = (Arc::clone(&is_over), Arc::clone(count));
    let waker = std::thread::spawn(move || {
        let mut last = count.load(Ordering::Relaxed);
        loop {
            std::thread::sleep(span);
            let now = count.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut last, now) || now > most {
                break;
            }
        }
        over.store(true, Ordering::Release);
        handle.stop();
    });
    while !is_over.load(Ordering::Acquire) {
        bench.hub.run_once(Some(bench.patience() * 2))?;
    }
    waker.join().map_err(|_| Failure::new("the waking thread panicked"))
}
