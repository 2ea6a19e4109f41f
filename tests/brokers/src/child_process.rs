//! A program that a test talks to line by line.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::child_command::ChildCommand;
use crate::leash::{Leash, signal};
use crate::patience::{PATIENCE, eventually};

/// A running program: its standard input and output are a conversation in lines, its standard error is kept for messages.
///
/// It is killed with `kill -9` when this value is dropped, and also when the test process itself is killed: a guard process
/// waits for our end of a pipe to close and then kills the program's whole process group, children of the program
/// included. Only a descendant that leaves the group (a daemon) escapes.
///
/// # Example
///
/// ```
/// use kombu_brokers::{ChildProcess, PATIENCE};
///
/// let mut cat = ChildProcess::command("cat").spawn();
/// cat.send_line("hello");
/// assert_eq!(cat.recv_line(PATIENCE), "hello");
/// ```
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    folder: TempDir,
    leash: Option<Leash>,
}

impl ChildProcess {
    /// Begins the description of a program to run: a path, or a name to look up in `PATH`.
    pub fn command(program: impl Into<String>) -> ChildCommand {
        ChildCommand::new(program)
    }

    /// Begins the description of a child that runs one test function of the running test executable again, alone.
    ///
    /// The function must be marked `#[ignore]`, so that the ordinary run leaves it out, and named with its modules
    /// (`killed::victim`). It talks through its standard input and output; the lines of the test harness itself never begin
    /// with `{`, so [`recv_json`](ChildProcess::recv_json) skips them.
    pub fn this_test(name: &str) -> ChildCommand {
        ChildCommand::this_test(name)
    }

    /// Returns the process identifier, which is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes `line` and a line end to the program's standard input.
    ///
    /// # Panics
    ///
    /// When the program no longer reads.
    pub fn send_line(&mut self, line: &str) {
        if let Err(error) = self.try_send_line(line) {
            self.fail(&format!("does not read its input ({error})"));
        }
    }

    /// Writes `line` and a line end to the program's standard input.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the program no longer reads, or its input was closed here.
    pub fn try_send_line(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(line.as_bytes())?;
        stdin.write_all(b"\n")?;
        stdin.flush()
    }

    /// Writes `value` as one line.
    ///
    /// # Panics
    ///
    /// When the program no longer reads.
    pub fn send_json(&mut self, value: &Value) {
        self.send_line(&value.to_string());
    }

    /// Writes `bytes` as they are, then closes the standard input.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the program no longer reads.
    pub fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stdin = self.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(bytes)?;
        stdin.flush()
    }

    /// Closes the program's standard input, which most programs take as the end.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Returns the next line of the program's standard output, without its line end.
    ///
    /// # Panics
    ///
    /// When none comes within `patience`, or the output has ended; the text includes the program's standard error.
    pub fn recv_line(&mut self, patience: Duration) -> String {
        match self.try_recv_line(patience) {
            Some(line) => line,
            None => self.fail(&format!("wrote no line within {patience:?}")),
        }
    }

    /// Returns the next line of the program's standard output, or `None` when none comes within `patience` or the output
    /// has ended.
    pub fn try_recv_line(&mut self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Returns the next line that is a JSON object; other lines are skipped.
    ///
    /// # Panics
    ///
    /// When none comes within `patience`, or the output has ended; the text includes the program's standard error.
    pub fn recv_json(&mut self, patience: Duration) -> Value {
        match self.try_recv_json(patience) {
            Some(value) => value,
            None => self.fail(&format!("wrote no JSON line within {patience:?}")),
        }
    }

    /// Returns the next line that is a JSON object, skipping others, or `None` when none comes within `patience` or the
    /// output has ended.
    pub fn try_recv_json(&mut self, patience: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let line = self.try_recv_line(deadline.saturating_duration_since(Instant::now()))?;
            if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                return Some(value);
            }
        }
    }

    /// Returns everything the program has written to its standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join(STDERR)).unwrap_or_default()).into_owned()
    }

    /// Returns whether the program still runs; a paused one does.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the program with `kill -9` and waits until it is gone.
    pub fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the program to end (`SIGTERM`); [`wait`](ChildProcess::wait) tells when it has.
    pub fn terminate(&self) {
        self.send_signal("TERM");
    }

    /// Stops the program in its tracks (`SIGSTOP`): alive, its sockets open, but silent.
    pub fn pause(&self) {
        self.send_signal("STOP");
    }

    /// Lets a paused program go on (`SIGCONT`).
    pub fn resume(&self) {
        self.send_signal("CONT");
    }

    /// Waits for the program to end and returns its exit status.
    ///
    /// # Panics
    ///
    /// When it has not ended within `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        match self.try_wait(patience) {
            Some(status) => status,
            None => self.fail(&format!("has not ended within {patience:?}")),
        }
    }

    /// Waits for the program to end and returns its exit status, or `None` when it has not ended within `patience`.
    pub fn try_wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut status = None;
        let _ended = eventually(patience, || {
            status = self.child.try_wait().expect("our own child can be waited for");
            status.is_some()
        });
        status
    }

    pub(crate) fn start(program: &Path, command: &ChildCommand) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("kombu-child-").tempdir()?;
        let (mut child, leash) = Leash::spawn(program, &command.args, &folder.path().join(STDERR), |sh| {
            sh.envs(command.envs.iter().map(|(name, value)| (name, value)));
            for name in &command.removed_envs {
                sh.env_remove(name);
            }
            if let Some(folder) = &command.current_dir {
                sh.current_dir(folder);
            }
            sh.stdin(Stdio::piped()).stdout(Stdio::piped());
        })?;
        let stdout = child.stdout.take().expect("the output was asked to be a pipe");
        let (sender, lines) = mpsc::channel();
        let reader = thread::Builder::new().name("child-output".into()).spawn(move || read_lines(stdout, &sender))?;
        Ok(ChildProcess {
            name: program.display().to_string(),
            stdin: child.stdin.take(),
            child,
            lines,
            reader: Some(reader),
            folder,
            leash: Some(leash),
        })
    }

    fn send_signal(&self, name: &str) {
        signal(self.pid(), name).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    #[track_caller]
    fn fail(&mut self, what: &str) -> ! {
        let state = match self.try_wait(Duration::ZERO) {
            Some(status) => format!("ended with {status}"),
            None => "still runs".to_owned(),
        };
        panic!("{} {what}; it {state}; its standard error:\n{}", self.name, self.stderr());
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        // Ends the rest of the group, and with it whoever still holds the output open; a daemon may.
        self.leash = None;
        if let Some(reader) = self.reader.take()
            && eventually(PATIENCE, || reader.is_finished())
        {
            let _ = reader.join();
        }
    }
}

fn read_lines(stdout: ChildStdout, sender: &mpsc::Sender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

const STDERR: &str = "stderr";
