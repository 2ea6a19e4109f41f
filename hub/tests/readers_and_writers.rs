//! Readers and writers of the application: level-triggered, removable at any time, never confused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use common::{Log, errors_of, tick, turn_until};
use kombu_core::hub::{Hub, Progress};
use kombu_hub::MioHub;
use mio::Interest;

fn pair() -> (Rc<UnixStream>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    (Rc::new(here), there)
}

fn read_one(mut stream: &UnixStream) -> Option<u8> {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(1) => Some(byte[0]),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_reader_that_leaves_bytes_is_called_again() {
    let hub = MioHub::new().unwrap();
    let (here, mut there) = pair();
    let log = Log::new();
    let (stream, copy) = (Rc::clone(&here), log.clone());
    hub.add_reader(&*here, move |_| copy.add(read_one(&stream).unwrap())).unwrap();
    there.write_all(b"abc").unwrap();
    turn_until(&hub, "three bytes", || log.len() == 3);
    assert_eq!(log.take(), *b"abc");
    tick(&hub, 5);
    assert_eq!(log.len(), 0, "called without anything to read");
    assert_eq!(hub.stats().readers, 3);
}

#[test]
fn both_are_called_when_both_are_ready() {
    let hub = MioHub::new().unwrap();
    let (here, mut there) = pair();
    let log = Log::new();
    let (reads, writes) = (log.clone(), log.clone());
    // Neither reads nor writes, so both stay ready.
    hub.add_reader(&*here, move |_| reads.add("read")).unwrap();
    hub.add_writer(&*here, move |_| writes.add("write")).unwrap();
    there.write_all(b"x").unwrap();
    turn_until(&hub, "six calls", || log.len() >= 6);
    assert_eq!(log.take()[..6], ["read", "write", "read", "write", "read", "write"]);
    assert!(hub.remove(&*here));
    tick(&hub, 2);
    assert_eq!(log.len(), 0);
    assert!(!hub.remove(&*here));
}

#[test]
fn a_reader_removes_the_writer_of_the_same_tick() {
    let hub = MioHub::new().unwrap();
    let (here, mut there) = pair();
    let log = Log::new();
    let (stream, reads, writes) = (Rc::clone(&here), log.clone(), log.clone());
    there.write_all(b"x").unwrap();
    hub.add_reader(&*here, move |hub| {
        reads.add("read");
        assert!(hub.remove_writer(&*stream));
        assert!(hub.remove_reader(&*stream));
    })
    .unwrap();
    hub.add_writer(&*here, move |_| writes.add("write")).unwrap();
    tick(&hub, 3);
    assert_eq!(log.take(), ["read"]);
}

#[test]
fn a_reader_removes_another_of_the_same_tick() {
    let hub = MioHub::new().unwrap();
    let streams: Vec<_> = (0..2).map(|_| pair()).collect();
    let log = Log::new();
    for (number, (here, there)) in streams.iter().enumerate() {
        (&*there).write_all(b"x").unwrap();
        let (other, copy) = (Rc::clone(&streams[1 - number].0), log.clone());
        hub.add_reader(&**here, move |hub| {
            copy.add(number);
            hub.remove_reader(&*other);
        })
        .unwrap();
    }
    tick(&hub, 1);
    assert_eq!(log.take().len(), 1, "the one called first removed the other");
}

#[test]
fn re_adding_after_remove_and_replacing_work() {
    let hub = MioHub::new().unwrap();
    let (here, mut there) = pair();
    let log = Log::new();
    let add = |name: &'static str| {
        let (log, stream) = (log.clone(), Rc::clone(&here));
        hub.add_reader(&*here, move |_| {
            log.add(name);
            read_one(&stream);
        })
        .unwrap();
    };
    add("first");
    add("replaced");
    there.write_all(b"x").unwrap();
    turn_until(&hub, "a call", || log.len() > 0);
    assert_eq!(log.take(), ["replaced"]);
    assert!(hub.remove_reader(&*here));
    there.write_all(b"y").unwrap();
    tick(&hub, 2);
    assert_eq!(log.len(), 0);
    add("added again");
    turn_until(&hub, "a call", || log.len() > 0);
    assert_eq!(log.take(), ["added again"]);
}

#[test]
fn a_reader_replaces_itself_while_it_runs() {
    let hub = MioHub::new().unwrap();
    let (here, mut there) = pair();
    let log = Log::new();
    let (stream, copy) = (Rc::clone(&here), log.clone());
    hub.add_reader(&*here, move |hub| {
        copy.add("old");
        let (inner, copy) = (Rc::clone(&stream), copy.clone());
        hub.add_reader(&*stream, move |_| {
            copy.add("new");
            read_one(&inner);
        })
        .unwrap();
    })
    .unwrap();
    there.write_all(b"x").unwrap();
    turn_until(&hub, "both", || log.len() >= 2);
    tick(&hub, 3);
    assert_eq!(log.take(), ["old", "new"]);
}

#[test]
fn a_descriptor_closed_under_the_hub_is_removed_and_reported_once() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, _there) = UnixStream::pair().unwrap();
    let fd = here.as_raw_fd();
    hub.add_reader(&fd, |_| ()).unwrap();
    drop(here);
    tick(&hub, 5);
    let errors = errors.take();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("closed without being removed"), "{errors:?}");
    assert!(!hub.remove_reader(&fd));
}

