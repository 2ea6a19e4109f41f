//! What Kombu leaves in `unacked`, and puts back, is read.

use super::{Dice, bytes, entries, recording, text};
use crate::binding::{Table, Undeclared};
use crate::envelope::{Limits, Unacked, read};
use crate::keys::Keys;
use crate::options::RedisOptions;
use crate::restore::Destination;

#[test]
fn every_stage_is_read() {
    let keys = Keys::new(&RedisOptions::default());
    let (mut held, mut back) = (0, 0);
    for entry in entries(recording!("redis-unacked")) {
        let stored = &entry["keys"];
        for (tag, value) in stored[keys.unacked()]["value"].as_object().into_iter().flatten() {
            let unacked = Unacked::read(&bytes(value), &Limits::default()).unwrap();
            assert_eq!((unacked.exchange.as_str(), unacked.routing_key.as_str()), ("ux", "k"));
            let received = unacked.envelope(&Limits::default()).unwrap();
            assert_eq!(*received.delivery_tag, *tag.as_str());
            let members = stored[keys.binding("ux")]["value"].as_array().unwrap();
            let table = Table::parse(members.iter().map(text), keys.sep());
            let found = Destination::find(&unacked, received.list_priority, &keys, &table, Err(Undeclared)).unwrap();
            assert_eq!(found, Destination::Lists(vec!["uq".into()]));
            held += 1;
        }
        for element in stored["uq"]["value"].as_array().into_iter().flatten() {
            let received = read(&bytes(element), &Limits::default()).unwrap();
            let given_back = text(element).contains("redelivered");
            assert_eq!(received.redelivered, given_back);
            back += u32::from(given_back);
        }
    }
    assert!(held >= 4 && back >= 3, "{held} {back}");
}

#[test]
fn the_other_way_of_putting_back_is_read() {
    let entry = &entries(recording!("redis-restored-plain"))[0];
    let received = read(&bytes(&entry["keys"]["q"]["value"][0]), &Limits::default()).unwrap();
    assert!(received.redelivered);
    assert_eq!(received.envelope.body, &br#"{"z": 1}"#[..]);
    assert!(received.envelope.properties.rare().is_none());
}

#[test]
fn what_is_no_entry_is_an_error() {
    for (value, words) in [
        ("", "expected `[`"),
        ("{}", "expected `[`"),
        ("[]", "fewer than three"),
        ("[{}, \"ex\"]", "fewer than three"),
        ("[\"x\", \"ex\", \"k\"]", "`unacked` holds text"),
        ("[{}, 5, \"k\"]", "`exchange` is a number"),
        ("[{}, \"ex\", []]", "`routing_key` is a list"),
        ("[{}, \"ex\", \"k\"", "`,` or `]`"),
        ("[{}, \"ex\", \"k\"] x", "expected the end"),
    ] {
        let error = Unacked::read(&value.into(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{value}: {error}");
    }
    let entry = Unacked::read(&"[ {\"a\" : 1} ,null,\"q\",7]".into(), &Limits::default()).unwrap();
    assert_eq!((&entry.text[..], &*entry.exchange, &*entry.routing_key), (&b"{\"a\" : 1}"[..], "", "q"));
}

#[test]
fn broken_entries_never_panic() {
    let stage = &entries(recording!("redis-unacked"))[1];
    let value = bytes(stage["keys"]["unacked"]["value"].as_object().unwrap().values().next().unwrap());
    let mut dice = Dice(5);
    for _ in 0..20_000 {
        let mut broken = value.to_vec();
        let at = dice.roll(broken.len());
        broken[at] = b"\"\\{}[],:0\xff"[dice.roll(10)];
        broken.truncate(broken.len() - dice.roll(3));
        if let Ok(entry) = Unacked::read(&broken.into(), &Limits::default()) {
            let _ = entry.envelope(&Limits::default());
        }
    }
}
