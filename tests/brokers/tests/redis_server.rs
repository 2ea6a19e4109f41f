//! Real Redis servers: their own port and directory, restarts, what the client and the monitor see.

use std::thread;

use kombu_brokers::{ChildProcess, PATIENCE, RedisClient, RedisServer, Reply, eventually};
use serde_json::json;

#[test]
fn a_server_answers_and_is_gone_when_dropped() {
    let server = RedisServer::start();
    assert_eq!(server.command(&["PING"]).text(), "PONG");
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/0", server.port()));
    let (addr, folder) = (server.addr(), server.folder().to_owned());
    drop(server);
    assert!(RedisClient::connect(addr, None).is_err());
    assert!(!folder.exists());
}

#[test]
fn many_servers_run_side_by_side() {
    let starts: Vec<_> = (0..8).map(|_| thread::spawn(RedisServer::start)).collect();
    let servers: Vec<RedisServer> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    for (index, server) in servers.iter().enumerate() {
        server.command(&["SET", "index", &index.to_string()]);
    }
    for (index, server) in servers.iter().enumerate() {
        assert_eq!(server.command(&["GET", "index"]).text(), index.to_string());
    }
}

#[test]
fn data_outlive_kill_and_stop_when_written_to_disk() {
    let mut server = RedisServer::options().appendonly().start();
    let (port, pid) = (server.port(), server.pid());
    server.command(&["RPUSH", "list", "one"]);
    server.kill();
    assert_eq!(server.pid(), None);
    assert!(RedisClient::connect(server.addr(), None).is_err(), "nobody listens in between");
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    server.command(&["RPUSH", "list", "two"]);
    server.stop();
    server.restart();
    assert_eq!(server.command(&["LRANGE", "list", "0", "-1"]).texts(), ["one", "two"]);
    server.restart();
    assert_eq!(server.command(&["LLEN", "list"]).int(), 2, "restart stops a running server first");
}

#[test]
fn data_are_gone_after_a_restart_by_default() {
    let mut server = RedisServer::start();
    server.command(&["SET", "key", "value"]);
    server.restart();
    assert_eq!(server.keys(), [] as [&str; 0]);
}

#[test]
fn a_password_is_asked_for_and_in_the_url() {
    let server = RedisServer::options().requirepass("secret").start();
    assert_eq!(server.command(&["PING"]).text(), "PONG");
    assert_eq!(server.url(), format!("redis://:secret@127.0.0.1:{}/0", server.port()));
    let mut stranger = RedisClient::connect(server.addr(), None).unwrap();
    assert!(stranger.try_command(&["PING"]).unwrap().error().unwrap().starts_with("NOAUTH"));
    let refused = RedisClient::connect(server.addr(), Some("wrong")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_unix_socket_and_other_arguments_are_passed_on() {
    use std::io::{Read, Write};
    let server = RedisServer::options().unixsocket().args(["--maxmemory", "7mb"]).start();
    assert_eq!(server.command(&["CONFIG", "GET", "maxmemory"]).texts(), ["maxmemory", "7340032"]);
    let mut socket = std::os::unix::net::UnixStream::connect(server.unixsocket().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_missing_program_is_an_error_that_says_how_to_install_it() {
    let error = RedisServer::options().binary("kombu-no-redis-server").try_start().unwrap_err().to_string();
    assert!(error.contains("`kombu-no-redis-server` is not installed"), "{error}");
    assert!(error.contains("apt-get install redis-server"), "{error}");
}

#[test]
fn a_server_that_ends_at_once_shows_its_log() {
    let error = RedisServer::options().args(["--no-such-option", "1"]).try_start().unwrap_err().to_string();
    assert!(error.contains("ended at once"), "{error}");
    assert!(error.contains("no-such-option"), "{error}");
}

#[test]
fn bytes_and_every_kind_of_reply_arrive_unchanged() {
    let server = RedisServer::start();
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n$-1\r\n").collect();
    server.command::<&[u8]>(&[b"SET", b"key", &bytes]);
    assert_eq!(server.command(&["GET", "key"]).bytes(), bytes);
    assert!(server.command(&["GET", "missing"]).is_nil());
    assert_eq!(server.command(&["STRLEN", "key"]), Reply::Int(263));
    let refusal = server.client().try_command(&["LPUSH", "key", "x"]).unwrap();
    assert!(refusal.error().unwrap().starts_with("WRONGTYPE"));
    let nested = server.command(&["EVAL", "return {1, {'two', false}, redis.status_reply('three')}", "0"]);
    let inner = Reply::Array(vec![Reply::Bulk(b"two".to_vec()), Reply::Nil]);
    assert_eq!(nested, Reply::Array(vec![Reply::Int(1), inner, Reply::Status("three".into())]));
    server.flushall();
    assert_eq!(server.keys(), [] as [&str; 0]);
}

#[test]
fn the_monitor_hears_every_command_in_order() {
    let server = RedisServer::start();
    let mut monitor = server.monitor();
    for index in 0..200 {
        server.command(&["RPUSH", "list", &index.to_string()]);
    }
    server.command::<&[u8]>(&[b"SET", b"a \"quoted\" key", b"\x00\xff\n"]);
    server.command(&["EVAL", "return redis.call('GET', 'k')", "0"]);
    let heard = monitor.take();
    assert_eq!(heard.len(), 203);
    assert!((0..200).all(|index| heard[index].texts() == ["RPUSH", "list", &index.to_string()]));
    assert_eq!(heard[200].args, [&b"SET"[..], b"a \"quoted\" key", b"\x00\xff\n"]);
    assert_eq!((heard[202].name(), heard[202].client.as_str()), ("GET".into(), "lua"));
    assert_eq!(monitor.take(), [], "what was taken is not given again");
}

#[test]
fn a_paused_server_is_silent_until_resumed() {
    let server = RedisServer::start();
    let mut client = server.client();
    server.pause();
    client.send(&["PING"]).unwrap();
    server.resume();
    assert_eq!(client.recv().unwrap().text(), "PONG");
}

#[test]
fn a_killed_test_takes_its_server_with_it() {
    // A killed test cannot remove its directories, so they are put into one of ours.
    let folder = tempfile::tempdir().unwrap();
    let mut test = ChildProcess::this_test("victim").env("TMPDIR", folder.path()).spawn();
    let said = test.recv_json(PATIENCE);
    let addr = said["addr"].as_str().unwrap().parse().unwrap();
    assert!(RedisClient::connect(addr, None).is_ok());
    test.kill();
    assert!(eventually(PATIENCE, || RedisClient::connect(addr, None).is_err()), "the server outlived its test");
}

#[test]
#[ignore = "run by a_killed_test_takes_its_server_with_it"]
fn victim() {
    let server = RedisServer::start();
    println!("{}", json!({"addr": server.addr().to_string()}));
    thread::sleep(std::time::Duration::from_secs(600));
}