#[test]
fn a_callback_that_closes_its_descriptor_ends_its_watch() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, mut there) = UnixStream::pair().unwrap();
    let fd = here.as_raw_fd();
    let mut here = Some(here);
    let log = Log::new();
    let copy = log.clone();
    hub.add_reader(&fd, move |_| {
        copy.add(());
        drop(here.take());
    })
    .unwrap();
    there.write_all(b"x").unwrap();
    tick(&hub, 5);
    assert_eq!((log.len(), errors.len()), (1, 1));
}

/// Opens sockets until one has the number `fd`.
fn reopen(fd: RawFd) -> (UnixStream, UnixStream, Vec<(UnixStream, UnixStream)>) {
    let mut others = Vec::new();
    for _ in 0..100 {
        let (one, two) = UnixStream::pair().unwrap();
        if one.as_raw_fd() == fd {
            return (one, two, others);
        }
        if two.as_raw_fd() == fd {
            return (two, one, others);
        }
        others.push((one, two));
    }
    panic!("descriptor {fd} was not used again");
}

#[test]
fn a_reused_number_is_another_descriptor() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, _there) = UnixStream::pair().unwrap();
    let fd = here.as_raw_fd();
    let log = Log::new();
    let copy = log.clone();
    hub.add_reader(&fd, move |_| copy.add("old")).unwrap();
    drop(here);
    let (here, mut there, _others) = reopen(fd);
    here.set_nonblocking(true).unwrap();
    let here = Rc::new(here);
    let (copy, stream) = (log.clone(), Rc::clone(&here));
    hub.add_reader(&fd, move |_| {
        copy.add("new");
        read_one(&stream);
    })
    .unwrap();
    there.write_all(b"x").unwrap();
    tick(&hub, 5);
    assert_eq!((log.take(), errors.len()), (vec!["new"], 1));
}

#[test]
fn a_forgotten_reader_does_not_touch_the_source_that_has_its_number_now() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, _there) = UnixStream::pair().unwrap();
    let fd = here.as_raw_fd();
    hub.add_reader(&fd, |_| ()).unwrap();
    drop(here);
    let (here, mut there, _others) = reopen(fd);
    here.set_nonblocking(true).unwrap();
    let mut source = mio::net::UnixStream::from_std(here);
    let log = Log::new();
    let copy = log.clone();
    let id = hub
        .add_source(&mut source, Interest::READABLE, move |_, readiness| {
            copy.add(readiness.readable);
            Progress::Drained
        })
        .unwrap();
    hub.remove_reader(&fd);
    tick(&hub, 3);
    there.write_all(b"x").unwrap();
    turn_until(&hub, "the source", || log.len() == 1);
    hub.remove_source(&mut source, id).unwrap();
    assert!(errors.len() <= 1);
}

#[test]
fn a_closed_peer_that_nobody_reads_is_removed() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, there) = pair();
    hub.add_reader(&*here, |_| ()).unwrap();
    drop(there);
    turn_until(&hub, "the report", || errors.len() == 1);
    let calls = hub.stats().readers;
    assert!(calls <= 20, "{calls} calls");
    tick(&hub, 5);
    assert_eq!((hub.stats().readers, errors.len()), (calls, 1));
    assert!(!hub.remove_reader(&*here));
}

#[test]
fn a_writer_of_a_closed_peer_is_removed_too() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, there) = pair();
    hub.add_writer(&*here, |_| ()).unwrap();
    drop(there);
    turn_until(&hub, "the report", || errors.len() == 1);
    assert!(!hub.remove_writer(&*here));
}

#[test]
fn what_a_closed_peer_left_is_read_to_its_last_byte() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, mut there) = pair();
    let sent: Vec<u8> = (0..=255).cycle().take(5000).collect();
    there.write_all(&sent).unwrap();
    drop(there);
    let log = Log::new();
    let (stream, copy) = (Rc::clone(&here), log.clone());
    hub.add_reader(&*here, move |hub| match read_one(&stream) {
        Some(byte) => copy.add(byte),
        None => {
            hub.remove_reader(&*stream);
            hub.stop();
        }
    })
    .unwrap();
    hub.run_forever().unwrap();
    assert_eq!(log.take(), sent);
    assert_eq!(errors.len(), 0);
}

#[test]
fn a_closed_pipe_that_nobody_reads_is_removed() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let (here, there) = std::io::pipe().unwrap();
    hub.add_reader(&here, |_| ()).unwrap();
    drop(there);
    turn_until(&hub, "the report", || errors.len() == 1);
}

#[test]
fn a_regular_file_is_refused_in_words() {
    let hub = MioHub::new().unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let error = hub.add_reader(&file, |_| ()).unwrap_err();
    assert_eq!(error.kind(), kombu_core::ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("regular file"), "{error}");
    let closed = hub.add_writer(&-1, |_| ()).unwrap_err();
    assert!(closed.to_string().contains("not open"), "{closed}");
}

#[test]
fn the_contract_takes_boxed_callbacks() {
    let hub = MioHub::new().unwrap();
    let hub: &dyn Hub = &hub;
    let (here, _there) = pair();
    hub.add_writer(here.as_raw_fd(), Box::new(|hub| hub.stop())).unwrap();
    assert!(hub.run_once(Some(common::PATIENCE)).unwrap());
    assert!(hub.remove(here.as_raw_fd()));
}
