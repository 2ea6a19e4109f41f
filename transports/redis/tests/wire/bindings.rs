//! Bindings: the members Kombu wrote are ours.

use std::collections::BTreeSet;

use kombu_core::ExchangeKind;
use kombu_virtual::topic;
use serde_json::{Value as Json, json};

use super::{entries, options, recording, text};
use crate::binding::{Table, member, pattern};
use crate::keys::Keys;

fn set(key: &Json) -> BTreeSet<&str> {
    key["value"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn members_and_keys_are_kombus() {
    let entries = entries(recording!("redis-bindings"));
    let bindings = |exchange: &str| match exchange {
        "dx" => (ExchangeKind::Direct, vec![("rk", "dq"), ("", "dq2"), ("exp", "eq")]),
        "tx" => (ExchangeKind::Topic, vec![("a.*.c", "tq"), ("#", "tq2"), ("a-b_c.#", "tq3")]),
        "fx" => (ExchangeKind::Fanout, vec![("", "fq"), ("a.#", "fq2")]),
        other => panic!("{other}"),
    };
    let recorded = &entries[0]["keys"];
    let keys = Keys::new(&options(&entries[0]));
    for exchange in ["dx", "tx", "fx"] {
        let (kind, expected) = bindings(exchange);
        let members = |with_expiring: bool| -> BTreeSet<String> {
            let kept = expected.iter().filter(|(_, queue)| with_expiring || *queue != "eq");
            kept.map(|(key, queue)| member(&kind, key, queue, keys.sep())).collect()
        };
        let stored = set(&recorded[keys.binding(exchange)]);
        assert_eq!(members(true), stored.iter().map(|member| (*member).to_owned()).collect());
        let permanent = set(&recorded[keys.binding_permanent(exchange)]);
        assert_eq!(members(false), permanent.iter().map(|member| (*member).to_owned()).collect());
        let table = Table::parse(&stored, keys.sep());
        assert!(table.malformed().is_empty() && !table.is_empty());
        assert_eq!(table.all_queues().len(), expected.len());
    }
    assert!(recorded[keys.binding_deadlines()].is_object());
}

#[test]
fn a_prefix_and_another_separator_are_kombus() {
    let entry = &entries(recording!("redis-bindings"))[1];
    let keys = Keys::new(&options(entry));
    let table = set(&entry["keys"][keys.binding("dx")]);
    assert_eq!(table, BTreeSet::from(["k||dq", "k||eq"]));
    assert_eq!(member(&ExchangeKind::Direct, "k", "dq", keys.sep()), "k||dq");
    assert!(entry["keys"][keys.binding_permanent("dx")].is_object());
    assert!(entry["keys"][keys.binding_deadlines()].is_object());
    assert_eq!(entry["keys"].as_object().unwrap().len(), 3);
}

#[test]
fn patterns_are_kombus_and_matches_are_amqps() {
    // Where the two differ, the key matches here and not there: `#` takes its dot along, and `*` takes an empty word.
    let mut differences = Vec::new();
    for entry in entries(recording!("topic-patterns")) {
        let binding_key = text(&entry["binding_key"]);
        assert_eq!(pattern(binding_key), text(&entry["stored_pattern"]));
        let table = Table::parse([member(&ExchangeKind::Topic, binding_key, "q", "|")], "|");
        for (list, kombu) in [("matches", true), ("no_match", false)] {
            for routing_key in entry[list].as_array().into_iter().flatten().map(text) {
                let found = !table.queues(Ok(&ExchangeKind::Topic), routing_key).unwrap().is_empty();
                assert_eq!(found, topic::matches(binding_key, routing_key), "{binding_key} {routing_key}");
                if found != kombu {
                    differences.push((binding_key.to_owned(), routing_key.to_owned(), found));
                }
            }
        }
    }
    let ours: Vec<_> =
        differences.iter().filter(|(.., found)| *found).map(|(key, text, _)| (key.as_str(), text.as_str())).collect();
    for pair in [("a.#", "a"), ("#.end", "end"), ("mid.#.z", "mid.z")] {
        assert!(ours.contains(&pair), "{pair:?} in {ours:?}");
    }
    let has_empty_word = |key: &str| key.split('.').any(str::is_empty);
    assert!(ours.iter().all(|(key, text)| key.contains('#') || has_empty_word(text)), "{ours:?}");
    // Kombu takes a word with a wildcard in it for a regular expression.
    for (key, text, _) in differences.iter().filter(|(.., found)| !found) {
        assert!(key.split('.').any(|word| word.len() > 1 && word.contains(['*', '#'])), "{key} {text}");
    }
}

#[test]
fn names_in_commands_are_kombus() {
    let commands = entries(recording!("redis-commands"));
    let find = |name: &str| commands.iter().find(|entry| entry["name"] == name).unwrap()["commands"].clone();
    let keys = Keys::new(&options(&json!({})));
    let escaped = |key: &str| format!("\"{}\"", key.replace('\u{6}', "\\x06").replace('\u{16}', "\\x16"));
    let get: Vec<String> = keys.lists("q").map(|key| format!("\"RPOP\" {}", escaped(&key))).collect();
    assert_eq!(find("basic_get empty"), json!(get));
    let publish = find("publish priority 9");
    assert_eq!(publish[0], format!("\"SMEMBERS\" {}", escaped(&keys.binding("ex"))));
    assert_eq!(publish[1], format!("\"LPUSH\" {} <message>", escaped(&keys.list_for("q", 9))));
    let expiring = find("declare with expires=2.5");
    let ttl = crate::scripts::BindExpiring::ttl(std::time::Duration::from_millis(2500));
    let member = member(&ExchangeKind::Direct, "e", "eq", keys.sep());
    let call = [keys.binding("ex"), keys.binding_deadlines(), member, "ex".into(), ttl.as_millis().to_string()];
    let call = call.map(|part| escaped(&part)).join(" ");
    assert!(text(&expiring[6]).ends_with(&call), "{} {call}", expiring[6]);
}
