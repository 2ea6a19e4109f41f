//! A process and its copy, made by `fork`, have the same sockets and the same selector: the copy uses neither, and makes its own.
//!
//! Alone in its file, and so in its process: what other threads hold when it is copied, nobody in the copy gives back.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(unsafe_code, reason = "there is no safe fork")]

use std::collections::HashSet;

use kombu::prelude::*;
use kombu_brokers::{PATIENCE, RedisServer, eventually};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// Publishes through a connection that `hub` turns.
fn publish(hub: &Hub, connection: &Connection, body: &str) -> Result<()> {
    hub.block_on(connection.producer().with_routing_key("q").publish(body).into_future())?.map(drop)
}

/// What the copy does; an error ends the test.
fn copy(hub: Hub, connection: Connection, url: &str) -> std::result::Result<(), String> {
    let error = publish(&hub, &connection, "in the copy, on what it has from its original").unwrap_err();
    if error.kind() != ErrorKind::InvalidState || !error.to_string().contains("forked") {
        return Err(format!("the copy's hub says {error}"));
    }
    // Nobody is told that the original says goodbye.
    drop(connection);
    drop(hub);
    // On the shared hub, whose thread is not in the copy.
    let connection = Connection::new(url).map_err(|error| error.to_string())?;
    let published = connection.producer().with_routing_key("q").publish("in the copy, on its own").wait();
    published.map_err(|error| error.to_string())?;
    connection.close().wait().map_err(|error| error.to_string())
}

#[test]
fn a_copy_of_a_process_leaves_its_connections_alone_and_makes_its_own() {
    let server = RedisServer::start();
    let url = server.url();
    let shared = Connection::new(&url).unwrap();
    shared.producer().with_routing_key("q").publish("before, on the shared hub").wait().unwrap();
    let hub = Hub::new().unwrap();
    let connection = Connection::new(&url).unwrap();
    connection.register_with_event_loop(&hub).unwrap();
    publish(&hub, &connection, "before").unwrap();
    // SAFETY: the copy uses no lock that the only other threads, of the test's harness and the shared hub, may hold now: it makes
    // everything anew, and the allocator sees to itself.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            // Its thread may hold its locks.
            std::mem::forget(shared);
            let done = copy(hub, connection, &url);
            if let Err(error) = &done {
                eprintln!("{error}");
            }
            // The server is the original's.
            std::process::exit(i32::from(done.is_err()));
        }
        ForkResult::Parent { child } => child,
    };
    let mut ended = None;
    let has_ended = eventually(PATIENCE, || {
        ended = Some(waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap());
        ended != Some(WaitStatus::StillAlive)
    });
    assert!(has_ended, "the copy hangs");
    assert_eq!(ended, Some(WaitStatus::Exited(child, 0)));
    // Its sockets and its selector are as they were.
    publish(&hub, &connection, "after").unwrap();
    shared.producer().with_routing_key("q").publish("after, on the shared hub").wait().unwrap();
    let elements = server.command(&["LRANGE", "q", "0", "-1"]);
    let texts = elements.texts();
    assert_eq!(texts.len(), 5, "{texts:?}");
    let tag = |text: &str| text.split(r#""delivery_tag": ""#).nth(1).map(|rest| rest[..36].to_owned()).unwrap();
    let tags: HashSet<String> = texts.iter().map(|text| tag(text)).collect();
    assert_eq!(tags.len(), 5, "no two have one tag");
    hub.block_on(connection.close()).unwrap().unwrap();
}
