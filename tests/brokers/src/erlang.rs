//! Asking a running Erlang node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::child_process::ChildProcess;
use crate::patience::PATIENCE;
use crate::program::find_program;
use crate::setup_error::SetupError;

/// The way into an Erlang node: its distribution port and its cookie.
///
/// Through `erl_call`, which answers in milliseconds; `rabbitmqctl` starts a node of its own for each question and takes
/// seconds.
#[derive(Debug)]
pub(crate) struct Erlang {
    program: PathBuf,
    addr: SocketAddr,
}

impl Erlang {
    pub(crate) fn new(addr: SocketAddr, install: &str) -> Result<Self, SetupError> {
        Ok(Erlang { program: find_program("erl_call", install)?, addr })
    }

    /// Evaluates one expression (ASCII, without the final dot) on the node and returns its value as Erlang prints it, or the
    /// text itself when the value is `{text, Characters}`.
    ///
    /// # Errors
    ///
    /// What the expression raised, why it cannot be read, or that the node is not there.
    pub(crate) fn eval(&self, expression: &str) -> Result<String, String> {
        let script = format!(
            r#"try begin {expression} end of
                {{text, T}} -> io:put_chars(["=", T]);
                V -> io:put_chars(["=", io_lib:format("~0tp", [V])])
            catch C:R:S -> io:put_chars(["!", io_lib:format("~0tp", [{{C, R, S}}])]) end.
"#
        );
        // Two callers of the same name would be refused.
        let name = format!("kombu-{}-{}", process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        let mut call = ChildProcess::command(self.program.to_string_lossy())
            .args(["-h", &name, "-address", &self.addr.to_string(), "-c", COOKIE])
            .args(["-fetch_stdout", "-no_result_term", "-e"])
            .spawn();
        // A node that is not there is told by the exit status.
        let _ = call.send_all(script.as_bytes());
        let Some(status) = call.try_wait(EVAL_PATIENCE) else {
            return Err(format!("no answer within {EVAL_PATIENCE:?} to {expression}"));
        };
        let mut lines = Vec::new();
        while let Some(line) = call.try_recv_line(PATIENCE) {
            lines.push(line);
        }
        let said = lines.join("\n");
        match (said.strip_prefix('='), said.strip_prefix('!')) {
            (Some(value), _) if status.success() => Ok(value.to_owned()),
            (_, Some(raised)) => Err(format!("{expression} raised {raised}")),
            _ => Err(format!("{expression}: {status}: {said}{}", call.stderr())),
        }
    }
}

/// Shared by the nodes and whoever talks to them; each node listens on the loopback interface only.
pub(crate) const COOKIE: &str = "kombu";

static CALLS: AtomicU32 = AtomicU32::new(0);

// Stopping and starting the application, with a machine under load, is the slowest that is asked.
const EVAL_PATIENCE: Duration = Duration::from_secs(90);
