//! Settling messages by script, on a real server.

use bytes::Bytes;

use super::server::Server;
use super::take::{ENV, Take, claim, list, numbered, register};
use crate::envelope::Limits;
use crate::malformed;
use crate::scripts::{Ack, Claim, ClaimInbox, Copy, GivenBack, Record, Recorded, Requeue, Requeued, SetAside};

#[test]
fn acks_tell_which_were_gone() {
    let mut server = Server::start();
    let texts: Vec<String> = (0..1000).map(numbered).collect();
    let _: i64 = server.run(redis::cmd("RPUSH").arg("q").arg(&texts));
    assert_eq!(claim(&mut server, 1000, &[list("q", "\"q\"")], &[]).len(), 1000);
    let keys = server.keys.clone();
    let tags: Vec<String> = (1..=1000).map(|number| format!("me:{number}")).collect();
    let gone = |server: &mut Server, tags: &[String]| {
        let gone = Ack::read(server.run(&Ack { keys: &keys, tags }.command())).unwrap();
        gone.into_iter().map(|gone| (gone.index, gone.is_registered)).collect::<Vec<_>>()
    };
    assert_eq!(Ack::MAX_TAGS, 1000);
    assert_eq!(gone(&mut server, &tags[3..4]), []);
    assert_eq!(gone(&mut server, &tags[..5]), [(3, true)]);
    assert_eq!(gone(&mut server, &tags), [0, 1, 2, 3, 4].map(|index| (index, true)));
    // Once its consumer has lost its lease, who knows whether it was forgotten or given to somebody else.
    let _: i64 = server.command(&["ZREM", &keys.consumers(), "me"]);
    assert_eq!(gone(&mut server, &tags[..1]), [(0, false)]);
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
    let claim =
        |count, first_number| Take { first_number, count, inboxes: &inboxes, ..Take::of(&lists) }.command(&keys);
    assert_eq!(Claim::read(server.run(&claim(0, 1))).unwrap().len(), 0);
    assert_eq!(Claim::read(server.run(&claim(4, 1))).unwrap().len(), 5);
    let record = Record {
        keys: &keys,
        consumer: "me",
        number: 5,
        queue: "q",
        queue_json: "\"q\"",
        notes_birth: false,
        max_message_size: 1000,
        text: ENV.as_bytes(),
    };
    assert_eq!(Record::read(server.run(&record.command())).unwrap(), Recorded::Unacked);
    assert_eq!(Ack::read(server.run(&Ack { keys: &keys, tags: &["me:1"] }.command())).unwrap().len(), 0);
    let messages = [GivenBack::new("me:2", "q", true)];
    let requeue = Requeue { keys: &keys, not_after: None, messages: &messages };
    assert_eq!(Requeue::read(server.run(&requeue.command().unwrap())).unwrap(), [Requeued::Done]);
    let set_aside = SetAside { keys: &keys, tag: "me:3", queue: "q", reason: "why" };
    assert!(SetAside::read(server.run(&set_aside.command().unwrap())).unwrap());
    assert_eq!(server.tags(), ["me:4", "me:5"]);
    server.free_memory();
}
