//! The scripts, on a real server.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kombu_core::ExchangeKind;
use redis::Value;

use super::server::Server;
use crate::binding::member;
use crate::envelope::{Limits, Unacked};
use crate::malformed;
use crate::options::RedisOptions;
use crate::scripts::{
    Ack, BindExpiring, Bury, Claim, ClaimInbox, ClaimList, ClaimQueue, Claimed, Copy, Ending, GivenBack, NoteInboxes,
    Reap, Record, Recorded, Renew, Renewed, Requeue, Requeued, SetAside, SweepBindings, Unlock,
};

const ENV: &str =
    r#"{"headers": {}, "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}}}"#;

fn numbered(number: u32) -> String {
    format!("{{\"n\": {number}}}")
}

/// Claims from lists without inboxes, for consumer `me`, and returns what came as (list, text).
fn claim(server: &mut Server, count: usize, lists: &[List<'_>], inboxes: &[ClaimInbox<'_>]) -> Vec<(usize, String)> {
    let keys = server.keys.clone();
    register(server, "me");
    let (queues, lists) = taken_apart(lists);
    let claim = Claim {
        keys: &keys,
        consumer: "me",
        first_number: 1,
        count,
        max_bytes: 1 << 20,
        max_message_size: 1000,
        queues: &queues,
        lists: &lists,
        inboxes,
    };
    let answer: Value = server.run(&claim.command());
    let messages = Claim::read(answer).unwrap().into_iter().map(|claimed| match claimed {
        Claimed::Message { list, text } => (list, String::from_utf8(text.to_vec()).unwrap()),
        Claimed::SetAside { .. } => panic!("set aside: {claimed:?}"),
    });
    messages.collect()
}

/// A list and its queue, of which there is a limit.
#[derive(Clone, Copy)]
struct List<'a> {
    key: &'a str,
    queue_json: &'a str,
    no_ack: bool,
    limit: usize,
}

fn list<'a>(key: &'a str, queue_json: &'a str) -> List<'a> {
    List { key, queue_json, no_ack: false, limit: 1000 }
}

fn taken_apart<'a>(lists: &[List<'a>]) -> (Vec<ClaimQueue<'a>>, Vec<ClaimList<'a>>) {
    let mut queues: Vec<ClaimQueue<'a>> = Vec::new();
    let lists = lists.iter().map(|list| {
        let known = queues.iter().position(|queue| queue.json == list.queue_json && queue.no_ack == list.no_ack);
        let queue = known.unwrap_or_else(|| {
            queues.push(ClaimQueue { json: list.queue_json, no_ack: list.no_ack, limit: list.limit });
            queues.len() - 1
        });
        ClaimList { key: list.key, queue }
    });
    let lists = lists.collect();
    (queues, lists)
}

