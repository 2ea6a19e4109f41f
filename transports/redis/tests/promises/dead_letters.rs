//! What leaves a queue without being acknowledged goes where the queue sends it, once, whoever dies on the way.

use std::time::Duration;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicPublish, QueueDeclare, QueueDelete};
use kombu_core::{Confirmation, Delivery, ErrorKind, ExchangeKind, FieldTable, Value};

use crate::common::{Rig, TestChannel, block_on, bodies, envelope, keys, prioritised};

fn arguments<const N: usize>(entries: [(&str, Value); N]) -> FieldTable {
    FieldTable::from(entries)
}

/// Declares a queue whose dead letters go through the default exchange to `dead`.
fn declare<const N: usize>(channel: &TestChannel, queue: &str, dead: &str, more: [(&str, Value); N]) {
    let mut all = arguments(more);
    all.insert("x-dead-letter-exchange", "");
    all.insert("x-dead-letter-routing-key", dead);
    declare_with(channel, queue, all);
}

fn declare_with(channel: &TestChannel, queue: &str, arguments: FieldTable) {
    channel.declare(QueueDeclare { queue: queue.into(), durable: true, arguments, ..QueueDeclare::default() }).unwrap();
}

fn reject(channel: &TestChannel, delivery: &Delivery) {
    channel.settle(channel.channel.basic_reject(delivery.tag, false)).unwrap();
}

/// Fetches the next message of a queue, when there is one.
#[track_caller]
fn next(channel: &TestChannel, queue: &str) -> Delivery {
    let mut found = None;
    let came = eventually(PATIENCE, || {
        found = channel.get(queue);
        found.is_some()
    });
    assert!(came, "no message came to {queue}");
    found.unwrap()
}

/// Returns a member of the first entry of `x-death`, as text.
fn death(delivery: &Delivery, name: &str) -> String {
    let deaths = delivery.envelope.headers.get("x-death").and_then(Value::as_list).unwrap();
    match deaths[0].as_map().unwrap().get(name).unwrap() {
        Value::Text(text) => text.clone(),
        other => other.as_i64().unwrap().to_string(),
    }
}

/// Says that nothing is on its way any more.
fn is_at_rest(server: &RedisServer) -> bool {
    server.command(&["EXISTS", "_kombu.rs.letters", "_kombu.rs.due", "unacked", "unacked_index"]).int() == 0
}

#[test]
fn a_rejected_message_goes_to_another_queue_with_its_history() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "work", "dead", []);
    channel.publish("", "work", "one");
    let held = channel.get("work").unwrap();
    assert_eq!(held.delivery_count, Some(0));
    channel.settle(channel.channel.basic_reject(held.tag, true)).unwrap();
    let again = channel.get("work").unwrap();
    assert_eq!((again.delivery_count, again.redelivered), (Some(1), true));
    reject(&channel, &again);
    let letter = next(&channel, "dead");
    assert_eq!(bodies(std::slice::from_ref(&letter)), ["one"]);
    let told = ["reason", "queue", "exchange", "count"].map(|name| death(&letter, name));
    assert_eq!(told, ["rejected", "work", "", "1"]);
    // In its new queue it is a new message.
    assert_eq!((letter.delivery_count, letter.redelivered), (Some(0), false));
    assert!(letter.envelope.headers.get("x-delivery-count").is_none());
    channel.ack(letter.tag).unwrap();
    assert!(eventually(PATIENCE, || is_at_rest(&server)), "{:?}", keys(&server));
}

