//! A conversation with a Python program.

use std::time::Duration;

use serde_json::Value;

use crate::child_process::ChildProcess;

/// A running Python program that talks in JSON: one object per line, in both directions.
///
/// Made by [`PythonKombu::spawn`](crate::PythonKombu::spawn). Killed with `kill -9` when dropped, and when the test process
/// is killed.
#[derive(Debug)]
pub struct PythonProcess(ChildProcess);

impl PythonProcess {
    pub(crate) fn new(child: ChildProcess) -> Self {
        PythonProcess(child)
    }

    /// Writes one line.
    ///
    /// # Panics
    ///
    /// When the program no longer reads.
    pub fn send(&mut self, value: &Value) {
        self.0.send_json(value);
    }

    /// Returns the next JSON object the program writes; other lines are skipped.
    ///
    /// # Panics
    ///
    /// When none comes within `patience`, or the program has ended; the text includes its standard error.
    pub fn recv(&mut self, patience: Duration) -> Value {
        self.0.recv_json(patience)
    }

    /// Returns the next JSON object the program writes, or `None` when none comes within `patience` or the program has
    /// ended.
    pub fn try_recv(&mut self, patience: Duration) -> Option<Value> {
        self.0.try_recv_json(patience)
    }

    /// Sends `value` and returns the next JSON object.
    ///
    /// # Panics
    ///
    /// As [`send`](PythonProcess::send) and [`recv`](PythonProcess::recv).
    pub fn ask(&mut self, value: &Value, patience: Duration) -> Value {
        self.send(value);
        self.recv(patience)
    }

    /// Returns the process: its identifier, its standard error, `kill -9`, pause and resume.
    pub fn process(&mut self) -> &mut ChildProcess {
        &mut self.0
    }

    /// Kills the program with `kill -9` and waits until it is gone.
    pub fn kill(&mut self) {
        self.0.kill();
    }
}
