//! Messages that nobody can handle are kept where they can be looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use kombu_brokers::RabbitServer;
use kombu_core::{Connection, Exchange, Message, Queue, Value};

use crate::common::{Diary, collect, connection, link, wait_for};

const ASIDE: &str = "_kombu.rs.malformed.q";

fn queue(connection: &Connection) -> Queue {
    let queue = Queue::new("q");
    queue.declare(connection).wait().unwrap();
    queue
}

fn fetch(connection: &Connection, queue: &Queue) -> Message {
    queue.get(connection).wait().unwrap().expect("a message")
}

#[test]
fn what_is_set_aside_is_kept_with_its_reason() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = queue(&connection);
    assert!(connection.malformed("q", 10).wait().unwrap().is_empty(), "no queue for it yet");
    let producer = connection.producer().with_routing_key("q");
    let before = SystemTime::now() - std::time::Duration::from_secs(1);
    for (body, reason) in [("first", "it bites"), ("second", "too late")] {
        // What would let a copy expire, or be refused.
        let publish = producer.publish(body).user_id("guest").expiration(std::time::Duration::from_secs(3600));
        publish.header("mine", "stays").wait().unwrap();
        fetch(&connection, &queue).set_aside(reason).wait().unwrap();
    }
    for _ in 0..2 {
        let aside = connection.malformed("q", 10).wait().unwrap();
        let aside: Vec<_> = aside.iter().map(|one| (&one.raw[..], one.reason.as_str(), one.queue.as_str())).collect();
        assert_eq!(aside, [(&b"first"[..], "it bites", "q"), (b"second", "too late", "q")]);
    }
    let first = connection.malformed("q", 1).wait().unwrap();
    assert!(first.len() == 1 && first[0].raw == "first" && first[0].at > before, "{first:?}");
    assert!(connection.malformed("q", 0).wait().unwrap().is_empty());
    wait_for("nothing is left of them", || vhost.messages("q") == 0 && vhost.unacknowledged("q") == 0);
    // Any client can take them from there.
    wait_for("they are there", || vhost.messages(ASIDE) == 2);
    let kept = fetch(&connection, &Queue::new(ASIDE));
    assert_eq!(kept.headers().get("mine").and_then(Value::as_str), Some("stays"));
    assert_eq!(kept.headers().get("x-set-aside-routing-key").and_then(Value::as_str), Some("q"));
    assert_eq!((kept.text().unwrap(), kept.properties().expiration()), ("first", None));
    kept.ack().wait().unwrap();
}

#[test]
fn closing_waits_for_what_is_being_set_aside() {
    let vhost = RabbitServer::shared().vhost();
    for round in 1..=5 {
        let connection = connection(&vhost.url());
        let queue = queue(&connection);
        connection.producer().publish("poison").routing_key("q").wait().unwrap();
        drop(fetch(&connection, &queue).set_aside("at the end"));
        connection.close().wait().unwrap();
        wait_for("one copy, and nothing else", || {
            (vhost.messages("q"), vhost.unacknowledged("q"), vhost.messages(ASIDE)) == (0, 0, round)
        });
    }
}

#[test]
fn a_malformed_queue_somebody_deleted_is_made_again() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = queue(&connection);
    for _ in 0..2 {
        connection.producer().publish("poison").routing_key("q").wait().unwrap();
        fetch(&connection, &queue).set_aside("again").wait().unwrap();
        assert_eq!(connection.malformed("q", 10).wait().unwrap().len(), 1);
        Queue::new(ASIDE).delete(&connection).wait().unwrap();
    }
    // One that was made otherwise serves as well.
    Queue::new(ASIDE).max_length(5).declare(&connection).wait().unwrap();
    connection.producer().publish("poison").routing_key("q").wait().unwrap();
    let other = crate::common::connection(&vhost.url());
    fetch(&other, &queue).set_aside("again").wait().unwrap();
    assert_eq!(other.malformed("q", 10).wait().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_set_aside_is_told_and_not_lost() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let owner = connection(&vhost.url());
    let queue = queue(&owner);
    owner.producer().publish("poison").routing_key("q").wait().unwrap();
    server.add_user("modest", "secret");
    server.set_permissions("modest", vhost.name(), "", ".*", ".*");
    let modest = connection(&vhost.url_for("modest", "secret", server.addr()));
    let diary = Diary::of(&modest);
    let refused = fetch(&modest, &queue).set_aside("it bites").wait().unwrap_err();
    assert!(refused.to_string().contains("malformed"), "{refused}");
    wait_for("it is told", || diary.count("settle failed AccessRefused") == 1);
    modest.close().wait().unwrap();
    wait_for("it is back", || vhost.messages("q") == 1);
}

#[test]
fn what_is_dropped_too_often_goes_where_its_queue_says() {
    link();
    let vhost = RabbitServer::shared().vhost();
    let connection = Connection::builder(&vhost.url()).delivery_limit(2).build().unwrap();
    let diary = Diary::of(&connection);
    let (_letters, dead) = collect(&connection, &Queue::new("dead").bind(&Exchange::fanout("dlx"), ""));
    for (name, kind) in [("classic", "classic"), ("quorum", "quorum")] {
        let queue = Queue::new(name).dead_letter_exchange("dlx").argument("x-queue-type", kind);
        let drops = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&drops);
        let dropping = move |message: Message| {
            counting.fetch_add(1, Ordering::SeqCst);
            drop(message);
        };
        let consumer = connection.consumer(&queue).on_message(dropping).consume().wait().unwrap();
        connection.producer().publish(format!("from {name}")).routing_key(name).wait().unwrap();
        dead.expect([format!("from {name}")]);
        assert_eq!(drops.load(Ordering::SeqCst), 3, "{name}");
        assert!(connection.malformed(name, 10).wait().unwrap().is_empty(), "{name}");
        consumer.cancel().wait().unwrap();
    }
    assert_eq!(diary.count("SetAside"), 2, "{}", diary.text());
}
