//! Consumers of one queue know of each other, in whatever process they are.

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::method::{BasicConsume, QueueDeclare, QueueDelete};
use kombu_core::{ErrorKind, FieldTable, Scope};

use crate::common::{Inbox, Rig, TestChannel, bodies, options};

/// Connects as another process would: what this one remembers, it remembers by the server's name.
fn elsewhere(server: &RedisServer) -> Rig {
    Rig::at(&server.url().replace("127.0.0.1", "localhost"))
}

fn delete(channel: &TestChannel, queue: &str, if_unused: bool, if_empty: bool) -> kombu_core::Result<u32> {
    let method = QueueDelete { queue: queue.into(), if_unused, if_empty };
    channel.call(|channel| async move { channel.queue_delete(method).await })
}

fn ranked(channel: &TestChannel, queue: &str, priority: i64) -> Inbox {
    let arguments = FieldTable::from([("x-priority", priority)]);
    channel.try_consume(BasicConsume { queue: queue.into(), arguments, ..BasicConsume::default() }).unwrap()
}

/// Waits until nothing is held back that should not be, by what is noted on the server.
fn noted(server: &RedisServer, queue: &str, count: i64) {
    let key = format!("_kombu.rs.consumers_of.{queue}");
    assert!(eventually(PATIENCE, || server.command(&["HLEN", &key]).int() == count));
}

#[test]
fn a_consumer_is_told_that_another_process_deleted_its_queue() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let (channel, second) = (one.channel(), one.channel());
    let (inbox, kept) = (channel.consume("q"), second.consume("kept"));
    assert_eq!(delete(&other.channel(), "q", false, false).unwrap(), 0);
    let error = inbox.cancelled();
    assert_eq!((error.kind(), error.context("queue")), (ErrorKind::NotFound, Some("q")));
    other.channel().publish("", "kept", "goes on");
    assert_eq!(bodies(&kept.take(1)), ["goes on"]);
    // Declared and consumed anew it works, though the deletion is still marked.
    let again = channel.consume("q");
    other.channel().publish("", "q", "new");
    assert_eq!(bodies(&again.take(1)), ["new"]);
}

#[test]
fn without_tracking_it_is_told_with_the_next_sign_of_life() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "default", "-client|tracking"]);
    let (one, other) = (Rig::with(&server, options([("lease", 2)])), elsewhere(&server));
    let channel = one.channel();
    let inbox = channel.consume("q");
    noted(&server, "q", 1);
    delete(&other.channel(), "q", false, false).unwrap();
    assert_eq!(inbox.cancelled().kind(), ErrorKind::NotFound);
}

#[test]
fn a_queue_that_is_kept_stays_as_it_was() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let channel = one.channel();
    let inbox = channel.consume("q");
    let deleting = other.channel();
    let error = delete(&deleting, "q", true, false).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::PreconditionFailed, Scope::Channel));
    assert!(delete(&deleting, "q", false, false).is_err(), "its channel ended");
    assert_eq!(
        channel.declare(QueueDeclare { queue: "q".into(), ..QueueDeclare::default() }).unwrap().consumer_count,
        1
    );
    channel.publish("", "q", "x");
    let held = inbox.take(1);
    channel.cancel(&inbox);
    channel.settle(channel.channel.basic_nack(held[0].tag, false, true)).unwrap();
    let error = delete(&other.channel(), "q", true, true).unwrap_err();
    assert_eq!((error.kind(), error.context("queue")), (ErrorKind::PreconditionFailed, Some("q")));
    assert_eq!(bodies(&[channel.get("q").unwrap()]), ["x"]);
    assert_eq!(delete(&other.channel(), "q", true, true).unwrap(), 0);
}

#[test]
fn an_exclusive_consumer_keeps_other_processes_out() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let exclusive = BasicConsume { queue: "q".into(), exclusive: true, ..BasicConsume::default() };
    let channel = one.channel();
    let inbox = channel.try_consume(exclusive.clone()).unwrap();
    let plain = BasicConsume { queue: "q".into(), ..BasicConsume::default() };
    let error = other.channel().try_consume(plain.clone()).err().unwrap();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::AccessRefused, Scope::Channel));
    channel.cancel(&inbox);
    let second = other.channel();
    let _inbox = second.try_consume(plain).unwrap();
    assert_eq!(one.channel().try_consume(exclusive).err().unwrap().kind(), ErrorKind::AccessRefused);
}

