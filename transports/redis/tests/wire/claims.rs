//! Taking messages by script, on a real server.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::server::Server;
use super::take::{ENV, List, Take, claim, list, numbered, register};
use crate::envelope::{Limits, Unacked};
use crate::malformed;
use crate::scripts::{Claim, ClaimInbox, Claimed, Record, Recorded, SetAside};

#[test]
fn a_claim_takes_in_order_and_records() {
    let mut server = Server::start();
    for number in 0..30 {
        server.push(if number % 3 == 0 { "b" } else { "a" }, &[&numbered(number)]);
    }
    server.push("a|3", &[&numbered(100)]);
    let lists = [list("a", "\"a\""), list("b", "\"b\""), list("a|3", "\"a\"")];
    let got = claim(&mut server, 25, &lists, &[]);
    let mut expected: Vec<(usize, String)> =
        (0..30).filter(|number| number % 3 != 0).map(|number| (0, numbered(number))).collect();
    expected.extend((0..30).filter(|number| number % 3 == 0).take(5).map(|number| (1, numbered(number))));
    assert_eq!(got, expected);
    assert_eq!(server.tags().len(), 25);
    // What is recorded puts a message back into the queue it came from, with Python's restore too.
    let value: Vec<u8> = server.command(&["HGET", "unacked", "me:21"]);
    let entry = Unacked::read(&value.into(), &Limits::default()).unwrap();
    assert_eq!((&*entry.exchange, &*entry.routing_key), ("", "b"));
    assert_eq!(entry.text, numbered(0));
    let score: f64 = server.command(&["ZSCORE", "unacked_index", "me:21"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..now + 1.0).contains(&score), "{score} {now}");
    assert_eq!(claim(&mut server, 100, &lists, &[]).len(), 6);
}

#[test]
fn queues_of_any_name_are_recorded_so_that_everybody_can_read_it() {
    let mut server = Server::start();
    for (number, queue) in ["plain", "with \"quotes\" and \\", "日本\n\u{1}", ""].into_iter().enumerate() {
        server.push(queue, &[ENV]);
        let json = Claim::queue_json(queue).unwrap();
        assert!(json.is_ascii());
        assert_eq!(claim(&mut server, 1, &[list(queue, &json)], &[]).len(), 1);
        let value: Vec<u8> = server.command(&["HGET", "unacked", &format!("me:{}", number + 1)]);
        let entry = Unacked::read(&value.into(), &Limits::default()).unwrap();
        assert_eq!((&entry.text[..], &*entry.routing_key), (ENV.as_bytes(), queue));
    }
}

#[test]
fn without_acknowledgement_nothing_is_recorded() {
    let mut server = Server::start();
    server.push("a", &[ENV, ENV]);
    server.push("b", &[ENV]);
    let lists = [List { key: "a", queue_json: "\"a\"", no_ack: true, limit: 1000 }, list("b", "\"b\"")];
    assert_eq!(claim(&mut server, 10, &lists, &[]).len(), 3);
    assert_eq!(server.tags(), ["me:1"]);
    let value: String = server.command(&["HGET", "unacked", "me:1"]);
    assert!(value.ends_with(",\"\",\"b\"]"), "{value}");
}

#[test]
fn inboxes_are_served_first_and_what_is_left_goes_back_in_place() {
    let mut server = Server::start();
    for number in 0..6 {
        server.push("a", &[&numbered(number)]);
    }
    // Two waiters took one each, the first of them twice.
    for inbox in ["in1", "in2", "in1"] {
        let _: String = server.command(&["LMOVE", "a", inbox, "RIGHT", "LEFT"]);
    }
    let inboxes = [ClaimInbox { key: "in1", list: 0 }, ClaimInbox { key: "in2", list: 0 }];
    let lists = [list("a", "\"a\"")];
    let got: Vec<String> = claim(&mut server, 1, &lists, &inboxes).into_iter().map(|(_, text)| text).collect();
    assert_eq!(got, [numbered(0)]);
    let exists: i64 = server.command(&["EXISTS", "in1", "in2"]);
    assert_eq!(exists, 0);
    let mut left = server.list("a");
    left.sort();
    assert_eq!(left, (1..6).map(numbered).collect::<Vec<_>>());

    // One inbox keeps the order exactly; a claim of nothing only empties it.
    server.command::<()>(&["DEL", "a"]);
    for number in 0..6 {
        server.push("a", &[&numbered(number)]);
    }
    for _ in 0..3 {
        let _: String = server.command(&["LMOVE", "a", "in1", "RIGHT", "LEFT"]);
    }
    assert!(claim(&mut server, 0, &lists, &inboxes[..1]).is_empty());
    assert_eq!(server.list("a"), (0..6).map(numbered).collect::<Vec<_>>());
}

