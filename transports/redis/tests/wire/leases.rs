//! Who takes messages, and who does no longer, on a real server.

use std::time::Duration;

use redis::{Cmd, Value};

use super::server::Server;
use super::take::{ENV, Take, claim, list, numbered, register};
use crate::keys::Keys;
use crate::scripts::{Bury, Claim, Ending, NoteInboxes, Reap, Record, Renew, Renewed};

/// Returns a sign of life that names the word of the last sign and its own.
fn sign(keys: &Keys, consumer: &str, lease: u64, words: (&str, &str), held: &str, refreshed: &[u64]) -> Cmd {
    Renew { keys, consumer, lease, is_new: false, held, from: 3, words, refreshed }.command()
}

#[test]
fn whoever_is_not_registered_takes_nothing() {
    let mut server = Server::start();
    server.push("q", &[ENV]);
    let keys = server.keys.clone();
    let lists = [list("q", "\"q\"")];
    let claim = Take { consumer: "stranger", first_number: 1, count: 9, ..Take::of(&lists) };
    let error = server.try_run(&claim.command(&keys)).unwrap_err();
    assert_eq!(error.code(), Some("LEASELOST"));
    let record = Record {
        keys: &keys,
        consumer: "stranger",
        number: 1,
        queue: "q",
        queue_json: "\"q\"",
        notes_birth: false,
        max_message_size: 1000,
        text: ENV.as_bytes(),
    };
    assert_eq!(server.try_run(&record.command()).unwrap_err().code(), Some("LEASELOST"));
    assert_eq!((server.list("q").len(), server.tags().len()), (1, 0));
}

#[test]
fn a_dead_consumer_is_found_with_all_it_held_and_never_lives_again() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    for number in 0..5 {
        server.push("q", &[&numbered(number)]);
    }
    let lists = [list("q", "\"q\"")];
    assert_eq!(claim(&mut server, 3, &lists, &[]).len(), 3);
    let inboxes = [("in".to_owned(), "q".to_owned())];
    let note =
        NoteInboxes { keys: &keys, consumer: "me", inboxes: &inboxes, clients: &[("run".to_owned(), 7)], gone: &[] };
    assert_eq!(server.run::<i64>(&note.command()), 1);
    let _: String = server.command(&["LMOVE", "q", "in", "RIGHT", "LEFT"]);
    let renew = |consumer, lease, held| sign(&keys, consumer, lease, ("", "word"), held, &[1, 9]);
    // The life sign of another tells when this lease ends.
    register(&mut server, "other");
    let answer: Value = server.run(&renew("me", 0, "1-2"));
    assert!(matches!(Renew::read(&answer).unwrap(), Renewed::Alive { was_over: false, .. }));
    assert_eq!(server.tags().len(), 3, "what is not held does not become so");
    std::thread::sleep(Duration::from_millis(5));
    let answer: Value = server.run(&renew("other", 3_600_000, ""));
    assert_eq!(Renew::read(&answer).unwrap(), Renewed::Alive { was_over: false, soonest: Some(0), has_dead: false });
    let reap = Reap { keys: &keys, exclusive: 60_000 }.command();
    let dead = Reap::read(&server.run::<Value>(&reap)).unwrap().unwrap();
    assert_eq!((dead.consumer.as_str(), dead.held.as_str(), &dead.range), ("me", "1-2", &(3..4)));
    assert_eq!((&dead.inboxes[..], &dead.clients[..]), (&inboxes[..], &[("run".to_owned(), 7)][..]));
    assert_eq!(dead.dead_for, Some(0));
    // Nobody else looks for a minute, and the dead stays dead.
    assert_eq!(Reap::read(&server.run::<Value>(&reap)).unwrap(), None);
    for is_new in [true, false] {
        let words = ("word", "another");
        let again =
            Renew { keys: &keys, consumer: "me", lease: 60_000, is_new, held: "", from: 9, words, refreshed: &[] };
        let again = again.command();
        assert_eq!(Renew::read(&server.run::<Value>(&again)).unwrap(), Renewed::Dead);
    }
    let bury = |ending| Bury { keys: &keys, consumer: "me", inboxes: &inboxes, ending }.command();
    assert_eq!(server.run::<i64>(&bury(Ending::None)), 1);
    assert_eq!(server.list("q"), [numbered(3), numbered(4)]);
    assert_eq!(server.run::<i64>(&bury(Ending::Forget)), 0);
    assert_eq!(server.command::<i64>(&["EXISTS", &keys.dead(), &keys.consumer("me")]), 0);
    assert_eq!(server.command::<Vec<String>>(&["ZRANGE", &keys.consumers(), "0", "-1"]), ["other"]);
}

/// As when a virtual machine is copied while it runs.
#[test]
fn a_process_that_goes_on_twice_is_found_out_by_its_numbers() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    for number in 0..9 {
        server.push("q", &[&numbered(number)]);
    }
    let lists = [list("q", "\"q\"")];
    assert_eq!(claim(&mut server, 3, &lists, &[]).len(), 3);
    // Both go on from here, each with the next number.
    let next = |first_number| Take { first_number, count: 2, ..Take::of(&lists) }.command(&keys);
    assert_eq!(Claim::read(server.run(&next(4))).unwrap().len(), 2);
    assert_eq!(server.try_run(&next(4)).unwrap_err().code(), Some("LEASELOST"));
    assert_eq!((server.list("q").len(), server.tags().len()), (4, 5), "nothing was taken, nothing written over");
    assert_eq!(Claim::read(server.run(&next(6))).unwrap().len(), 2);
}

#[test]
fn a_process_that_goes_on_twice_is_found_out_by_its_signs_of_life() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    register(&mut server, "me");
    let mut says = |words| {
        let answer: Value = server.run(&sign(&keys, "me", 60_000, words, "", &[]));
        matches!(Renew::read(&answer).unwrap(), Renewed::Alive { .. })
    };
    assert!(says(("", "first")));
    // The answer was lost: it is said once more.
    assert!(says(("", "first")));
    assert!(says(("first", "mine")));
    assert!(!says(("first", "the other's")), "the other has not seen the last");
    assert!(says(("mine", "again")), "the first goes on");
}

/// A fraction would cost the server more than the rest of the entry, and none may look older than it is.
#[test]
fn whoever_records_a_message_writes_the_next_whole_second() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    server.push("q", &[ENV]);
    let now = |server: &mut Server| server.command::<(i64, i64)>(&["TIME"]).0;
    let lists = [list("q", "\"q\"")];
    let before = now(&mut server);
    assert_eq!(claim(&mut server, 1, &lists, &[]).len(), 1);
    let record = Record {
        keys: &keys,
        consumer: "me",
        number: 2,
        queue: "q",
        queue_json: "\"q\"",
        notes_birth: false,
        max_message_size: 1000,
        text: ENV.as_bytes(),
    };
    assert_eq!(server.run::<i64>(&record.command()), 1);
    server.command::<i64>(&["ZADD", "unacked_index", "1", "me:3"]);
    let _: Value = server.run(&sign(&keys, "me", 60_000, ("", "word"), "1-3", &[3]));
    let after = now(&mut server);
    for tag in ["me:1", "me:2", "me:3"] {
        let score: String = server.command(&["ZSCORE", "unacked_index", tag]);
        let score: i64 = score.parse().unwrap_or_else(|_| panic!("{tag} has the score {score}"));
        assert!((before + 1..=after + 1).contains(&score), "{tag}: {before} {score} {after}");
    }
}
