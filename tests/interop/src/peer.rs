//! A Python Kombu that does what it is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kombu_brokers::{ChildProcess, PythonKombu, PythonProcess};
use serde_json::{Value, json};

/// A Python process with Kombu, driven by requests in JSON; `python/peer.py` describes them.
///
/// # Example
///
/// ```no_run
/// use kombu_brokers::RedisServer;
/// use kombu_interop::Peer;
/// use serde_json::json;
///
/// let server = RedisServer::start();
/// let mut peer = Peer::connect(&server.url());
/// peer.ask(json!({"do": "declare", "queue": {"name": "orders"}}));
/// let body = json!({"kind": "json", "value": {"id": 1}});
/// peer.ask(json!({"do": "publish", "routing_key": "orders", "body": body}));
/// let answer = peer.ask(json!({"do": "consume", "queue": "orders"}));
/// assert_eq!(answer["messages"][0]["body"], body);
/// ```
#[derive(Debug)]
pub struct Peer(PythonProcess);

impl Peer {
    /// Starts a peer that is not connected yet.
    ///
    /// # Panics
    ///
    /// When Python or its packages are missing.
    pub fn start() -> Self {
        Peer(PythonKombu::shared().spawn(script("peer.py"), &[]))
    }

    /// Starts a peer and connects it to `url`.
    ///
    /// # Panics
    ///
    /// As [`start`](Peer::start), and when the connection fails.
    pub fn connect(url: &str) -> Self {
        let mut peer = Self::start();
        peer.ask(json!({"do": "connect", "url": url}));
        peer
    }

    /// Sends `request` and returns its answer.
    ///
    /// # Panics
    ///
    /// When the answer is an error, or none comes within 90 seconds; the peer itself gives up after 60.
    #[track_caller]
    pub fn ask(&mut self, request: Value) -> Value {
        self.send(&request);
        let answer = self.recv();
        assert!(answer["ok"] == true, "the peer could not do {request}:\n{}", show(&answer));
        answer
    }

    /// Sends `request`, which must fail, and returns the error: `type`, `message`, `traceback`.
    ///
    /// # Panics
    ///
    /// When the answer is no error, or none comes within 90 seconds.
    #[track_caller]
    pub fn ask_error(&mut self, request: Value) -> Value {
        self.send(&request);
        let mut answer = self.recv();
        assert!(answer["ok"] == false, "the peer should not have done {request}: {answer}");
        answer["error"].take()
    }

    /// Sends `request` without waiting for its answer.
    ///
    /// # Panics
    ///
    /// When the peer has ended.
    pub fn send(&mut self, request: &Value) {
        self.0.send(request);
    }

    /// Returns the next answer or event.
    ///
    /// # Panics
    ///
    /// When none comes within 90 seconds.
    #[track_caller]
    pub fn recv(&mut self) -> Value {
        self.0.recv(PATIENCE)
    }

    /// Returns the next answer or event, or `None` when none comes within `patience` or the peer has ended.
    pub fn try_recv(&mut self, patience: Duration) -> Option<Value> {
        self.0.try_recv(patience)
    }

    /// Ends a `stress_consume` and returns the events that were still under way, and its answer as the last.
    ///
    /// # Panics
    ///
    /// When the peer does not answer within 90 seconds.
    pub fn stop(&mut self) -> Vec<Value> {
        self.send(&json!({"do": "stop"}));
        let mut said = Vec::new();
        loop {
            said.push(self.recv());
            if said.last().is_some_and(|last| last.get("ok").is_some()) {
                return said;
            }
        }
    }

    /// Kills the peer with `kill -9`: nothing is given back, nothing is closed.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Returns the process: its identifier, pause and resume.
    pub fn process(&mut self) -> &mut ChildProcess {
        self.0.process()
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

fn show(answer: &Value) -> &str {
    answer["error"]["traceback"].as_str().unwrap_or("no answer")
}

// Longer than the peer's own patience, so that its report of where it hung arrives.
const PATIENCE: Duration = Duration::from_secs(90);
