//! Declarations that are kept, on a real server.

use kombu_core::FieldTable;
use kombu_virtual::QueueDefinition;
use redis::Value;

use super::server::Server;
use crate::definition::{self, Definition};
use crate::scripts::{DeclareQueue, Define, Join, Joined, UseQueue};

#[test]
fn the_first_declaration_is_kept() {
    let mut server = Server::start();
    let key = server.keys.queue_definition("q");
    let mut first = QueueDefinition::default();
    first.arguments = FieldTable::from([("x-max-length", 7)]);
    let mut second = QueueDefinition::default();
    second.durable = true;
    let policies = server.keys.policies();
    let mut known = Vec::new();
    for definition in [&first, &second] {
        let fields = definition.to_fields().unwrap();
        let answer: Value =
            server.run(&Define { key: &key, policies: &policies, policy: None, fields: &fields }.command());
        known.push(definition::read::<QueueDefinition>(&answer).unwrap());
    }
    assert_eq!(known, [None, Some(first.clone())]);
    assert_eq!(second.difference(&first), Some("durable"));
    assert_eq!(server.command::<String>(&["HGET", &key, "arguments"]), r#"{"x-max-length": 7}"#);
}

/// Makes a queue, exclusive if it has an owner.
fn register(server: &mut Server, queue: &str, owner: Option<&str>) {
    let fields = QueueDefinition::default().to_fields().unwrap();
    let keys = server.keys.clone();
    let declare =
        DeclareQueue { keys: &keys, queue, owner, expires: None, policy: None, is_again: false, fields: &fields };
    let answer = server.run::<Value>(&declare.command());
    assert_eq!(DeclareQueue::read(answer).unwrap(), None);
}

#[test]
fn nobody_consumes_a_queue_that_went_a_moment_ago() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    super::take::register(&mut server, "me");
    let mut join = |is_checked| {
        let join = Join { keys: &keys, name: "me", number: 1, queue: "q", priority: 0, exclusive: false, is_checked }
            .command();
        let joined = Join::read(&server.run::<Value>(&join)).unwrap();
        (joined, server.command::<i64>(&["HLEN", &keys.consumers_of("q")]))
    };
    assert_eq!(join(true), (Joined::Missing, 0));
    assert!(matches!(join(false), (Joined::Yes { .. }, 1)));
}

#[test]
fn only_its_owner_empties_an_exclusive_queue() {
    let mut server = Server::start();
    let keys = server.keys.clone();
    for name in ["owner", "other"] {
        super::take::register(&mut server, name);
    }
    let purge = |server: &mut Server, queue: &str, name| {
        server.push(queue, &["one", "two"]);
        let purge = UseQueue { keys: &keys, queue, purged_by: Some(name) }.command();
        let used = UseQueue::read(&server.run::<Value>(&purge)).unwrap();
        (used, server.list(queue).len())
    };
    assert_eq!(purge(&mut server, "gone", "other"), (None, 2));
    register(&mut server, "own", Some("owner"));
    register(&mut server, "all", None);
    assert_eq!(purge(&mut server, "own", "other"), (Some(("owner".to_owned(), 0)), 2));
    assert_eq!(purge(&mut server, "own", "owner"), (Some(("owner".to_owned(), 4)), 0));
    assert_eq!(purge(&mut server, "all", "other"), (Some((String::new(), 2)), 0));
}
