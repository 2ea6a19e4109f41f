//! Which threads there are, and what a blocked one costs.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use kombu_brokers::{PATIENCE, RabbitServer, eventually};
use kombu_core::{Connection, IoPlacement, Message, Queue};
use kombu_hub::MioHub;

use crate::common::{Diary, collect, connection, link, wait_for};

/// Counts the threads of this process by name.
fn threads() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // One that ended meanwhile has no name any more.
        if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
            *names.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    names
}

/// Runs the test `name` of this file alone in a process of its own, whose threads are then its own.
fn alone(name: &str) -> bool {
    if std::env::var_os("KOMBU_TEST_ALONE").is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([&format!("threads::{name}"), "--exact", "--nocapture"])
        .env("KOMBU_TEST_ALONE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[test]
fn each_broker_connection_has_one_helper_thread() {
    if !alone("each_broker_connection_has_one_helper_thread") {
        return;
    }
    let server = RabbitServer::shared();
    let before = threads();
    let count = |name: &str| threads().get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
    let new_names = || -> Vec<String> {
        threads()
            .into_iter()
            .filter(|(name, count)| before.get(name).unwrap_or(&0) < count)
            .map(|(name, _)| name)
            .collect()
    };
    let publishing = connection(&server.url());
    publishing.producer().publish("x").routing_key("q").wait().unwrap();
    wait_for("one helper for publishing alone", || count("lapin-io-loop") == 1);
    assert_eq!(new_names(), ["kombu-hub", "lapin-io-loop"]);
    let (consumer, _) = collect(&publishing, &Queue::new("q"));
    publishing.producer().publish("x").routing_key("q").wait().unwrap();
    wait_for("two for both", || count("lapin-io-loop") == 2);
    assert_eq!(new_names(), ["kombu-callbacks", "kombu-hub", "lapin-io-loop"]);
    assert_eq!(server.connections(), 2);
    drop(consumer);
    publishing.close().wait().unwrap();
    drop(publishing);
    wait_for("they go with the connection", || new_names() == ["kombu-hub"]);
    assert_eq!(server.connections(), 0);

    let single = connection(&format!("{}?single_connection=true", server.url()));
    let (_consumer, bodies) = collect(&single, &Queue::new("q"));
    single.producer().publish("y").routing_key("q").wait().unwrap();
    bodies.expect(["y".to_owned()]);
    assert_eq!((count("lapin-io-loop"), server.connections()), (1, 1));
}

#[test]
fn a_blocked_callback_costs_a_dedicated_connection_nothing() {
    link();
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let (done, finished) = mpsc::channel();
    let url = format!("{}?heartbeat=1", vhost.url());
    let working = std::thread::spawn(move || {
        let hub = MioHub::new().unwrap();
        let connection = Connection::builder(&url).io_placement(IoPlacement::Dedicated).build().unwrap();
        connection.register_with_event_loop(&hub).unwrap();
        let diary = Diary::of(&connection);
        let handle = hub.handle();
        let own = std::thread::current().id();
        let _consumer = connection
            .consumer(Queue::new("q"))
            .on_message(move |message: Message| {
                assert_eq!(std::thread::current().id(), own, "callbacks run on the registered hub");
                // Six heartbeats: on the hub itself the connection would be lost.
                std::thread::sleep(Duration::from_secs(6));
                message.ack().wait().unwrap();
                handle.stop();
            })
            .consume()
            .wait()
            .unwrap();
        connection.producer().publish("x").routing_key("q").wait().unwrap();
        hub.run_forever().unwrap();
        connection.close().wait().unwrap();
        done.send((diary.count("disconnected"), diary.text())).unwrap();
    });
    let (lost, diary) = finished.recv_timeout(3 * PATIENCE).unwrap();
    assert_eq!(lost, 0, "{diary}");
    working.join().unwrap();
    assert!(eventually(PATIENCE, || vhost.messages("q") == 0 && vhost.unacknowledged("q") == 0));
}