#[test]
fn a_process_that_never_declared_the_queue_follows_its_policy() {
    let server = RedisServer::start();
    let (declaring, other) = (Rig::new(&server), Rig::new(&server));
    let (channel, stranger) = (declaring.channel(), other.channel());
    declare(&channel, "work", "dead", [("x-max-length", 2.into())]);
    // The server tells the other connection in its own time.
    assert!(eventually(PATIENCE, || {
        for _ in 0..3 {
            stranger.publish("", "work", "x");
        }
        stranger.queue("work").message_count <= 2
    }));
    let held = next(&stranger, "work");
    reject(&stranger, &held);
    let mut reasons = Vec::new();
    assert!(
        eventually(PATIENCE, || {
            while let Some(letter) = stranger.get("dead") {
                reasons.push(death(&letter, "reason"));
                stranger.ack(letter.tag).unwrap();
            }
            reasons.iter().any(|reason| reason == "rejected") && reasons.iter().any(|reason| reason == "maxlen")
        }),
        "{reasons:?}"
    );
}

#[test]
fn a_queue_that_nobody_consumes_sends_on_what_expires() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "retry", "work", [("x-message-ttl", 100.into())]);
    let inbox = channel.consume("work");
    for number in 0..20 {
        channel.publish("", "retry", number.to_string());
    }
    let came = inbox.take(20);
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&came), expected);
    assert!(came.iter().all(|delivery| death(delivery, "reason") == "expired"));
    for delivery in &came {
        channel.ack(delivery.tag).unwrap();
    }
    assert!(eventually(PATIENCE, || is_at_rest(&server)), "{:?}", keys(&server));
    assert_eq!(inbox.len(), 0);
}

/// The publisher is gone before anything expires: whoever lives looks after it.
#[test]
fn what_expires_after_its_publisher_has_gone_is_sent_on_by_another() {
    let server = RedisServer::start();
    let worker = Rig::new(&server);
    let channel = worker.channel();
    let inbox = channel.consume("work");
    let publisher = Rig::new(&server);
    let publishing = publisher.channel();
    declare(&publishing, "retry", "work", [("x-message-ttl", 1500.into())]);
    publishing.publish("", "retry", "late");
    // As if the process were gone: nothing runs any more.
    publisher.handle.stop();
    assert_eq!(bodies(&inbox.take(1)), ["late"]);
}

/// A client that dies between taking a dead message out of its queue and sending it on leaves it where others find it.
#[test]
fn a_letter_left_by_the_dead_is_sent_on_once_by_one_of_many() {
    let server = RedisServer::start();
    let rigs: Vec<Rig> = (0..3).map(|_| Rig::new(&server)).collect();
    let channels: Vec<TestChannel> = rigs.iter().map(Rig::channel).collect();
    let inboxes: Vec<_> = channels.iter().map(|channel| channel.consume("dead")).collect();
    let body = r#"{"body": "b25l", "content-encoding": "utf-8", "content-type": "text/plain", "headers": {}, "properties": {"delivery_info": {"exchange": "", "routing_key": "work"}, "delivery_tag": "t", "body_encoding": "base64"}}"#;
    for number in 0..50 {
        let id = format!("{number:06}");
        let header =
            r#"{"at": 1795351911.25, "queue": "work", "reason": "rejected", "exchange": "", "routing_key": "dead"}"#;
        server.command(&["HSET", "_kombu.rs.letters", &id, &format!("{header}\n{body}")]);
        server.command(&["ZADD", "_kombu.rs.due", "1", &format!("l{id}")]);
    }
    let count = || inboxes.iter().map(|inbox| inbox.len()).sum::<usize>();
    assert!(eventually(PATIENCE, || count() >= 50 && server.command(&["EXISTS", "_kombu.rs.letters"]).int() == 0));
    // Nobody has anything left to send on, and what was sent is in `unacked` already.
    assert_eq!(server.command(&["LLEN", "dead"]).int(), 0);
    assert_eq!(count(), 50);
}

