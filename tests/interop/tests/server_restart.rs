//! A server that is killed and comes back: consumers go on by themselves, nothing is lost, doubles say so.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, mpsc};

use common::{PATIENCE, Peer, RedisServer, eventually};
use kombu::{Connection, ConnectionEvent, Message, Queue};
use serde_json::json;

/// How many messages Python publishes before the server is killed, and how many are handled by then: always fewer than there are,
/// so that the consumer has a backlog and does not wait with a blocking pop, whose answer could be lost with the server.
const PUBLISHED: usize = 100;
const HANDLED: usize = 20;

#[test]
fn a_consumer_resumes_after_the_server_was_killed() {
    let mut server = RedisServer::options().appendonly().start();
    let connection = Connection::new(&server.url()).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    connection.on_event(move |event| {
        told.lock().unwrap().push(match event {
            ConnectionEvent::Disconnected(_) => "lost",
            ConnectionEvent::Resumed => "found",
            _ => return,
        });
    });
    let (permit, permitted) = mpsc::channel::<()>();
    let (tell, received) = mpsc::channel();
    let on_message = move |message: Message| {
        // When the test has given all permits it means to give, the handler runs freely.
        let _ = permitted.recv();
        let (text, flagged) = (message.text().unwrap().to_owned(), message.maybe_duplicate());
        let acked = message.ack().wait().is_ok();
        tell.send((text, (flagged, acked))).unwrap();
    };
    let queue = Queue::new("q");
    let _consumer = connection.consumer(&queue).prefetch(10).on_message(on_message).consume().wait().unwrap();

    let mut published = HashSet::new();
    let mut deliveries: HashMap<String, Vec<(bool, bool)>> = HashMap::new();
    for round in 0..3 {
        let mut python = Peer::connect(&server.url());
        let texts: Vec<String> = (0..PUBLISHED).map(|number| format!("{round}.{number}")).collect();
        let bodies: Vec<_> = texts.iter().map(|text| json!({"kind": "text", "value": text})).collect();
        // Every publish is answered, so each is on disk.
        python.ask(json!({"do": "publish", "routing_key": "q", "bodies": bodies}));
        published.extend(texts);
        for _ in 0..HANDLED {
            permit.send(()).unwrap();
            let (text, how) = received.recv_timeout(PATIENCE).unwrap();
            deliveries.entry(text).or_default().push(how);
        }
        server.kill();
        // This one is acknowledged while nobody is there to take it.
        permit.send(()).unwrap();
        server.restart();
        let (text, how) = received.recv_timeout(PATIENCE).unwrap();
        deliveries.entry(text).or_default().push(how);
    }
    drop(permit);
    while deliveries.len() < published.len() {
        let (text, how) = received.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let missing: Vec<_> = published.iter().filter(|text| !deliveries.contains_key(*text)).collect();
            panic!("{missing:?} did not come; the server has {:?}", server.keys())
        });
        deliveries.entry(text).or_default().push(how);
    }
    let empty = || server.command(&["EXISTS", "q", "unacked", "unacked_index"]).int() == 0;
    assert!(eventually(PATIENCE, empty), "{:?}", server.keys());
    for (text, how) in received.try_iter() {
        deliveries.entry(text).or_default().push(how);
    }
    assert_eq!(deliveries.keys().cloned().collect::<HashSet<_>>(), published);
    for (text, times) in &deliveries {
        let confirmed = times.iter().position(|(_, acked)| *acked);
        assert!(confirmed.is_none_or(|at| at + 1 == times.len()), "{text} came after its ack: {times:?}");
        assert!(times.iter().skip(1).all(|(flagged, _)| *flagged), "a double of {text} is not flagged: {times:?}");
    }
    let events = events.lock().unwrap();
    assert!(events.contains(&"lost") && events.last() == Some(&"found"), "{events:?}");
}

#[test]
fn what_is_held_while_the_server_is_away_can_be_settled_after() {
    let mut server = RedisServer::options().appendonly().start();
    let mut python = Peer::connect(&server.url());
    let body = json!({"kind": "text", "value": "x"});
    python.ask(json!({"do": "publish", "routing_key": "q", "body": body, "count": 3}));
    let connection = Connection::new(&server.url()).unwrap();
    let incoming = common::Incoming::start(&connection, &Queue::new("q"));
    let mut held = incoming.take(3);
    server.kill();
    // Asked for while nobody is there to take it.
    let early = held.pop().unwrap().ack();
    server.restart();
    early.wait().unwrap();
    held.pop().unwrap().ack().wait().unwrap();
    held.pop().unwrap().requeue().wait().unwrap();
    let again = incoming.next();
    assert!(again.redelivered());
    again.ack().wait().unwrap();
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "q", "unacked", "unacked_index"]).int() == 0));
}
