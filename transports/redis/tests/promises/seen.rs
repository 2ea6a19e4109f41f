//! What came through a fault, and what wakes the consumer it came to.

use std::collections::BTreeMap;

use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::{FieldTable, Value};

use crate::common::{Inbox, TestChannel, is_waiting};

/// What can wake an idle consumer.
pub(crate) const WAKES: [&str; 3] = ["blmove", "tracking", "brpop"];

/// Runs `test` for each way to wake a consumer, side by side.
pub(crate) fn each_wake(test: impl Fn(&'static str) + Sync) {
    std::thread::scope(|scope| {
        for wake in WAKES {
            let run = || test(wake);
            std::thread::Builder::new().name(wake.into()).spawn_scoped(scope, run).unwrap();
        }
    });
}

/// Options of a connection that is woken by `wake`.
pub(crate) fn woken_by(wake: &str) -> FieldTable {
    FieldTable::from([("wake", Value::from(wake)), ("polling_interval", Value::from(1))])
}

/// The same, of one that soon notices that nothing comes back. On a busy machine it may be mistaken.
pub(crate) fn wary(wake: &str) -> FieldTable {
    let mut options = woken_by(wake);
    options.insert("health_check_interval", 3);
    options
}

/// Waits until a consumer that is woken by `wake` has settled down: it waits, or is told of changes.
#[track_caller]
pub(crate) fn settled(server: &RedisServer, wake: &str) {
    let mut client = server.client();
    let mut stats = || client.command(&["INFO", "commandstats"]).text().to_owned();
    let count = |stats: &str, what: &str| stats.lines().any(|line| line.starts_with(what));
    let came = match wake {
        "tracking" => eventually(PATIENCE, || count(&stats(), "cmdstat_exists:")),
        _ => eventually(PATIENCE, || is_waiting(server)),
    };
    assert!(came, "a consumer with wake={wake} does not wait");
}

/// What came, by body: how often, and how often without saying that it may be a double.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, (u32, u32)>);

impl Seen {
    /// Takes and acknowledges what comes until `count` different messages came.
    #[track_caller]
    pub(crate) fn drain(&mut self, channel: &TestChannel, inbox: &Inbox, count: usize) {
        let whole = eventually(4 * PATIENCE, || {
            self.take(channel, inbox);
            self.0.len() >= count
        });
        assert!(whole, "{} of {count} came: {:?}", self.0.len(), self.0.keys());
    }

    /// Takes and acknowledges what is there.
    pub(crate) fn take(&mut self, channel: &TestChannel, inbox: &Inbox) {
        for delivery in inbox.take(0) {
            let is_marked = delivery.redelivered || delivery.envelope.headers.get("x-republished").is_some();
            let (all, unmarked) =
                self.0.entry(String::from_utf8_lossy(&delivery.envelope.body).into_owned()).or_default();
            *all += 1;
            *unmarked += u32::from(!is_marked);
            drop(channel.channel.basic_ack(delivery.tag, false));
        }
    }

    /// Takes what comes until nothing is left of `queue` on the server, nor unsettled. Fails if that never is, or if a message
    /// came twice without saying so.
    #[track_caller]
    pub(crate) fn finish(&mut self, server: &RedisServer, queue: &str, channel: &TestChannel, inbox: &Inbox) {
        let empty = eventually(2 * PATIENCE, || {
            self.take(channel, inbox);
            server.command(&["EXISTS", "unacked", "unacked_index", queue]).int() == 0
        });
        assert!(empty, "left behind: {:?}", server.keys());
        let doubled: Vec<_> = self.0.iter().filter(|(_, (_, unmarked))| *unmarked > 1).collect();
        assert!(doubled.is_empty(), "doubles that do not say so: {doubled:?}");
    }

    /// Returns how many different messages came.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn has(&self, body: &str) -> bool {
        self.0.contains_key(body)
    }
}
