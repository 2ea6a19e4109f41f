//! Commands, and who waits for their answers.

use kombu_core::Result;
use kombu_core::reply;
use redis::{Cmd, Value};

use super::Session;
use crate::answers::is_unknown_script;
use crate::connection::{closed, refusal};
use crate::refused;
use crate::request::Request;

impl Session {
    /// Sends one command, which may be repeated after a lost socket, and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the server refuses, and `ConnectionLost` or `Closed`.
    pub(crate) async fn call(&self, replies: u32, write: impl FnOnce(&mut Vec<u8>)) -> Result<Value> {
        accepted(self.ask(replies, write).await?)
    }

    /// Like [`call`](Session::call) for a command that may run a script. A server that has lost the scripts gets them again,
    /// and then the command.
    ///
    /// # Errors
    ///
    /// As for `call`.
    pub(crate) async fn call_script(&self, replies: u32, write: impl Fn(&mut Vec<u8>)) -> Result<Value> {
        let answer = self.ask(replies, &write).await?;
        if !is_unknown_script(&answer) {
            return accepted(answer);
        }
        self.load_scripts();
        self.call(replies, write).await
    }

    async fn ask(&self, replies: u32, write: impl FnOnce(&mut Vec<u8>)) -> Result<Value> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        loop {
            let (sender, reply) = reply::channel();
            let request = Request::Call(sender);
            self.command
                .submit(request, replies, None, |_, out| out.extend_from_slice(&bytes))
                .map_err(|_| closed())?;
            self.touch();
            let answer = reply.await.unwrap_or_else(|| Err(closed()))?;
            if !self.is_refused_for_now(&answer) {
                return Ok(answer);
            }
            // Whoever asked gives up by its own deadline; then this goes on without anybody waiting, as after a loss.
            self.handle.sleep(refused::INTERVAL).await;
        }
    }

    /// Sends a script nobody waits for, again if the server has lost it; `what` names it in the log.
    pub(crate) fn run_quietly(&self, what: &'static str, script: &Cmd) {
        let bytes = script.get_packed_command();
        let request = Request::QuietScript { what, bytes: bytes.clone() };
        self.submit(request, &bytes);
    }

    /// Sends a command nobody waits for; `what` names it in the log.
    pub(crate) fn send_quietly(&self, what: &'static str, replies: u32, write: impl FnOnce(&mut Vec<u8>)) {
        // A closed link has nobody to tell.
        let _ = self.command.submit(Request::Quiet(what), replies, None, |_, out| write(out));
        self.touch();
    }

    /// Sends a request of the poller or a channel on the command connection. One that comes too late for it fails, after the
    /// call: whoever submits may hold what is locked to fail it.
    pub(crate) fn submit(&self, request: Request, bytes: &[u8]) {
        let submitted = self.command.submit(request, 1, None, |_, out| out.extend_from_slice(bytes));
        if let Err(request) = submitted {
            self.fail_later(*request);
        }
        self.touch();
    }

    /// Fails what comes too late for the command connection.
    pub(crate) fn fail_later(&self, request: Request) {
        if let Some(me) = self.me() {
            self.handle.call_soon(move |_| me.handle_failure_anywhere(request, false, &closed()));
        }
    }
}

fn accepted(answer: Value) -> Result<Value> {
    match answer {
        Value::ServerError(error) => Err(refusal(&error)),
        answer => Ok(answer),
    }
}