#[test]
fn what_is_no_object_is_set_aside_in_the_same_step() {
    let mut server = Server::with(|options| options.global_keyprefix = "p:".into());
    let keys = server.keys.clone();
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(2000));
    for raw in [&b"nonsense"[..], b"\xff\x00", b"", b"{\"a\"", b"[1]", ENV.as_bytes(), long.as_bytes(), b"{no json}"] {
        let _: i64 = server.run(redis::cmd("LPUSH").arg("p:q\u{e9}").arg(raw));
    }
    let json = Claim::queue_json("q\u{e9}").unwrap();
    let lists = [list("p:q\u{e9}", &json)];
    register(&mut server, "me");
    let claim = Take { first_number: 7, count: 2, max_bytes: 1 << 20, ..Take::of(&lists) };
    let claimed = Claim::read(server.run(&claim.command(&keys))).unwrap();
    let mut messages = Vec::new();
    let mut reasons = Vec::new();
    for claimed in claimed {
        match claimed {
            Claimed::Message { text, .. } => messages.push(text),
            Claimed::SetAside { list, entry } => {
                assert_eq!(list, 0);
                let read = malformed::read(&"q\u{e9}".into(), &entry);
                assert!(SystemTime::now().duration_since(read.at).unwrap_or_default() < Duration::from_secs(60));
                reasons.push((read.reason, read.raw));
            }
        }
    }
    // Only what begins and ends like an object goes to the reader, which finds the rest.
    assert_eq!(messages, [ENV, "{no json}"]);
    let not = |raw: &'static [u8]| ("not a JSON object".to_owned(), Bytes::from_static(raw));
    let expected = [
        not(b"nonsense"),
        not(b"\xff\x00"),
        not(b""),
        not(b"{\"a\""),
        not(b"[1]"),
        ("larger than max_message_size".into(), Bytes::new()),
    ];
    assert_eq!(reasons, expected);
    // The list holds the same entries, oldest first, and the large one whole.
    let stored: Vec<Vec<u8>> = server.command(&["LRANGE", &keys.malformed("q\u{e9}"), "0", "-1"]);
    assert_eq!(stored.len(), 6);
    assert_eq!(malformed::read(&"q".into(), &stored[0].clone().into()).raw, &b"nonsense"[..]);
    assert_eq!(malformed::read(&"q".into(), &stored[5].clone().into()).raw, long);
    // A good envelope that the reader refused goes the same way.
    let set_aside = SetAside { keys: &keys, tag: "me:8", queue: "q\u{e9}", reason: "no \"JSON\"\n" }.command().unwrap();
    assert!(SetAside::read(server.run(&set_aside)).unwrap());
    assert!(!SetAside::read(server.run(&set_aside)).unwrap());
    let stored: Vec<u8> = server.command(&["LINDEX", &keys.malformed("q\u{e9}"), "-1"]);
    let read = malformed::read(&"q".into(), &stored.into());
    assert_eq!((&read.raw[..], read.reason.as_str()), (&b"{no json}"[..], "no \"JSON\"\n"));
    let tags: Vec<String> = server.command(&["HKEYS", "p:unacked"]);
    assert_eq!(tags, ["me:7"]);
}

#[test]
fn a_list_of_nothing_but_rubbish_ends_a_claim_in_time() {
    let mut server = Server::start();
    let _: i64 = server.run(redis::cmd("LPUSH").arg("q").arg(vec!["rubbish"; 1000]));
    let keys = server.keys.clone();
    let lists = [list("q", "\"q\"")];
    register(&mut server, "me");
    let claim = Take { first_number: 1, count: 10, max_bytes: 1000, ..Take::of(&lists) };
    let claimed = Claim::read(server.run(&claim.command(&keys))).unwrap();
    assert!((100..110).contains(&claimed.len()), "{}", claimed.len());
}

