//! What is no message is set aside and told of; what is one arrives all the same.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use common::{Ends, Incoming, PATIENCE, Python, RedisServer, Rust, eventually, length, tagged};
use kombu::{Connection, ConnectionEvent, Malformed, Queue};
use serde_json::{Value as JsonValue, json};

/// What has been reported as malformed: raw bytes and reasons.
type Told = Arc<Mutex<Vec<(Vec<u8>, String)>>>;

fn listen(connection: &Connection) -> Told {
    let told = Told::default();
    let keep = Arc::clone(&told);
    connection.on_event(move |event| {
        if let ConnectionEvent::Malformed(malformed) = event {
            assert_eq!(malformed.queue, "q");
            keep.lock().unwrap().push((malformed.raw.to_vec(), malformed.reason.clone()));
        }
    });
    told
}

/// An envelope that is right but for what `change` does to it.
fn envelope(change: impl Fn(&mut JsonValue)) -> Vec<u8> {
    let mut envelope = json!({
        "body": "eA==", "content-type": "text/plain", "content-encoding": "utf-8", "headers": {},
        "properties": {"delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": "q"}, "priority": 0,
            "body_encoding": "base64", "delivery_tag": "8ba61977-80e5-4ab2-ac7e-c20559e644d2"},
    });
    change(&mut envelope);
    envelope.to_string().into_bytes()
}