#[test]
fn limits_drop_the_oldest_or_refuse_the_newest() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "drops", "dead", [("x-max-length", 3.into())]);
    for number in 0..5 {
        channel.publish("", "drops", number.to_string());
    }
    assert_eq!(channel.queue("drops-not").message_count, 0);
    assert_eq!(server.command(&["LLEN", "drops"]).int(), 3);
    for number in ["0", "1"] {
        let letter = next(&channel, "dead");
        assert_eq!(
            (bodies(std::slice::from_ref(&letter)), death(&letter, "reason")),
            (vec![number.into()], "maxlen".into())
        );
        channel.ack(letter.tag).unwrap();
    }
    declare_with(&channel, "refuses", arguments([("x-max-length", 1.into()), ("x-overflow", "reject-publish".into())]));
    channel.publish("", "refuses", "first");
    let error = block_on(channel.send("", "refuses", "second")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Nacked, "{error}");
    assert!(error.to_string().contains("refuses"), "{error}");
    assert_eq!(bodies(&[channel.get("refuses").unwrap()]), ["first"]);
}

/// Every list of a queue counts, whatever the priority of what is in it; the first to be served gives way, as in RabbitMQ.
#[test]
fn limits_count_every_priority_and_every_body() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let send = |queue: &str, body: &str, priority: u8| {
        let sent = channel.channel.basic_publish(BasicPublish::default(), prioritised("", queue, body, Some(priority)));
        assert!(matches!(block_on(sent).unwrap(), Confirmation::Confirmed { .. }));
    };
    declare_with(&channel, "counts", arguments([("x-max-length", 2.into())]));
    for (body, priority) in [("a", 9), ("b", 0), ("c", 6)] {
        send("counts", body, priority);
    }
    let left: Vec<_> = std::iter::from_fn(|| channel.get("counts")).collect();
    assert_eq!(bodies(&left), ["c", "a"]);
    declare_with(&channel, "sizes", arguments([("x-max-length-bytes", 10.into())]));
    for (body, priority) in [("aaaa", 9), ("bbbb", 0), ("cccc", 6)] {
        send("sizes", body, priority);
    }
    let left: Vec<_> = std::iter::from_fn(|| channel.get("sizes")).collect();
    assert_eq!(bodies(&left), ["cccc", "aaaa"]);
    // What is held does not count, and what was counted wrongly for it is counted again.
    send("sizes", "dddddddd", 0);
    assert_eq!(bodies(&[channel.get("sizes").unwrap()]), ["dddddddd"]);
}

#[test]
fn what_comes_back_too_often_is_dead_lettered() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "work", "dead", [("x-queue-type", "quorum".into()), ("x-delivery-limit", 2.into())]);
    channel.publish("", "work", "poison");
    for count in 0..3 {
        let delivery = channel.get("work").unwrap();
        assert_eq!(delivery.delivery_count, Some(count));
        if count == 1 {
            // By closing its channel as well as by rejecting it.
            let other = rig.channel();
            channel.settle(channel.channel.basic_reject(delivery.tag, true)).unwrap();
            let again = other.get("work").unwrap();
            assert_eq!(again.delivery_count, Some(2));
            other.close().unwrap();
            break;
        }
        channel.settle(channel.channel.basic_reject(delivery.tag, true)).unwrap();
    }
    let letter = next(&channel, "dead");
    assert_eq!(death(&letter, "reason"), "delivery_limit");
    assert!(channel.get("work").is_none());
}

#[test]
fn a_letter_without_a_way_is_dropped_as_in_rabbitmq() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("dlx", ExchangeKind::Direct);
    declare_with(&channel, "work", arguments([("x-dead-letter-exchange", "dlx".into())]));
    channel.publish("", "work", "one");
    let held = channel.get("work").unwrap();
    reject(&channel, &held);
    assert!(eventually(PATIENCE, || is_at_rest(&server)), "{:?}", keys(&server));
}

#[test]
fn rejecting_and_expiring_go_on_when_memory_is_full() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "work", "dead", [("x-message-ttl", 3000.into())]);
    for number in 0..3 {
        channel.publish("", "work", number.to_string());
    }
    let held = channel.get("work").unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = block_on(channel.send("", "work", "more")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded, "{refused}");
    reject(&channel, &held);
    let mut got = Vec::new();
    assert!(
        eventually(PATIENCE, || {
            while let Some(letter) = channel.get("dead") {
                got.extend(bodies(std::slice::from_ref(&letter)));
                channel.ack(letter.tag).unwrap();
            }
            got.len() >= 3
        }),
        "{got:?}"
    );
    assert_eq!(got, ["0", "1", "2"]);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
}