/// Registers a consumer for an hour.
fn register(server: &mut Server, consumer: &str) {
    let keys = server.keys.clone();
    let renew = Renew { keys: &keys, consumer, lease: 3_600_000, is_new: true, held: "", from: 1, refreshed: &[] };
    let answer: Value = server.run(&renew.command());
    assert!(matches!(Renew::read(&answer).unwrap(), Renewed::Alive { .. }));
}

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
    for queue in ["plain", "with \"quotes\" and \\", "日本\n\u{1}", ""] {
        server.push(queue, &[ENV]);
        let json = Claim::queue_json(queue).unwrap();
        assert!(json.is_ascii());
        assert_eq!(claim(&mut server, 1, &[list(queue, &json)], &[]).len(), 1);
        let value: Vec<u8> = server.command(&["HGET", "unacked", "me:1"]);
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
    let (queues, parts) = taken_apart(&lists);
    let claim = Claim {
        keys: &keys,
        consumer: "me",
        first_number: 7,
        count: 2,
        max_bytes: 1 << 20,
        max_message_size: 1000,
        queues: &queues,
        lists: &parts,
        inboxes: &[],
    };
    let claimed = Claim::read(server.run(&claim.command())).unwrap();
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
    let (queues, parts) = taken_apart(&lists);
    let claim = Claim {
        keys: &keys,
        consumer: "me",
        first_number: 1,
        count: 10,
        max_bytes: 1000,
        max_message_size: 1000,
        queues: &queues,
        lists: &parts,
        inboxes: &[],
    };
    let claimed = Claim::read(server.run(&claim.command())).unwrap();
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
    let (queues, parts) = taken_apart(&lists);
    let claim = Claim {
        keys: &keys,
        consumer: "me",
        first_number: 1,
        count: 100,
        max_bytes: 5000,
        max_message_size: 1000,
        queues: &queues,
        lists: &parts,
        inboxes: &[],
    };
    let claimed = Claim::read(server.run(&claim.command())).unwrap();
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
        let (queues, parts) = taken_apart(&lists);
        let claim = Claim {
            keys: &keys,
            consumer: "me",
            first_number: 1,
            count: 9,
            max_bytes: 5000,
            max_message_size: 1000,
            queues: &queues,
            lists: &parts,
            inboxes: &[],
        };
        let error = server.try_run(&claim.command()).unwrap_err();
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
    let (queues, parts) = taken_apart(&lists);
    let claim = Claim {
        keys: &keys,
        consumer: "me",
        first_number: 9,
        count: 9,
        max_bytes: 5000,
        max_message_size: 1000,
        queues: &queues,
        lists: &parts,
        inboxes: &[],
    };
    let error = server.try_run(&claim.command()).unwrap_err().to_string();
    assert!(error.contains("WRONGTYPE") || error.contains("wrong kind"), "{error}");
    assert_eq!(server.list("b").len(), 3);
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

#[test]
fn acks_tell_which_were_gone() {
    let mut server = Server::start();
    let texts: Vec<String> = (0..1000).map(numbered).collect();
    let _: i64 = server.run(redis::cmd("RPUSH").arg("q").arg(&texts));
    assert_eq!(claim(&mut server, 1000, &[list("q", "\"q\"")], &[]).len(), 1000);
    let keys = server.keys.clone();
    let tags: Vec<String> = (1..=1000).map(|number| format!("me:{number}")).collect();
    let ack = |tags: &[String]| Ack { keys: &keys, tags }.command();
    assert_eq!(Ack::MAX_TAGS, 1000);
    assert_eq!(Ack::read(server.run(&ack(&tags[3..4]))).unwrap(), Vec::<usize>::new());
    assert_eq!(Ack::read(server.run(&ack(&tags[..5]))).unwrap(), [3]);
    assert_eq!(Ack::read(server.run(&ack(&tags))).unwrap(), [0, 1, 2, 3, 4]);
    assert!(server.tags().is_empty());
}

#[test]
fn requeued_messages_go_back_in_place() {
    let mut server = Server::start();
    for number in 0..5 {
        server.push("q", &[&format!("{{\"n\": {number}, \"properties\": {{\"delivery_info\": {{}}}}}}")]);
    }
    claim(&mut server, 3, &[list("q", "\"q\"")], &[]);
    let keys = server.keys.clone();
    let messages: Vec<GivenBack<'_>> =
        ["me:3", "me:2", "me:1", "me:9"].map(|tag| GivenBack::new(tag, "q", tag != "me:2")).into();
    let requeue = Requeue { keys: &keys, not_after: None, messages: &messages };
    let outcomes = Requeue::read(server.run(&requeue.command().unwrap())).unwrap();
    assert_eq!(outcomes, [Requeued::Done, Requeued::Done, Requeued::Done, Requeued::Gone]);
    let texts = server.list("q");
    assert_eq!(texts.len(), 5);
    for (number, text) in texts.iter().enumerate() {
        assert!(text.contains(&format!("\"n\": {number},")), "{text}");
        // The second was never handed to the application.
        assert_eq!(text.matches("redelivered").count(), if [0, 2].contains(&number) { 2 } else { 0 }, "{text}");
    }
    assert!(server.tags().is_empty());
}

#[test]
fn a_message_goes_to_every_list_with_a_tag_of_its_own() {
    let mut server = Server::start();
    server.push("q", &[ENV]);
    claim(&mut server, 1, &[list("q", "\"q\"")], &[]);
    let keys = server.keys.clone();
    let copies = vec![Copy { list: "b|3", delivery_tag: None }, Copy { list: "a", delivery_tag: Some("new".into()) }];
    let messages = [GivenBack { tag: "me:1", delivered: true, copies }];
    let requeue = Requeue { keys: &keys, not_after: None, messages: &messages };
    assert_eq!(Requeue::read(server.run(&requeue.command().unwrap())).unwrap(), [Requeued::Done]);
    for (key, tag) in [("a", "new"), ("b|3", "t")] {
        let text = Bytes::from(server.list(key).remove(0));
        let received = crate::envelope::read(&text, &Limits::default()).unwrap();
        assert_eq!((&*received.delivery_tag, received.redelivered, received.delivery_count), (tag, true, Some(1)));
    }
    let error =
        Requeue { messages: &[GivenBack { copies: vec![], ..messages[0].clone() }], ..requeue }.command().unwrap_err();
    assert_eq!(error.kind(), kombu_core::ErrorKind::Internal);
}

#[test]
fn a_sweep_leaves_alone_what_was_renewed() {
    let mut server = Server::start();
    server.push("q", &[ENV, ENV]);
    claim(&mut server, 2, &[list("q", "\"q\"")], &[]);
    let keys = server.keys.clone();
    let _: i64 = server.command(&["ZADD", "unacked_index", "1000", "me:1"]);
    let messages = [GivenBack::new("me:2", "q", true), GivenBack::new("me:1", "q", true)];
    let requeue = Requeue { keys: &keys, not_after: Some(1000.5), messages: &messages };
    let outcomes = Requeue::read(server.run(&requeue.command().unwrap())).unwrap();
    assert_eq!(outcomes, [Requeued::Fresh, Requeued::Done]);
    assert_eq!(server.tags(), ["me:2"]);
}

#[test]
fn what_cannot_go_back_stays() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    for (tag, value) in
        [("junk", "junk"), ("cut", "[{\"a\": \"b"), ("text", "[\"x\",\"\",\"q\"]"), ("good", "[{},\"\",\"q\"]")]
    {
        let _: i64 = server.command(&["HSET", "unacked", tag, value]);
        let _: i64 = server.command(&["ZADD", "unacked_index", "5", tag]);
    }
    let _: String = server.command(&["SET", "taken", "by a string"]);
    let messages = [
        GivenBack::new("junk", "q", true),
        GivenBack::new("cut", "q", true),
        GivenBack::new("text", "q", false),
        GivenBack::new("good", "taken", true),
    ];
    let requeue = Requeue { keys: &keys, not_after: None, messages: &messages };
    let outcomes = Requeue::read(server.run(&requeue.command().unwrap())).unwrap();
    assert_eq!(outcomes, [Requeued::Malformed, Requeued::Malformed, Requeued::Malformed, Requeued::Refused]);
    assert_eq!(server.tags().len(), 4);
    // What is no message is set aside as it is.
    let set_aside = SetAside { keys: &keys, tag: "junk", queue: "q", reason: "why" }.command().unwrap();
    assert!(SetAside::read(server.run(&set_aside)).unwrap());
    let entry = server.list(&keys.malformed("q")).remove(0);
    assert_eq!(malformed::read(&"q".into(), &entry.into()).raw, &b"junk"[..]);
    assert_eq!(server.tags().len(), 3);
}

