//! The event loop's readers and writers.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use super::loop_basics::{Seen, at_rest, still_works, ticks};
use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{Failure, Verdict, ensure, same};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Hub, "partial_reader_is_called_again", partial_reader_is_called_again)
        .promise("a reader that leaves bytes unread is called again, as in Kombu (level-triggered)")
        .steps("3 bytes are written, a reader reads one per call")
        .reference("Kombu's hub; mio alone would wake it once")
        .spec("`Hub::add_reader`"),
    Check::new(Group::Hub, "reader_and_writer_both_called", reader_and_writer_both_called)
        .promise("on a descriptor ready for both, the reader and the writer are called")
        .steps("a readable and writable socket with both; 5 ticks")
        .reference("Kombu's writer starves: 3 reads, 0 writes")
        .spec("`Hub::add_writer`"),
    Check::new(Group::Hub, "removed_reader_is_not_called", removed_reader_is_not_called)
        .promise("a reader that is removed, by itself or by another in the same tick, is not called again")
        .steps("two ready readers, each removes both; make them ready again; remove what is removed")
        .reference("one call altogether")
        .spec("`Hub::remove_reader`"),
    Check::new(Group::Hub, "reader_can_be_added_again", reader_can_be_added_again)
        .promise("a descriptor that was removed can be added again, and a second reader replaces the first")
        .steps("add, remove, add; add another over it; the bytes were there all the time")
        .reference("the last reader is called")
        .spec("`Hub::add_reader`"),
    Check::new(Group::Hub, "reused_descriptor_is_not_confused", reused_descriptor_is_not_confused)
        .promise("a new socket under an old descriptor number gets its own events and not those of the old one")
        .steps("remove and close a ready reader's socket in a callback, open another, which gets its number")
        .reference("no call until the new one is ready")
        .spec("`Hub::remove_reader`"),
    Check::new(Group::Hub, "closed_peer_is_not_spun_on", closed_peer_is_not_spun_on)
        .promise("a reader is told that the other end closed; one that ignores it does not make the hub spin for ever")
        .steps("close the other end; a reader that reads the end and removes itself; one that never reads")
        .reference("Kombu spins 200 000 times a second")
        .spec("`Hub::add_reader`"),
    Check::new(Group::Hub, "closed_descriptor_is_removed", closed_descriptor_is_removed)
        .promise("a descriptor that was closed without being removed harms no other")
        .steps("close a watched socket; another reader and a timer go on")
        .reference("Kombu leaves a dead reader")
        .spec("`Hub::add_reader`"),
];

pub(super) fn pair() -> Verdict<(UnixStream, UnixStream)> {
    let pair = UnixStream::pair().map_err(|error| Failure::new(format!("no socket pair: {error}")))?;
    for end in [&pair.0, &pair.1] {
        end.set_nonblocking(true).map_err(|error| Failure::new(format!("no non-blocking socket: {error}")))?;
    }
    Ok(pair)
}

pub(super) fn write(end: &mut UnixStream, bytes: &[u8]) -> Verdict {
    end.write_all(bytes).map_err(|error| Failure::new(format!("the socket pair does not take bytes: {error}")))
}

/// Reads one byte, if there is one.
pub(super) fn read_one(end: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    matches!(end.read(&mut byte), Ok(1)).then_some(byte[0])
}

fn partial_reader_is_called_again(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (mut here, mut there) = pair()?;
    let (seen, fd) = (Seen::new(), here.as_raw_fd());
    write(&mut there, b"abc")?;
    let log = seen.clone();
    bench.hub.add_reader(
        fd,
        Box::new(move |_| {
            if let Some(byte) = read_one(&mut here) {
                log.add(byte);
            }
        }),
    )?;
    bench.wait_until("all three bytes", || seen.len() >= 3)?;
    write(&mut there, b"d")?;
    bench.wait_until("a byte written later", || seen.len() >= 4)?;
    same("bytes", seen.all(), b"abcd".to_vec())?;
    ensure(bench.hub.remove_reader(fd), "the reader that is there was not found")?;
    still_works(&resting)
}

