//! Which threads there are, and what a blocked one costs.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use kombu_brokers::{FaultProxy, PATIENCE, RabbitServer, eventually};
use kombu_core::{Connection, ErrorKind, IoPlacement, Message, Queue};
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

/// What needs a process to itself, one after the other, so that it takes one process and one node.
#[test]
fn a_process_has_the_threads_and_the_log_it_should() {
    if !alone("a_process_has_the_threads_and_the_log_it_should") {
        return;
    }
    each_broker_connection_has_one_helper_thread();
    no_helper_outlives_its_hub_or_an_attempt_that_is_given_up();
    a_callback_that_blocks_too_long_is_told_in_the_log();
}

fn each_broker_connection_has_one_helper_thread() {
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

fn no_helper_outlives_its_hub_or_an_attempt_that_is_given_up() {
    link();
    let server = RabbitServer::shared();
    let helpers = || threads().get("lapin-io-loop").copied().unwrap_or(0);
    wait_for("those before are gone", || helpers() == 0);
    for round in 0..3 {
        let hub = MioHub::new().unwrap();
        let connection = connection(&server.url());
        connection.register_with_event_loop(&hub).unwrap();
        connection.connect().wait().unwrap();
        assert_eq!(helpers(), 1, "round {round}");
        drop(hub);
        wait_for("the helper goes with the hub", || helpers() == 0);
        drop(connection);
    }
    // Somebody listens and says nothing.
    let proxy = FaultProxy::start(server.addr());
    proxy.blackhole_both();
    let url = server.url_at(proxy.addr());
    let silent = Connection::builder(&url).connect_timeout(Duration::from_millis(200)).build().unwrap();
    let error = silent.connect().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    wait_for("the helper goes with the attempt", || helpers() == 0);
    // Nobody listens.
    proxy.refuse();
    let nobody = Connection::builder(&url).connect_timeout(Duration::from_millis(200)).build().unwrap();
    assert!(nobody.connect().wait().is_err());
    wait_for("the helper goes with the attempt", || helpers() == 0);
    wait_for("nothing is left at the broker", || server.connections() == 0);
}

fn a_callback_that_blocks_too_long_is_told_in_the_log() {
    link();
    let log = Log::default();
    let writing = log.clone();
    tracing_subscriber::fmt().with_writer(move || writing.clone()).init();
    let vhost = RabbitServer::shared().vhost();
    let hub = MioHub::new().unwrap();
    let connection = connection(&format!("{}?heartbeat=2", vhost.url()));
    connection.register_with_event_loop(&hub).unwrap();
    connection.connect().wait().unwrap();
    hub.call_soon(|_| std::thread::sleep(Duration::from_millis(2500)));
    let deadline = std::time::Instant::now() + PATIENCE;
    while !log.text().contains("half a heartbeat") && std::time::Instant::now() < deadline {
        hub.run_once(Some(Duration::from_millis(50))).unwrap();
    }
    assert!(log.text().contains("IoPlacement::Dedicated"), "{}", log.text());
    connection.close().wait().unwrap();
    let before = log.text().len();
    for _ in 0..20 {
        let connection = crate::common::connection(&vhost.url());
        connection.producer().publish("x").routing_key("q").wait().unwrap();
        connection.close().wait().unwrap();
    }
    assert!(!log.text()[before..].contains("ERROR"), "what ends in good order is no error: {}", log.text());
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
