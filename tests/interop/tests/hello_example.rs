//! The program of the front page, run as it is, with Python at the other end of its queue.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{ChildProcess, PATIENCE, Peer, RedisServer, eventually};
use serde_json::json;

/// Builds the example, as the tests were built, so that nothing else is built anew, and returns its executable.
fn hello() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = ChildProcess::command(cargo);
    // What cargo says of this test's package is news to the build scripts of dependencies, which would all be built anew.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name.to_string_lossy().starts_with("CARGO_MANIFEST_") {
            build = build.env_remove(name);
        }
    }
    let mut build = build
        .args(["build", "--quiet", "--workspace", "--all-features", "--example", "hello", "--message-format", "json"])
        .arg("--manifest-path")
        .arg(manifest)
        .spawn();
    let mut built = None;
    while let Some(line) = build.try_recv_json(PATIENCE * 30) {
        let is_hello = line["target"]["name"] == "hello" && line["executable"].is_string();
        built = if is_hello { line["executable"].as_str().map(PathBuf::from) } else { built };
    }
    assert!(build.wait(PATIENCE).success(), "{}", build.stderr());
    built.unwrap()
}

#[test]
fn python_takes_and_gives_what_the_hello_program_does() {
    let server = RedisServer::start();
    let mut python = Peer::connect(&server.url());
    let mut hello = ChildProcess::command(hello().to_string_lossy()).args([&server.url(), "--count", "2"]).spawn();
    assert_eq!(hello.recv_line(PATIENCE), "received: \"hello world\"");
    // The program has bound its queue; Python finds it by the exchange.
    python.ask(json!({"do": "declare", "exchange": {"name": "asynt_exchange", "type": "direct"}}));
    let body = json!({"kind": "text", "value": "hello from Python"});
    python
        .ask(json!({"do": "publish", "exchange": "asynt_exchange", "routing_key": "asynt_routing_key", "body": body}));
    let said = std::iter::repeat_with(|| hello.recv_line(PATIENCE)).find(|line| line != " kombu ");
    assert_eq!(said.as_deref(), Some("received: \"hello from Python\""));
    assert!(hello.wait(PATIENCE).success(), "{}", hello.stderr());
    let left = || common::messages_left(&server);
    assert!(eventually(PATIENCE, || left().is_empty()), "{:?}", left());
}