fn reader_and_writer_both_called(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (here, mut there) = pair()?;
    write(&mut there, b"x")?;
    let (reads, writes, fd) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), here.as_raw_fd());
    let (reading, writing) = (Rc::clone(&reads), Rc::clone(&writes));
    bench.hub.add_reader(fd, Box::new(move |_| reading.set(reading.get() + 1)))?;
    bench.hub.add_writer(fd, Box::new(move |_| writing.set(writing.get() + 1)))?;
    bench.wait_until("both to be called", || reads.get() >= 2 && writes.get() >= 2)?;
    ensure(bench.hub.remove_writer(fd), "the writer was not found")?;
    let (before, read) = (writes.get(), reads.get());
    ticks(bench, 5)?;
    same("calls of the removed writer", writes.get() - before, 0)?;
    ensure(reads.get() > read, "the reader was removed with the writer")?;
    ensure(bench.hub.remove(fd), "the reader was not found")?;
    ensure(!bench.hub.remove(fd), "what was removed was found again")?;
    drop(here);
    still_works(&resting)
}

fn removed_reader_is_not_called(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (one, mut to_one) = pair()?;
    let (two, mut to_two) = pair()?;
    let (calls, fds) = (Rc::new(Cell::new(0)), [one.as_raw_fd(), two.as_raw_fd()]);
    for fd in fds {
        let calls = Rc::clone(&calls);
        bench.hub.add_reader(
            fd,
            Box::new(move |hub| {
                calls.set(calls.get() + 1);
                for fd in fds {
                    hub.remove_reader(fd);
                }
            }),
        )?;
    }
    write(&mut to_one, b"x")?;
    write(&mut to_two, b"x")?;
    bench.wait_until("one of the readers", || calls.get() >= 1)?;
    write(&mut to_one, b"x")?;
    write(&mut to_two, b"x")?;
    ticks(bench, 5)?;
    same("calls of two readers of which each removes both", calls.get(), 1)?;
    ensure(!bench.hub.remove_reader(fds[0]), "a removed reader was found")?;
    drop((one, two));
    still_works(&resting)
}

fn reader_can_be_added_again(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (here, mut there) = pair()?;
    write(&mut there, b"x")?;
    let (seen, fd) = (Seen::new(), here.as_raw_fd());
    let add = |name: &'static str| {
        let seen = seen.clone();
        bench.hub.add_reader(
            fd,
            Box::new(move |hub| {
                seen.add(name);
                hub.remove_reader(fd);
            }),
        )
    };
    add("first")?;
    ensure(bench.hub.remove_reader(fd), "the first reader was not found")?;
    add("second")?;
    bench.wait_until("the reader added again", || seen.len() >= 1)?;
    add("third")?;
    add("fourth")?;
    bench.wait_until("the reader that replaced another", || seen.len() >= 2)?;
    ticks(bench, 3)?;
    same("calls", seen.all(), ["second", "fourth"])?;
    drop(here);
    still_works(&resting)
}

