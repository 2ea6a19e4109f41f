//! What the processes did, from the files they wrote, and what may not be in there.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file one process writes what it did into. Each line is one write, so that it is there when the process is killed.
pub(crate) struct Pen(Mutex<File>);

impl Pen {
    pub(crate) fn new(path: &str) -> Self {
        Pen(Mutex::new(OpenOptions::new().create(true).append(true).open(path).unwrap()))
    }

    pub(crate) fn write(&self, what: &str, id: &str, how: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        self.0.lock().unwrap().write_all(format!("{what} {now} {id} {how}\n").as_bytes()).unwrap();
    }
}

/// What is known of one message.
#[derive(Debug, Default)]
struct Known {
    confirmed: bool,
    /// Each time it was received: when, and whether it says that it may be a double.
    received: Vec<(u128, bool)>,
    /// Whether somebody began to acknowledge it. Killed before the answer, nobody knows whether that was done.
    is_handled: bool,
    /// Each time its acknowledgement was confirmed: whether it was a repeated publish.
    acked: Vec<bool>,
}

/// What all processes did.
#[derive(Debug, Default)]
pub(crate) struct Journal(BTreeMap<String, Known>);

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) confirmed: usize,
    pub(crate) received: usize,
    /// How many came more than once, all saying so.
    pub(crate) doubled: usize,
    pub(crate) by_python: usize,
}

impl Journal {
    /// Reads every file of `folder`.
    pub(crate) fn read(folder: &Path) -> (Self, Counts) {
        let mut all: BTreeMap<String, Known> = BTreeMap::new();
        let mut counts = Counts { confirmed: 0, received: 0, doubled: 0, by_python: 0 };
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            // The last line of one that was killed may be cut off.
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [what, at, id, how] = words[..] else { panic!("{line:?} in {:?}", file.path()) };
                let at = at.parse().unwrap();
                let known = all.entry(id.to_owned()).or_default();
                let is_repeated = how.contains("republished");
                match what {
                    "confirmed" => known.confirmed = true,
                    "received" => {
                        let may_be_double = is_repeated || how.contains("redelivered");
                        known.received.push((at, may_be_double));
                        counts.by_python += usize::from(file.file_name().to_string_lossy().starts_with("python"));
                    }
                    "acking" => known.is_handled = true,
                    "acked" => known.acked.push(is_repeated),
                    "refused" | "requeued" | "lost" => {}
                    other => panic!("{other:?} in {:?}", file.path()),
                }
            }
        }
        counts.confirmed = all.values().filter(|known| known.confirmed).count();
        counts.received = all.values().map(|known| known.received.len()).sum();
        counts.doubled = all.values().filter(|known| known.received.len() > 1).count();
        (Journal(all), counts)
    }

    /// Returns the confirmed messages that nobody has received and acknowledged.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let is_done = |known: &Known| known.is_handled && !known.received.is_empty();
        let missing = self.0.iter().filter(|(_, known)| known.confirmed && !is_done(known));
        missing.map(|(id, _)| id.as_str()).collect()
    }

    /// Returns what may not be: doubles that do not say so, and messages that could be acknowledged twice.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (id, known) in &self.0 {
            let unmarked = known.received.iter().filter(|(_, may_be_double)| !may_be_double).count();
            if unmarked > 1 {
                faults.push(format!("{id} came {unmarked} times without saying that it may be a double: {known:?}"));
            }
            // A publish that was repeated is several messages; the first of them is one, and is acknowledged once. One that stood
            // still for longer than its lease may look at a message that somebody else has acknowledged meanwhile, but not
            // acknowledge it.
            if known.acked.iter().filter(|is_repeated| !**is_repeated).count() > 1 {
                faults.push(format!("{id} came again after it was acknowledged: {known:?}"));
            }
        }
        faults
    }
}
