//! Declarations that are kept, on a real server.

use kombu_core::FieldTable;
use kombu_virtual::QueueDefinition;
use redis::Value;

use super::server::Server;
use crate::definition::{self, Definition};
use crate::scripts::Define;

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