#[test]
fn consuming_and_settling_work_when_memory_is_full() {
    let mut server = Server::start();
    server.push("q", &[ENV, "rubbish", ENV, ENV, ENV]);
    let _: String = server.command(&["LMOVE", "q", "in", "RIGHT", "LEFT"]);
    let keys = server.keys.clone();
    server.fill_memory();
    let lists = [list("q", "\"q\"")];
    let inboxes = [ClaimInbox { key: "in", list: 0 }];
    register(&mut server, "me");
    let (queues, parts) = taken_apart(&lists);
    let claim = |count, first_number| {
        Claim {
            keys: &keys,
            consumer: "me",
            first_number,
            count,
            max_bytes: 5000,
            max_message_size: 1000,
            queues: &queues,
            lists: &parts,
            inboxes: &inboxes,
        }
        .command()
    };
    assert_eq!(Claim::read(server.run(&claim(0, 1))).unwrap().len(), 0);
    assert_eq!(Claim::read(server.run(&claim(4, 1))).unwrap().len(), 5);
    let record = Record {
        keys: &keys,
        consumer: "me",
        number: 5,
        queue: "q",
        queue_json: "\"q\"",
        max_message_size: 1000,
        text: ENV.as_bytes(),
    };
    assert_eq!(Record::read(server.run(&record.command())).unwrap(), Recorded::Unacked);
    assert_eq!(Ack::read(server.run(&Ack { keys: &keys, tags: &["me:1"] }.command())).unwrap(), Vec::<usize>::new());
    let messages = [GivenBack::new("me:2", "q", true)];
    let requeue = Requeue { keys: &keys, not_after: None, messages: &messages };
    assert_eq!(Requeue::read(server.run(&requeue.command().unwrap())).unwrap(), [Requeued::Done]);
    let set_aside = SetAside { keys: &keys, tag: "me:3", queue: "q", reason: "why" };
    assert!(SetAside::read(server.run(&set_aside.command().unwrap())).unwrap());
    assert_eq!(server.tags(), ["me:4", "me:5"]);
    server.free_memory();
}