#[test]
fn a_message_with_an_expiration_is_not_delivered_late() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let send = |queue: &str, body: &str, milliseconds: u64| {
        let mut message = (*envelope("", queue, body)).clone();
        message.properties.set_expiration(Duration::from_millis(milliseconds));
        block_on(channel.channel.basic_publish(BasicPublish::default(), message.into())).unwrap();
    };
    send("q", "long", 600_000);
    send("q", "short", 1);
    channel.publish("", "q", "plain");
    // Python reads it as it was, and its property says what it said.
    let text = server.command(&["LINDEX", "q", "-1"]).text().to_owned();
    assert!(text.starts_with("{\"expires_at\": ") && text.contains("\"expiration\": \"600000\""), "{text}");
    std::thread::sleep(Duration::from_millis(5));
    let left: Vec<_> = std::iter::from_fn(|| channel.get("q")).collect();
    assert_eq!(bodies(&left), ["long", "plain"]);
    assert_eq!(left[0].envelope.properties.expiration(), Some(Duration::from_secs(600)));
    // Nobody consumes this one: it goes by itself.
    send("idle", "short", 20);
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "idle"]).int() == 0));
    // At once, unless somebody waits for it.
    send("never", "gone", 0);
    assert!(channel.get("never").is_none());
    let inbox = channel.consume("awaited");
    assert!(eventually(PATIENCE, || crate::common::is_waiting(&server)));
    send("awaited", "passed on", 0);
    assert_eq!(bodies(&inbox.take(1)), ["passed on"]);
}

#[test]
fn a_queue_without_a_policy_gets_a_plain_push() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    declare(&channel, "work", "dead", []);
    let mut monitor = server.monitor();
    monitor.take();
    channel.publish("", "plain", "x");
    let mut names = Vec::new();
    assert!(eventually(PATIENCE, || {
        names.extend(monitor.take().iter().map(|command| command.name()));
        names.iter().any(|name| name == "LPUSH")
    }));
    assert_eq!(names, ["LPUSH"]);
}

#[test]
fn a_delayed_message_comes_when_its_time_has_come() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.delayed_exchange("later", "topic");
    channel.bind("q", "later", "a.*");
    let inbox = channel.consume("q");
    let mut late = (*envelope("later", "a.b", "late")).clone();
    late.headers = FieldTable::from([("x-delay", 1200)]).into();
    let sent = block_on(channel.channel.basic_publish(BasicPublish::default(), late.into())).unwrap();
    assert!(matches!(sent, Confirmation::Confirmed { queues: None }), "{sent:?}");
    channel.publish("later", "a.b", "now");
    let came = inbox.take(1);
    assert_eq!(bodies(&came), ["now"]);
    let came = inbox.take(1);
    assert_eq!(bodies(&came), ["late"]);
    assert_eq!(came[0].envelope.headers.get("x-delay").and_then(Value::as_i64), Some(-1200));
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "_kombu.rs.letters", "_kombu.rs.due"]).int() == 0));
}

#[test]
fn a_queue_that_is_deleted_leaves_nothing_of_its_policy() {
    let server = RedisServer::start();
    let (rig, other) = (Rig::new(&server), Rig::new(&server));
    let (channel, stranger) = (rig.channel(), other.channel());
    declare(&channel, "work", "dead", [("x-message-ttl", 3_600_000.into()), ("x-max-length-bytes", 100.into())]);
    channel.publish("", "work", "one");
    assert_eq!(server.command(&["EXISTS", "_kombu.rs.policies", "_kombu.rs.due", "_kombu.rs.sizes"]).int(), 3);
    // By one that may never have heard of it.
    let method = QueueDelete { queue: "work".into(), if_unused: false, if_empty: false };
    stranger.call(|channel| async move { channel.queue_delete(method).await }).unwrap();
    assert_eq!(server.command(&["EXISTS", "_kombu.rs.policies", "_kombu.rs.due", "_kombu.rs.sizes"]).int(), 0);
    channel.queue("work");
}

