//! Child processes: another process that uses the same broker, and may be killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{Failure, Verdict};
use crate::ground::{Address, Ground};

/// Tells a process that it is a child, and what to do: URL, queue and number of messages, one a line.
const VARIABLE: &str = "KOMBU_CONFORMANCE_CHILD";

/// A process takes its time to start where others do.
const LEAST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A process that holds messages. Killed when dropped.
pub(crate) struct Holder {
    child: Child,
    lines: Receiver<String>,
}

impl Holder {
    /// Starts a process that consumes `queue` and holds `count` messages.
    pub(crate) fn start(bench: &Bench, queue: &str, count: u16) -> Verdict<Self> {
        let failed = |error: std::io::Error| Failure::new(format!("no child process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .env(VARIABLE, format!("{}\n{queue}\n{count}", bench.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| Failure::new("the child has no output"))?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Holder { child, lines })
    }

    /// Waits for the line that begins with `word` and returns the rest of it.
    pub(crate) fn line(&self, bench: &Bench, word: &str) -> Verdict<String> {
        let mut found = None;
        let patience = bench.patience().max(LEAST_PATIENCE);
        bench.wait_by_machine(patience, &format!("the child's `{word}`"), &mut || {
            while let Ok(line) = self.lines.try_recv() {
                if let Some(rest) = line.strip_prefix(word) {
                    found = Some(rest.trim().to_owned());
                }
            }
            found.is_some()
        })?;
        found.ok_or_else(|| Failure::new("the child said nothing"))
    }

    /// Kills it, without a chance to say goodbye.
    pub(crate) fn kill(&mut self) {
        // One that is gone already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says whether this process is a check's child: it must not run a suite of its own.
pub(crate) fn is_child() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// In a process that a check started: does the child's part, until its standard input closes, and does not return.
pub(crate) fn serve(ground: &Ground) {
    let Ok(order) = std::env::var(VARIABLE) else { return };
    let is_mine = |scheme: &&str| order.starts_with(&format!("{scheme}://"));
    if !ground.entry.schemes.iter().any(is_mine) {
        return;
    }
    static CHILD: Check = Check::new(Group::Lifecycle, "child", |_| Ok(()));
    let mut lines = order.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let (url, queue, count) = (next(), next(), next().parse().unwrap_or(1));
    let ground = Arc::new(Ground { address: Address::Shared(url), is_manual: false, ..ground.clone() });
    let ended =
        Bench::new(ground, &CHILD, None, Arc::new(Mutex::default())).and_then(|bench| hold(&bench, &queue, count));
    if let Err(failure) = ended {
        eprintln!("child: {failure}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

fn hold(bench: &Bench, queue: &str, count: u16) -> Verdict {
    let lane = bench.channel()?;
    lane.qos(count, false)?;
    let consumed = lane.consume(&queue.into())?;
    bench.wait_until("the messages to hold", || consumed.sink.len() >= usize::from(count))?;
    // Not by a macro, whose output a test harness keeps to itself.
    writeln!(std::io::stdout(), "held {count}")
        .map_err(|error| Failure::new(format!("nobody listens to the child: {error}")))?;
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        // The end of the input, or of the parent, is the end of this process.
        let _ = std::io::stdin().lines().last();
        let _ = sender.send(());
    });
    while ended.try_recv().is_err() {
        bench.turn()?;
    }
    bench.clean_up();
    Ok(())
}
