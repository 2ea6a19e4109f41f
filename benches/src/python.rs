//! Python Kombu in a process of its own, one measurement at a time.

use std::path::Path;
use std::time::Duration;

use kombu_brokers::{PythonKombu, PythonProcess, Script};
use serde_json::{Value, json};

use crate::bodies::Bodies;
use crate::sample::Sample;

/// A Python process with one Kombu connection.
pub struct Peer {
    process: PythonProcess,
    /// Which Kombu on which Python.
    pub versions: String,
    /// Whether this Kombu can send publishes in batches on this transport.
    pub has_batches: bool,
}

impl Peer {
    /// Starts it and connects it to `url`.
    ///
    /// # Panics
    ///
    /// When Python or Kombu cannot be had.
    pub fn start(url: &str, bodies: &Bodies) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/kombu_peer.py");
        let mut process = PythonKombu::shared().spawn(Script::Path(script), &[]);
        let hello = process.ask(&json!({"url": url, "bodies": bodies.texts()}), PATIENCE);
        let text = |name: &str| hello[name].as_str().unwrap_or("?").to_owned();
        Peer {
            versions: format!("Kombu {} on Python {}", text("kombu"), text("python")),
            has_batches: hello["batch"] == true,
            process,
        }
    }

    /// Publishes `count` messages `via` the `named` exchange, the `default` exchange, or in a `batch`.
    pub fn publish(&mut self, via: &str, count: u64) -> Sample {
        self.measure(count, json!({"do": "publish", "via": via, "count": count}))
    }

    /// Consumes and acknowledges `count` messages.
    pub fn consume(&mut self, count: u64) -> Sample {
        self.measure(count, json!({"do": "consume", "prefetch": 256, "count": count}))
    }

    fn measure(&mut self, count: u64, command: Value) -> Sample {
        let answer = self.process.ask(&command, PATIENCE);
        let number = |name: &str| answer[name].as_f64().expect("a number");
        Sample { count, seconds: number("seconds"), cpu: number("cpu") }
    }
}

const PATIENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use kombu_brokers::{RabbitServer, RedisServer};

    use super::*;

    #[test]
    fn the_peer_measures_each_way() {
        let server = RedisServer::start();
        let vhost = RabbitServer::shared().vhost();
        let bodies = Bodies::new(100);
        for url in ["memory://", &server.url(), &vhost.url()] {
            let mut peer = Peer::start(url, &bodies);
            let batch = peer.has_batches.then_some("batch");
            for via in ["named", "default"].into_iter().chain(batch) {
                for sample in [peer.publish(via, 300), peer.consume(300)] {
                    assert!(sample.count == 300 && sample.rate() > 0.0, "{url} {via}: {sample:?}");
                }
            }
        }
    }
}
