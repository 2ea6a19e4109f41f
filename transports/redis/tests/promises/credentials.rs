//! A password that is changed while everything runs is named when time is up; with the right one everything goes on.

use std::time::Duration;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::{ErrorKind, ExchangeKind, FieldTable};

use crate::common::{Rig, TestChannel, block_on, is_waiting};
use crate::seen::{each_wake, settled, woken_by};

/// Sets the server's password and ends every connection made with another.
fn change(client: &mut kombu_brokers::RedisClient, password: &str) {
    client.command(&["CONFIG", "SET", "requirepass", password]);
    for kind in ["normal", "pubsub"] {
        client.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
}

#[track_caller]
fn refusal(channel: &TestChannel, exchange: &str) -> String {
    let publish = channel.send_within(Duration::from_secs(2), exchange, "q", "too late");
    let error = block_on(publish).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("right") && !text.contains("other"), "{text}");
    text
}

#[test]
fn a_changed_password_is_waited_out_and_said() {
    each_wake(|wake| {
        for (password, said) in [("right", "WRONGPASS"), ("", "NOAUTH")] {
            let server = match password {
                "" => RedisServer::start(),
                password => RedisServer::options().requirepass(password).start(),
            };
            let mut operator = server.client();
            let rig = Rig::with(&server, woken_by(wake));
            let channel = rig.channel();
            channel.exchange("f", ExchangeKind::Fanout);
            channel.bind("listener", "f", "");
            let listening = channel.consume("listener");
            let inbox = channel.consume("q");
            channel.publish("", "q", "held");
            let held = inbox.take(1).remove(0);
            settled(&server, wake);
            change(&mut operator, "other");
            let text = refusal(&channel, "");
            assert!(text.contains(said), "{text}");
            let patient = channel.send("", "q", "patient");
            let ack = channel.channel.basic_ack(held.tag, false);
            change(&mut operator, password);
            block_on(patient).unwrap();
            block_on(ack).unwrap();
            channel.ack(inbox.take(1)[0].tag).unwrap();
            assert!(eventually(PATIENCE, || channel.publish("f", "", "x") == Some(1)));
            listening.wait(1);
        }
    });
}

/// `ACL SETUSER` takes a right away from connections there are.
#[test]
fn a_right_that_is_taken_away_is_done_without() {
    let server = RedisServer::start();
    let rig = Rig::with(&server, FieldTable::new());
    let channel = rig.channel();
    let inbox = channel.consume("q");
    settled(&server, "blmove");
    server.command(&["ACL", "SETUSER", "default", "-blmove"]);
    let other = Rig::new(&server);
    let publisher = other.channel();
    for number in 0..5 {
        publisher.publish("", "q", number.to_string());
        channel.ack(inbox.take(1)[0].tag).unwrap();
    }
    assert!(eventually(PATIENCE, || !is_waiting(&server)));
    // Now it is told of changes.
    server.command(&["ACL", "SETUSER", "default", "-lpush"]);
    let error = block_on(publisher.send("", "q", "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    server.command(&["ACL", "SETUSER", "default", "+@all"]);
    publisher.publish("", "q", "again");
    inbox.wait(1);
}
