//! A wrong URL, password, database or port gives one clear line, without the password.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

use kombu::prelude::*;
use kombu_brokers::{RabbitServer, RedisServer};

/// Connects and returns the one-line error.
fn failure(url: &str) -> Error {
    let connection = match Connection::builder(url).connect_timeout(std::time::Duration::from_millis(500)).build() {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    connection.connect().wait().expect_err("nothing to connect to")
}

#[track_caller]
fn assert_clear(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(!text.contains('\n'), "one line: {text}");
    assert!(!format!("{text}{error:?}").contains("hush"), "the password shows: {text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[test]
fn an_unknown_scheme_lists_what_there_is() {
    assert_clear(
        &failure("redsi://localhost"),
        ErrorKind::UnknownTransport,
        &["redsi", "memory", "redis", "did you mean `redis`"],
    );
    assert_clear(&failure("ftp://hush@localhost"), ErrorKind::UnknownTransport, &["ftp", "amqp", "memory", "redis"]);
}

#[test]
fn text_that_is_no_url_is_named() {
    for text in ["", "localhost", "localhost:6379", "redis:/localhost", "redis://:hush@host:port/0"] {
        assert_clear(&failure(text), ErrorKind::InvalidArgument, &["broker URL"]);
    }
}

#[test]
fn unknown_options_are_named_with_the_nearest() {
    assert_clear(
        &failure("redis://localhost/0?visibilty_timeout=5"),
        ErrorKind::InvalidArgument,
        &["visibilty_timeout", "visibility_timeout"],
    );
    assert_clear(
        &failure("redis://localhost/0?visibility_timeout=soon"),
        ErrorKind::InvalidArgument,
        &["visibility_timeout", "soon"],
    );
    assert_clear(&failure("redis://localhost/notanumber"), ErrorKind::InvalidArgument, &["notanumber"]);
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let port = kombu_brokers::free_port();
    let port_text = port.to_string();
    assert_clear(
        &failure(&format!("redis://me:hush@127.0.0.1:{port}/0")),
        ErrorKind::ConnectionLost,
        &["127.0.0.1", &port_text, "refused"],
    );
}

#[test]
fn a_wrong_password_is_refused_at_once() {
    let server = RedisServer::options().requirepass("hush").start();
    let port = server.port();
    assert_clear(&failure(&format!("redis://:hush-not@127.0.0.1:{port}/0")), ErrorKind::AccessRefused, &["127.0.0.1"]);
    assert_clear(&failure(&format!("redis://127.0.0.1:{port}/0")), ErrorKind::AccessRefused, &["127.0.0.1"]);
    let right = Connection::new(&format!("redis://:hush@127.0.0.1:{port}/0")).unwrap();
    right.connect().wait().unwrap();
}

#[test]
fn a_database_that_does_not_exist_is_named() {
    let server = RedisServer::start();
    assert_clear(&failure(&format!("redis://127.0.0.1:{}/99", server.port())), ErrorKind::InvalidArgument, &["99"]);
}

#[test]
fn a_port_where_something_else_answers_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(8).flatten() {
            use std::io::Write;
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    assert_clear(&failure(&format!("redis://127.0.0.1:{port}/0")), ErrorKind::Protocol, &["Redis"]);
    let other = failure(&format!("amqp://me:hush@127.0.0.1:{port}/"));
    assert_clear(&other, ErrorKind::Protocol, &["127.0.0.1", &port.to_string()]);
}

#[test]
fn a_wrong_password_or_virtual_host_of_rabbitmq_is_refused_at_once() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let (addr, port) = (server.addr(), server.port().to_string());
    let wrong = vhost.url_for("guest", "hush-not", addr);
    assert_clear(&failure(&wrong), ErrorKind::AccessRefused, &["127.0.0.1", &port]);
    let unknown = vhost.url_for("nobody", "hush", addr);
    assert_clear(&failure(&unknown), ErrorKind::AccessRefused, &["127.0.0.1", &port]);
    server.add_user("stranger", "hush");
    let forbidden = vhost.url_for("stranger", "hush", addr);
    assert_clear(&failure(&forbidden), ErrorKind::AccessRefused, &["127.0.0.1", vhost.name()]);
    let missing = format!("amqp://guest:guest@{addr}/no-such-vhost");
    assert_clear(&failure(&missing), ErrorKind::AccessRefused, &["127.0.0.1", "no-such-vhost"]);
    Connection::new(&vhost.url()).unwrap().connect().wait().unwrap();
}

#[test]
fn a_port_where_no_rabbitmq_listens_is_named() {
    let port = kombu_brokers::free_port();
    let port_text = port.to_string();
    assert_clear(
        &failure(&format!("amqp://me:hush@127.0.0.1:{port}/%2F")),
        ErrorKind::ConnectionLost,
        &["127.0.0.1", &port_text, "refused"],
    );
    let rabbit = RabbitServer::shared();
    assert_clear(&failure(&format!("redis://127.0.0.1:{}/0", rabbit.port())), ErrorKind::Protocol, &["Redis"]);
}

#[test]
fn unknown_options_of_amqp_are_named_with_the_nearest() {
    let failure = |query: &str| failure(&format!("amqp://me:hush@localhost/%2F?{query}"));
    assert_clear(&failure("hartbeat=5"), ErrorKind::InvalidArgument, &["hartbeat", "heartbeat"]);
    assert_clear(&failure("heartbeat=soon"), ErrorKind::InvalidArgument, &["heartbeat", "soon"]);
    assert_clear(&failure("login_method=MAGIC"), ErrorKind::InvalidArgument, &["login_method", "MAGIC"]);
    assert_clear(&failure("confirm_publish=false"), ErrorKind::Unsupported, &["confirm_publish"]);
}