#[test]
fn a_dead_exclusive_consumer_keeps_nobody_out() {
    let server = RedisServer::start();
    let (one, other) = (Rig::with(&server, options([("lease", 1)])), elsewhere(&server));
    let exclusive = BasicConsume { queue: "q".into(), exclusive: true, ..BasicConsume::default() };
    let channel = one.channel();
    let _inbox = channel.try_consume(exclusive.clone()).unwrap();
    // Somebody has to look after the dead.
    let watcher = other.channel();
    let _watching = watcher.consume("another");
    // As if its process had died: what it is known by is dead, and stays so.
    let key = "_kombu.rs.consumers";
    let names = server.command(&["ZRANGE", key, "0", "-1"]);
    let holder =
        server.command(&["HKEYS", "_kombu.rs.consumers_of.q"]).texts()[0].split(':').next().unwrap().to_owned();
    assert!(names.texts().contains(&holder.as_str()));
    one.handle.stop();
    server.command(&["ZADD", key, "XX", "1", &holder]);
    assert!(eventually(PATIENCE, || other.channel().try_consume(exclusive.clone()).is_ok()));
}

#[test]
fn a_higher_priority_is_served_first_across_processes() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let (low, high) = (one.channel(), other.channel());
    high.qos(3, false);
    let first = ranked(&high, "q", 5);
    let last = low.consume("q");
    let publisher = one.channel();
    for number in 0..5 {
        publisher.publish("", "q", number.to_string());
    }
    // What the first has no room for goes to the last.
    let held = first.take(3);
    assert_eq!(bodies(&held), ["0", "1", "2"]);
    let rest = last.take(2);
    assert_eq!(bodies(&rest), ["3", "4"]);
    for delivery in held {
        high.ack(delivery.tag).unwrap();
    }
    high.cancel(&first);
    publisher.publish("", "q", "alone");
    assert_eq!(bodies(&last.take(1)), ["alone"]);
}

#[test]
fn who_was_there_first_learns_that_another_comes_before_it() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let (low, high) = (one.channel(), other.channel());
    let last = low.consume("q");
    let first = ranked(&high, "q", 5);
    let publisher = one.channel();
    // It may get what comes before it has learned, and nothing after.
    let mut to_first = 0;
    assert!(eventually(PATIENCE, || {
        publisher.publish("", "q", "x");
        assert!(eventually(PATIENCE, || first.len() + last.len() == 1));
        to_first = if first.len() == 1 { to_first + 1 } else { 0 };
        first.take(0).into_iter().for_each(|delivery| high.ack(delivery.tag).unwrap());
        last.take(0).into_iter().for_each(|delivery| low.ack(delivery.tag).unwrap());
        to_first == 30
    }));
}

#[test]
fn one_consumer_is_active_and_another_takes_over() {
    let server = RedisServer::start();
    let (one, other) = (Rig::new(&server), elsewhere(&server));
    let (channel, second, third) = (one.channel(), other.channel(), one.channel());
    let arguments = FieldTable::from([("x-single-active-consumer", true)]);
    channel.declare(QueueDeclare { queue: "q".into(), arguments, ..QueueDeclare::default() }).unwrap();
    let first = channel.consume("q");
    // Who knows nothing of the declaration is held back all the same.
    let next = second.consume("q");
    let last = third.consume("q");
    for number in 0..20 {
        channel.publish("", "q", number.to_string());
    }
    first.wait(20);
    assert_eq!((next.len(), last.len()), (0, 0));
    for delivery in first.take(20) {
        channel.ack(delivery.tag).unwrap();
    }
    channel.cancel(&first);
    for number in 0..20 {
        channel.publish("", "q", number.to_string());
    }
    next.wait(20);
    assert_eq!(last.len(), 0);
    // What the second held goes to the third.
    second.close().unwrap();
    last.wait(20);
}

#[test]
fn nothing_is_left_of_consumers_that_ended() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    let inboxes = [channel.consume("q"), ranked(&channel, "q", 2)];
    noted(&server, "q", 2);
    inboxes.iter().for_each(|inbox| channel.cancel(inbox));
    assert_eq!(server.command(&["EXISTS", "_kombu.rs.consumers_of.q", "_kombu.rs.mark.q"]).int(), 0);
    rig.close().unwrap();
    assert!(server.keys().is_empty(), "{:?}", server.keys());
}