fn reused_descriptor_is_not_confused(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    // Two readers are ready in the same tick; the first closes the second's socket and opens another under its number.
    for _ in 0..5 {
        let (old, mut to_old) = pair()?;
        let (trigger, mut to_trigger) = pair()?;
        let (fd, trigger_fd) = (old.as_raw_fd(), trigger.as_raw_fd());
        let (calls, fresh) = (Seen::new(), Rc::new(RefCell::new(None)));
        let (old, new) = (RefCell::new(Some(old)), Rc::clone(&fresh));
        let (log, replaced) = (calls.clone(), calls.clone());
        bench.hub.add_reader(
            trigger_fd,
            Box::new(move |hub| {
                hub.remove_reader(trigger_fd);
                if let Some(old) = old.take() {
                    hub.remove_reader(fd);
                    drop(old);
                    let pair = pair().ok();
                    if let Some((end, _)) = &pair {
                        let replaced = replaced.clone();
                        let at = end.as_raw_fd();
                        drop(hub.add_reader(
                            at,
                            Box::new(move |hub| {
                                hub.remove_reader(at);
                                replaced.add("new");
                            }),
                        ));
                    }
                    new.replace(pair);
                }
            }),
        )?;
        bench.hub.add_reader(
            fd,
            Box::new(move |hub| {
                hub.remove_reader(fd);
                log.add("old");
            }),
        )?;
        write(&mut to_trigger, b"x")?;
        write(&mut to_old, b"x")?;
        bench.wait_until("the sockets to be changed", || fresh.borrow().is_some())?;
        let before = calls.all();
        ticks(bench, 5)?;
        same("calls after the change, before the new socket is ready", calls.all(), before)?;
        if let Some((_, to_new)) = fresh.borrow_mut().as_mut() {
            write(to_new, b"x")?;
        }
        bench.wait_until("the new socket's reader", || calls.all().contains(&"new"))?;
        same("calls of the new socket's reader", calls.all().iter().filter(|call| **call == "new").count(), 1)?;
        bench.hub.remove(fd);
        drop(trigger);
    }
    still_works(&resting)
}

fn closed_peer_is_not_spun_on(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (here, there) = pair()?;
    let (told, fd) = (Rc::new(Cell::new(0)), here.as_raw_fd());
    // Open to the end, so that the second pair does not come by its number: that is another check.
    let here = Rc::new(here);
    let (count, reading) = (Rc::clone(&told), Rc::clone(&here));
    bench.hub.add_reader(
        fd,
        Box::new(move |hub| {
            let mut rest = Vec::new();
            if (&*reading).read_to_end(&mut rest).is_ok() {
                count.set(count.get() + 1);
                hub.remove_reader(fd);
            }
        }),
    )?;
    drop(there);
    bench.wait_until("the reader to learn that the peer closed", || told.get() >= 1)?;
    let (idle, gone) = pair()?;
    let (calls, idle_fd) = (Rc::new(Cell::new(0_u32)), idle.as_raw_fd());
    let counting = Rc::clone(&calls);
    bench.hub.add_reader(idle_fd, Box::new(move |_| counting.set(counting.get() + 1)))?;
    drop(gone);
    let many = bench.many(2000);
    ticks(bench, many)?;
    let first = calls.get();
    ticks(bench, 100)?;
    same("calls of a reader that ignores a closed peer, after many ticks", calls.get() - first, 0)?;
    ensure(
        usize::try_from(first).is_ok_and(|first| (1..many).contains(&first)),
        format!("a reader that ignores a closed peer was called {first} times"),
    )?;
    bench.hub.remove(idle_fd);
    drop((idle, here));
    still_works(&resting)
}

fn closed_descriptor_is_removed(bench: &Bench) -> Verdict {
    let resting = at_rest(bench)?;
    let (lost, to_lost) = pair()?;
    let (mut kept, mut to_kept) = pair()?;
    let (seen, fd) = (Seen::new(), kept.as_raw_fd());
    bench.hub.add_reader(lost.as_raw_fd(), Box::new(|_| ()))?;
    let log = seen.clone();
    bench.hub.add_reader(
        fd,
        Box::new(move |_| {
            if read_one(&mut kept).is_some() {
                log.add("reader");
            }
        }),
    )?;
    drop((lost, to_lost));
    let timer = seen.clone();
    bench.hub.call_later(Duration::ZERO, Box::new(move |_| timer.add("timer")));
    write(&mut to_kept, b"x")?;
    bench.wait_until("the other reader and the timer", || seen.len() >= 2)?;
    ticks(bench, 20)?;
    same("calls", seen.len(), 2)?;
    bench.hub.remove(fd);
    still_works(&resting)
}