#[test]
fn a_claim_stops_at_its_bytes() {
    let mut server = Server::start();
    let text = format!("{{\"a\": \"{}\"}}", "x".repeat(500));
    let _: i64 = server.run(redis::cmd("LPUSH").arg("q").arg(vec![text; 100]));
    let keys = server.keys.clone();
    let lists = [list("q", "\"q\"")];
    register(&mut server, "me");
    let claim = Take { first_number: 1, count: 100, max_bytes: 5000, ..Take::of(&lists) };
    let claimed = Claim::read(server.run(&claim.command(&keys))).unwrap();
    assert_eq!(claimed.len(), 16);
}

#[test]
fn nothing_is_lost_when_the_record_cannot_be_kept() {
    for (key, value) in [("unacked", "a string"), ("unacked_index", "a string")] {
        let mut server = Server::start();
        server.push("q", &[&numbered(0), &numbered(1)]);
        let _: String = server.command(&["SET", key, value]);
        let keys = server.keys.clone();
        let lists = [list("q", "\"q\"")];
        register(&mut server, "me");
        let claim = Take { first_number: 1, count: 9, ..Take::of(&lists) };
        let error = server.try_run(&claim.command(&keys)).unwrap_err();
        assert!(error.to_string().contains("WRONGTYPE") || error.to_string().contains("wrong kind"), "{error}");
        assert_eq!(server.list("q"), [numbered(0), numbered(1)]);
    }
}

#[test]
fn a_list_that_is_refused_takes_nothing_from_the_others() {
    let mut server = Server::start();
    server.push("a", &[&numbered(0)]);
    server.push("b", &[&numbered(1), &numbered(2), "rubbish", &numbered(3), "more rubbish"]);
    server.push("c", &[&numbered(4)]);
    let keys = server.keys.clone();
    for key in ["bad", &keys.malformed("b")] {
        let _: String = server.command(&["SET", key, "a string"]);
    }
    let names = ["a", "bad", "b", "c"];
    let json = names.map(|name| Claim::queue_json(name).unwrap());
    let lists: Vec<_> = names.iter().zip(&json).map(|(name, json)| list(name, json)).collect();
    let got = claim(&mut server, 100, &lists, &[]);
    assert_eq!(got, [(0, numbered(0)), (2, numbered(1)), (2, numbered(2)), (3, numbered(4))]);
    assert_eq!(server.tags().len(), 4);
    assert_eq!(server.list("b"), ["rubbish".to_owned(), numbered(3), "more rubbish".to_owned()]);

    // When there is nothing else to say, the error is said.
    register(&mut server, "me");
    let claim = Take { first_number: 9, count: 9, max_bytes: 5000, ..Take::of(&lists) };
    let error = server.try_run(&claim.command(&keys)).unwrap_err().to_string();
    assert!(error.contains("WRONGTYPE") || error.contains("wrong kind"), "{error}");
    assert_eq!(server.list("b").len(), 3);
}

#[test]
fn a_queue_gives_no_more_than_its_consumers_have_room_for() {
    let mut server = Server::start();
    for number in 0..10 {
        server.push("a", &[&numbered(number)]);
        server.push("b", &[&numbered(100 + number)]);
    }
    server.push("a|3", &[&numbered(50)]);
    let limited = |key, queue_json, limit| List { key, queue_json, no_ack: false, limit };
    let lists = [limited("a", "\"a\"", 2), limited("b", "\"b\"", 3), limited("a|3", "\"a\"", 2)];
    let got = claim(&mut server, 100, &lists, &[]);
    let expected = [(0, 0), (0, 1), (1, 100), (1, 101), (1, 102)];
    assert_eq!(got, expected.map(|(list, number)| (list, numbered(number))));
}

#[test]
fn a_popped_message_is_recorded() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    register(&mut server, "me");
    let record = |text: &'static str| Record {
        keys: &keys,
        consumer: "me",
        number: 1,
        queue: "q",
        queue_json: "\"q\"",
        notes_birth: false,
        max_message_size: 200,
        text: text.as_bytes(),
    };
    assert_eq!(Record::read(server.run(&record(ENV).command())).unwrap(), Recorded::Unacked);
    let value: Vec<u8> = server.command(&["HGET", "unacked", "me:1"]);
    assert_eq!(Unacked::read(&value.into(), &Limits::default()).unwrap().text, ENV);
    assert_eq!(server.tags(), ["me:1"]);
    let Recorded::SetAside(entry) = Record::read(server.run(&record("x").command())).unwrap() else {
        panic!("not set aside")
    };
    assert_eq!(malformed::read(&"q".into(), &entry).raw, &b"x"[..]);
    assert_eq!(server.list(&keys.malformed("q")).len(), 1);
}
