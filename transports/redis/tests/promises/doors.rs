//! Every kind of URL leads to the server it names, as the user it names.

use kombu_brokers::RedisServer;
use kombu_core::{ErrorKind, FieldTable};

use crate::common::{Rig, bodies, options};

#[track_caller]
fn carries_messages(rig: &Rig) {
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "through the door");
    let deliveries = inbox.take(1);
    assert_eq!(bodies(&deliveries), ["through the door"]);
    channel.ack(deliveries[0].tag).unwrap();
}

#[test]
fn a_unix_socket() {
    let server = RedisServer::options().unixsocket().start();
    let path = server.unixsocket().unwrap();
    let path = path.display();
    carries_messages(&Rig::at(&format!("redis+socket://{path}")));
    for (url, db) in
        [(format!("redis+socket://{path}?virtual_host=3"), 3), (format!("unix://{path}?virtual_host=4"), 4)]
    {
        let rig = Rig::at(&url);
        carries_messages(&rig);
        rig.channel().publish("", "kept", "x");
        let mut client = server.client();
        client.command(&["SELECT", &db.to_string()]);
        assert_eq!(client.command(&["LLEN", "kept"]).int(), 1, "{url}");
    }
    assert!(server.keys().is_empty(), "{:?}", server.keys());
}

#[test]
fn valkey_is_redis_by_another_name() {
    let server = RedisServer::start();
    carries_messages(&Rig::at(&format!("valkey://{}/0", server.addr())));
}

#[test]
fn a_database_by_path_and_by_query() {
    let server = RedisServer::start();
    for (url, db) in
        [(format!("redis://{}/2", server.addr()), "2"), (format!("redis://{}?virtual_host=3", server.addr()), "3")]
    {
        Rig::at(&url).channel().publish("", "q", "x");
        let mut client = server.client();
        client.command(&["SELECT", db]);
        assert_eq!(client.command(&["LLEN", "q"]).int(), 1, "{url}");
    }
}

#[test]
fn a_user_with_a_password() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "worker", "on", ">s/cr:t", "~*", "&*", "+@all"]);
    server.command(&["ACL", "SETUSER", "default", "off"]);
    let rig = Rig::at(&format!("redis://worker:s%2Fcr%3At@{}/0", server.addr()));
    carries_messages(&rig);
    let Err(error) = Rig::try_at(&format!("redis://worker:hush@{}/0", server.addr()), FieldTable::new()) else {
        panic!("any password will do")
    };
    assert_eq!(error.kind(), ErrorKind::AccessRefused);
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

#[test]
fn a_user_on_a_unix_socket() {
    let server = RedisServer::options().unixsocket().start();
    server.command(&["ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all"]);
    server.command(&["ACL", "SETUSER", "default", "off"]);
    let path = server.unixsocket().unwrap();
    carries_messages(&Rig::at(&format!("redis+socket://worker:secret@{}", path.display())));
}

#[test]
fn the_system_is_asked_to_probe_idle_sockets() {
    let server = RedisServer::start();
    let probes = options([("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)]);
    let table = FieldTable::from([
        ("socket_keepalive", kombu_core::Value::from(true)),
        ("socket_keepalive_options", kombu_core::Value::Map(probes)),
    ]);
    carries_messages(&Rig::with(&server, table));
}