#[test]
fn what_a_full_queue_refuses_goes_where_it_sends_the_dead_if_it_says_so() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let full = [("x-max-length", Value::from(2)), ("x-overflow", "reject-publish-dlx".into())];
    declare(&channel, "full", "dead", full);
    for number in 0..2 {
        assert_eq!(channel.publish("", "full", number.to_string()), Some(1));
    }
    for number in 2..5 {
        let error = block_on(channel.send("", "full", number.to_string())).unwrap_err();
        assert_eq!((error.kind(), error.context("queue")), (ErrorKind::Nacked, Some("full")));
        let letter = next(&channel, "dead");
        assert_eq!(
            (bodies(std::slice::from_ref(&letter)), death(&letter, "reason")),
            (vec![number.to_string()], "maxlen".to_owned())
        );
        channel.ack(letter.tag).unwrap();
    }
    let kept = [0, 1].map(|_| channel.get("full").unwrap());
    assert_eq!(bodies(&kept), ["0", "1"]);
    // What is held leaves room.
    assert_eq!(channel.publish("", "full", "5"), Some(1));
    assert!(eventually(PATIENCE, || server.command(&["EXISTS", "_kombu.rs.letters"]).int() == 0));
    assert!(channel.get("dead").is_none());
}

#[test]
fn without_tracking_a_policy_of_another_process_is_read_now_and_then() {
    let server = RedisServer::start();
    let declaring = Rig::new(&server);
    server.command(&["ACL", "SETUSER", "default", "-client|tracking"]);
    let other = Rig::with(&server, arguments([("lease", 0.25.into())]));
    let publisher = other.channel();
    // Known from the start or not: what it declares itself it knows.
    publisher.publish("", "work", "before");
    declare(&declaring.channel(), "work", "dead", [("x-max-length", 2.into())]);
    let keeps_it = || {
        for _ in 0..3 {
            publisher.publish("", "work", "x");
        }
        server.command(&["LLEN", "work"]).int() == 2
    };
    assert!(eventually(PATIENCE, keeps_it), "{}", server.command(&["LLEN", "work"]).int());
}

#[test]
fn a_limit_in_bytes_is_kept_without_a_look_at_each_message() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for (queue, overflow) in [("drops", "drop-head"), ("refuses", "reject-publish")] {
        declare_with(
            &channel,
            queue,
            arguments([("x-max-length-bytes", Value::from(1000)), ("x-overflow", overflow.into())]),
        );
        let body = "x".repeat(90);
        let mut monitor = server.monitor();
        for _ in 0..5 {
            channel.publish("", queue, &body);
            channel.publish("", queue, &body);
            channel.ack(channel.get(queue).unwrap().tag).unwrap();
        }
        let looks = |commands: Vec<kombu_brokers::MonitoredCommand>| {
            commands.iter().filter(|command| command.name() == "LRANGE").count()
        };
        // The first message of an unknown queue is a look at each of its lists, or two.
        let looks = looks(monitor.take());
        assert!((1..=8).contains(&looks), "{queue}: {looks}");
        for _ in 0..5 {
            channel.publish("", queue, &body);
        }
        // Of fifteen, five were taken: 900 bytes are there, and room for a hundred more.
        assert_eq!(server.command(&["LLEN", queue]).int(), 10, "{queue}");
        let last = block_on(channel.send("", queue, "y".repeat(200)));
        assert_eq!(last.is_err(), queue == "refuses", "{queue}");
        let left: Vec<usize> = std::iter::from_fn(|| channel.get(queue)).map(|one| one.envelope.body.len()).collect();
        let expected = if queue == "refuses" { vec![90; 10] } else { [vec![90; 8], vec![200]].concat() };
        assert_eq!(left, expected, "{queue}");
    }
}
