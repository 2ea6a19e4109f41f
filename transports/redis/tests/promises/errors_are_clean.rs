//! What goes wrong is said in one line, of the right kind, without a password.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use kombu_brokers::{RedisServer, free_port};
use kombu_core::method::BasicPublish;
use kombu_core::{Error, ErrorKind, ExchangeKind, FieldTable};

use crate::common::{Rig, block_on, envelope};

#[track_caller]
fn failure(url: &str) -> Error {
    let Err(error) = Rig::try_at(url, FieldTable::new()) else { panic!("{url} can be connected to") };
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hush"), "{text}");
    assert!(!error.to_string().contains('\n'), "{text}");
    error
}

#[test]
fn nobody_listens() {
    let error = failure(&format!("redis://:hush@127.0.0.1:{}/0", free_port()));
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn wrong_and_missing_passwords() {
    let server = RedisServer::options().requirepass("right").start();
    for url in ["redis://:hush@", "redis://me:hush@", "redis://"] {
        assert_eq!(failure(&format!("{url}{}/0", server.addr())).kind(), ErrorKind::AccessRefused, "{url}");
    }
    Rig::at(&server.url()).close().unwrap();
}

#[test]
fn a_database_out_of_range() {
    let server = RedisServer::start();
    assert_eq!(failure(&format!("redis://{}/99", server.addr())).kind(), ErrorKind::InvalidArgument);
}

#[test]
fn no_redis_at_the_other_end() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            stream
        });
        let error = failure(&format!("redis://:hush@{addr}/0"));
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        drop(thread.join().unwrap());
    }
}

#[test]
fn a_name_nobody_knows() {
    assert_eq!(failure("redis://no-such-host.invalid/0").kind(), ErrorKind::ConnectionLost);
}

#[test]
fn unix_sockets_carry_messages_too() {
    let server = RedisServer::options().unixsocket().start();
    let path = server.unixsocket().unwrap();
    let rig = Rig::at(&format!("redis+socket://{}", path.display()));
    rig.channel().publish("", "q", "x");
    assert_eq!(server.command(&["LLEN", "q"]).int(), 1);
    assert_eq!(failure("redis+socket:///no/such/socket").kind(), ErrorKind::ConnectionLost);
}

#[test]
fn a_full_server_refuses_publishes_and_lets_consumers_go_on() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    for number in 0..10 {
        channel.publish("", "q", number.to_string());
    }
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = block_on(channel.send("", "q", "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(error.outcome(), Some(kombu_core::Outcome::NotSent));
    let inbox = channel.consume("q");
    for delivery in inbox.take(10) {
        channel.ack(delivery.tag).unwrap();
    }
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    channel.publish("", "q", "again");
    inbox.wait(1);
}

#[test]
fn an_exchange_declared_otherwise_is_refused() {
    let server = RedisServer::start();
    let (one, two) = (Rig::new(&server), Rig::new(&server));
    one.channel().exchange("e", ExchangeKind::Direct);
    let error = two.channel().try_exchange("e", ExchangeKind::Topic).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    assert_eq!((error.context("exchange"), error.context("argument")), (Some("e"), Some("type")), "{error}");
}

#[test]
fn a_server_that_takes_no_writes_is_named_when_time_is_up() {
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    server.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let method = BasicPublish { timeout: Some(Duration::from_secs(2)), ..BasicPublish::default() };
    let error = block_on(channel.channel.basic_publish(method, envelope("", "q", "x"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    // It is looked for again and again, not in a hurry.
    server.command(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(channel.publish("", "q", "y"), Some(1));
}