/// What Kombu fails on, or cannot be a message by any reading.
fn malformed_elements() -> Vec<Vec<u8>> {
    let right = envelope(|_| ());
    let deep = [b"{\"headers\": ".as_slice(), &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat();
    vec![
        b"".to_vec(),
        b"no JSON at all".to_vec(),
        b"\x80\x00\xff\xfe binary".to_vec(),
        b"{".to_vec(),
        b"}".to_vec(),
        b"{}".to_vec(),
        b"null".to_vec(),
        b"42".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"body\": \"eA==\"}".to_vec(),
        b"{\xff\xfe}".to_vec(),
        b"{\"body\": \"eA==\", }".to_vec(),
        right[..right.len() / 2].to_vec(),
        [right.as_slice(), b"}"].concat(),
        [right.as_slice(), right.as_slice()].concat(),
        deep,
        envelope(|envelope| envelope["body"] = json!("not base64!")),
        envelope(|envelope| envelope["body"] = json!("eA=")),
        envelope(|envelope| envelope["body"] = json!(5)),
        envelope(|envelope| envelope["body"] = json!(["eA=="])),
        envelope(|envelope| envelope["properties"] = json!(null)),
        envelope(|envelope| envelope["properties"] = json!("text")),
        envelope(|envelope| drop(envelope.as_object_mut().unwrap().remove("properties"))),
        envelope(|envelope| drop(envelope["properties"].as_object_mut().unwrap().remove("delivery_tag"))),
        envelope(|envelope| drop(envelope["properties"].as_object_mut().unwrap().remove("delivery_info"))),
        envelope(|envelope| envelope["properties"]["delivery_info"] = json!({"exchange": ""})),
        envelope(|envelope| envelope["properties"]["delivery_info"] = json!([])),
        envelope(|envelope| envelope["properties"]["body_encoding"] = json!("rot13")),
        envelope(|envelope| envelope["headers"] = json!([1])),
        envelope(|envelope| envelope["headers"] = json!("text")),
        envelope(|envelope| envelope["headers"] = json!({"h": {"__type__": "unknown", "__value__": 1}})),
        envelope(|envelope| envelope["properties"]["custom"] = json!({"__type__": "datetime", "__value__": 5})),
    ]
}

#[test]
fn a_consumer_goes_on_past_what_is_no_message() {
    let mut ends = Ends::new();
    let told = listen(&ends.rust.connection);
    let bad = malformed_elements();
    ends.publish_text(Python, "", "q", "first");
    for (number, element) in bad.iter().enumerate() {
        ends.server.command(&[b"LPUSH".as_slice(), b"q", element]);
        if number % 5 == 0 {
            ends.publish_text(Rust, "", "q", &format!("between {number}"));
        }
    }
    ends.publish_text(Python, "", "q", "last");
    let between = (0..bad.len()).step_by(5).map(|number| format!("between {number}"));
    let expected: Vec<String> = ["first".to_owned()].into_iter().chain(between).chain(["last".to_owned()]).collect();
    assert_eq!(ends.receive_texts(Rust, "q", expected.len()), expected);
    assert_told(&ends.rust.connection, &told, &bad);
    assert_eq!(length(&ends.server, "q"), 0);
    assert!(eventually(PATIENCE, || ends.server.command(&["EXISTS", "unacked", "unacked_index"]).int() == 0));
}

#[test]
fn an_idle_consumer_is_not_stopped_by_what_wakes_it() {
    let mut ends = Ends::new();
    let told = listen(&ends.rust.connection);
    let incoming = Incoming::start(&ends.rust.connection, &Queue::new("q"));
    let bad = malformed_elements();
    for (number, element) in bad.iter().enumerate() {
        ends.server.command(&[b"LPUSH".as_slice(), b"q", element]);
        // Whoever reports it is idle again soon; a good message must arrive behind each.
        assert!(eventually(PATIENCE, || told.lock().unwrap().len() > number), "told of {number}");
        ends.publish_text(Rust, "", "q", "good");
        assert_eq!(incoming.texts(1), ["good"]);
    }
    assert_told(&ends.rust.connection, &told, &bad);
}

#[test]
fn fetching_one_by_one_skips_what_is_no_message() {
    let mut ends = Ends::new();
    let bad = malformed_elements();
    for element in &bad {
        ends.server.command(&[b"LPUSH".as_slice(), b"q", element]);
    }
    ends.publish_text(Python, "", "q", "good");
    assert_eq!(ends.rust.get("q").unwrap()["body"]["value"], "good");
    assert!(ends.rust.get("q").is_none());
    assert_aside(&ends.rust.connection, &bad);
}

/// Every bad element was told of once, with its bytes and a reason, and is kept to be looked at.
fn assert_told(connection: &Connection, told: &Told, bad: &[Vec<u8>]) {
    assert!(
        eventually(PATIENCE, || told.lock().unwrap().len() >= bad.len()),
        "{} of {}",
        told.lock().unwrap().len(),
        bad.len()
    );
    let told = told.lock().unwrap();
    assert!(told.iter().all(|(_, reason)| !reason.is_empty()));
    assert_eq!(counted(told.iter().map(|(raw, _)| raw.clone())), counted(bad.iter().cloned()));
    assert_aside(connection, bad);
}

fn assert_aside(connection: &Connection, bad: &[Vec<u8>]) {
    let aside = || connection.malformed("q", 1000).wait().unwrap();
    assert!(eventually(PATIENCE, || aside().len() == bad.len()), "{} of {}", aside().len(), bad.len());
    let aside = aside();
    assert!(aside.iter().all(|malformed| !malformed.reason.is_empty() && malformed.queue == "q"));
    assert_eq!(
        counted(aside.into_iter().map(|malformed: Malformed| malformed.raw.to_vec())),
        counted(bad.iter().cloned())
    );
    assert_eq!(connection.malformed("q", 3).wait().unwrap().len(), 3);
    assert!(connection.malformed("other", 3).wait().unwrap().is_empty());
}

fn counted(elements: impl Iterator<Item = Vec<u8>>) -> HashMap<Vec<u8>, usize> {
    let mut counted = HashMap::new();
    for element in elements {
        *counted.entry(element).or_default() += 1;
    }
    counted
}

/// One invalid value stops Python's sweep at that entry for ever; Rust's moves it away and restores the others.
#[test]
fn the_sweep_goes_on_past_what_is_no_entry() {
    let server = RedisServer::start();
    let good = |number: u32| {
        let text = tagged::base64(format!("good {number}").as_bytes());
        let envelope = envelope(|envelope| envelope["body"] = json!(text));
        format!("[{}, \"\", \"q\"]", String::from_utf8(envelope).unwrap()).into_bytes()
    };
    let bad = [
        b"".to_vec(),
        b"\xff\x00".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"[1, 2, 3]".to_vec(),
        b"[{}, \"\", \"q\"]".to_vec(),
        b"[{\"properties\": 5}, \"\"".to_vec(),
    ];
    let put = |tag: &str, value: &[u8]| {
        server.command(&[b"HSET".as_slice(), b"unacked", tag.as_bytes(), value]);
        server.command(&["ZADD", "unacked_index", "1000000000", tag]);
    };
    for (number, value) in bad.iter().enumerate() {
        put(&format!("bad {number}"), value);
        put(&format!("good {number}"), &good(number as u32));
    }
    // An index entry without a value, too.
    server.command(&["ZADD", "unacked_index", "1000000000", "nothing"]);
    let url = format!("{}?visibility_timeout=1&unacked_restore_interval=0.2&unacked_restore_throttle=1", server.url());
    let connection = Connection::new(&url).unwrap();
    let incoming = Incoming::start(&connection, &Queue::new("q"));
    let arrived: HashSet<String> = incoming.texts(bad.len()).into_iter().collect();
    assert_eq!(arrived, (0..bad.len()).map(|number| format!("good {number}")).collect());
    let swept = || server.command(&["EXISTS", "unacked", "unacked_index"]).int() == 0;
    assert!(eventually(PATIENCE, swept), "{:?}", server.command(&["HGETALL", "unacked"]));
    let aside: usize = server
        .keys()
        .iter()
        .filter(|key| key.starts_with("_kombu.rs.malformed."))
        .map(|key| length(&server, key) as usize)
        .sum();
    assert_eq!(aside, bad.len(), "kept to be looked at: {:?}", server.keys());
}

#[test]
fn a_body_of_64_megabytes_arrives() {
    let mut ends = Ends::new();
    let body: Vec<u8> = (0..64_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let producer = ends.rust.connection.producer();
    producer.publish(body.clone()).routing_key("q").wait().unwrap();
    ends.publish_text(Python, "", "q", "behind it");
    let incoming = Incoming::start(&ends.rust.connection, &Queue::new("q"));
    let message = incoming.next();
    assert!(message.body()[..] == body[..], "every byte is the same");
    message.ack().wait().unwrap();
    assert_eq!(incoming.texts(1), ["behind it"]);
    ends.assert_nothing_left();
}