#[test]
fn bindings_that_expire_are_swept_unless_one_does_not() {
    let mut server = Server::with(|options| options.global_keyprefix = "p:".into());
    let keys = server.keys.clone();
    let members = |queue: &str| vec![member(&ExchangeKind::Direct, "k", queue, "|")];
    for (exchange, ttl) in [("gone", 1), ("kept", 1), ("later", 3_600_000)] {
        let bind = BindExpiring { keys: &keys, exchange, ttl: Duration::from_millis(ttl), members: &members("eq") };
        let _: i64 = server.run(&bind.command());
    }
    // A later deadline is not shortened.
    let bind = BindExpiring { keys: &keys, exchange: "later", ttl: Duration::from_millis(1), members: &members("eq2") };
    let _: i64 = server.run(&bind.command());
    let deadline: f64 = server.command(&["ZSCORE", &keys.binding_deadlines(), "later"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as f64;
    assert!((now + 3_500_000.0..=now + 3_600_001.0).contains(&deadline), "{deadline} {now}");
    let _: i64 = server.command(&["SADD", &keys.binding_permanent("kept"), "k||dq"]);
    std::thread::sleep(Duration::from_millis(5));
    let swept: i64 = server.run(&SweepBindings { keys: &keys }.command());
    assert_eq!(swept, 2);
    let exists: Vec<i64> =
        ["gone", "kept", "later"].map(|exchange| server.command(&["EXISTS", &keys.binding(exchange)])).into();
    assert_eq!(exists, [0, 1, 1]);
    let left: Vec<String> = server.command(&["ZRANGE", &keys.binding_deadlines(), "0", "-1"]);
    assert_eq!(left, ["later"]);
}

#[test]
fn a_lock_is_released_by_its_holder_only() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    let (mine, other) = (Unlock { keys: &keys, token: "mine" }, Unlock { keys: &keys, token: "other" });
    let expire = RedisOptions::default().unacked_mutex_expire;
    assert_eq!(server.run::<Option<String>>(&mine.lock(expire)).as_deref(), Some("OK"));
    assert_eq!(server.run::<Option<String>>(&other.lock(expire)), None);
    let left: i64 = server.command(&["PTTL", "unacked_mutex"]);
    assert!((290_000..=300_000).contains(&left), "{left}");
    assert_eq!(server.run::<i64>(&other.renew(expire)), 0);
    assert_eq!(server.run::<i64>(&mine.renew(2 * expire)), 1);
    let left: i64 = server.command(&["PTTL", "unacked_mutex"]);
    assert!((590_000..=600_000).contains(&left), "{left}");
    assert_eq!(server.run::<i64>(&other.command()), 0);
    assert_eq!(server.run::<i64>(&mine.command()), 1);
    assert_eq!(server.run::<i64>(&mine.renew(expire)), 0);
    assert_eq!(server.run::<Option<String>>(&other.lock(expire)).as_deref(), Some("OK"));
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
fn whoever_is_not_registered_takes_nothing() {
    let mut server = Server::start();
    server.push("q", &[ENV]);
    let keys = server.keys.clone();
    let lists = [list("q", "\"q\"")];
    let (queues, parts) = taken_apart(&lists);
    let claim = Claim {
        keys: &keys,
        consumer: "stranger",
        first_number: 1,
        count: 9,
        max_bytes: 5000,
        max_message_size: 1000,
        queues: &queues,
        lists: &parts,
        inboxes: &[],
    };
    let error = server.try_run(&claim.command()).unwrap_err();
    assert_eq!(error.code(), Some("LEASELOST"));
    let record = Record {
        keys: &keys,
        consumer: "stranger",
        number: 1,
        queue: "q",
        queue_json: "\"q\"",
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
    let note = NoteInboxes { keys: &keys, consumer: "me", inboxes: &inboxes, clients: &[("run".to_owned(), 7)] };
    assert_eq!(server.run::<i64>(&note.command()), 1);
    let _: String = server.command(&["LMOVE", "q", "in", "RIGHT", "LEFT"]);
    let renew = |consumer, lease, held| {
        Renew { keys: &keys, consumer, lease, is_new: false, held, from: 3, refreshed: &[1, 9] }.command()
    };
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
        let again =
            Renew { keys: &keys, consumer: "me", lease: 60_000, is_new, held: "", from: 9, refreshed: &[] }.command();
        assert_eq!(Renew::read(&server.run::<Value>(&again)).unwrap(), Renewed::Dead);
    }
    let bury = |ending| Bury { keys: &keys, consumer: "me", inboxes: &inboxes, ending }.command();
    assert_eq!(server.run::<i64>(&bury(Ending::None)), 1);
    assert_eq!(server.list("q"), [numbered(3), numbered(4)]);
    assert_eq!(server.run::<i64>(&bury(Ending::Forget)), 0);
    assert_eq!(server.command::<i64>(&["EXISTS", &keys.dead(), &keys.consumer("me")]), 0);
    assert_eq!(server.command::<Vec<String>>(&["ZRANGE", &keys.consumers(), "0", "-1"]), ["other"]);
}
