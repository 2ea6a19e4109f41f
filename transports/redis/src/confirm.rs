//! When a publish counts as confirmed: once the server has it, its replicas have it, or its disk has it.
//!
//! With the option `confirm` one `WAIT` or `WAITAOF` per tick follows the publishes of that tick on the same socket. What the
//! server has answered is held until that is answered too. A connection that is lost in between may have been lost with the
//! server: what is held is then published again on the next one, marked as a possible double, because the `WAIT` of another
//! connection says nothing about it.

use std::sync::Arc;
use std::time::Duration;

use kombu_core::{Error, ErrorKind, Outcome, Recovery, Result};
use redis::Value;

use crate::connection::{Greeting, command, refusal, unexpected};
use crate::options::ConfirmBy;
use crate::publish::Publishing;
use crate::request::Request;
use crate::session::{QUIESCE_INTERVAL, Session};

/// The publishes that the server has and that are not confirmed.
#[derive(Default)]
pub(crate) struct Held {
    publishes: Vec<(Publishing, usize)>,
    /// Whether something was sent or is held that the last `WAIT` does not speak for.
    is_due: bool,
    /// How many are under way.
    waits: u32,
}

impl ConfirmBy {
    /// Appends the command that waits.
    fn write(self, out: &mut Vec<u8>) {
        let patience = SLICE.as_millis().to_string();
        match self {
            ConfirmBy::Server => {}
            ConfirmBy::Replicas(count) => command::command(out, &["WAIT", &count.to_string(), &patience]),
            ConfirmBy::Disk => command::command(out, &["WAITAOF", "1", "0", &patience]),
        }
    }

    /// Reads the answer: whether that is enough, and what is said if not.
    fn read(self, value: &Value) -> Result<Option<String>> {
        match (self, value) {
            (_, Value::ServerError(error)) => Err(refusal(error)),
            (ConfirmBy::Replicas(wanted), Value::Int(have)) => Ok((*have < i64::from(wanted)).then(|| {
                format!("the server has the message, but {have} of the {wanted} replicas that `confirm` asks for")
            })),
            (ConfirmBy::Disk, Value::Array(counts)) => match counts.first() {
                Some(Value::Int(1..)) => Ok(None),
                _ => Ok(Some("the server has the message, but not on its disk".to_owned())),
            },
            (_, other) => Err(unexpected("WAIT", other)),
        }
    }
}

impl Session {
    /// Says that a publish is on its way, so that a `WAIT` has to follow it.
    pub(crate) fn expect_confirm(&self) {
        if self.options.confirm != ConfirmBy::Server {
            self.lock(&self.held).is_due = true;
        }
    }

    /// Holds a publish that the server has answered until more can be said of it, if that is asked for.
    pub(crate) fn hold(&self, publishing: Publishing, queues: usize) -> Option<(Publishing, usize)> {
        if self.options.confirm == ConfirmBy::Server {
            return Some((publishing, queues));
        }
        let mut held = self.lock(&self.held);
        held.publishes.push((publishing, queues));
        // Its own was lost with an earlier connection.
        if held.waits == 0 {
            held.is_due = true;
            drop(held);
            self.touch();
        }
        None
    }

    /// Sends the `WAIT` behind the publishes of this tick.
    pub(crate) fn submit_wait(&self) {
        {
            let mut held = self.lock(&self.held);
            if !std::mem::take(&mut held.is_due) {
                return;
            }
            held.waits += 1;
        }
        // A closed connection has told whoever waits.
        let by = self.options.confirm;
        let _ = self.command.submit(Request::Wait, 1, None, |_, out| by.write(out));
    }

    /// Confirms what is held, or waits once more.
    pub(crate) fn handle_waited(&self, value: &Value) {
        let now = self.handle.now();
        let read = self.options.confirm.read(value);
        let finished = {
            let mut held = self.lock(&self.held);
            held.waits = held.waits.saturating_sub(1);
            let is_late = |publishing: &Publishing| publishing.deadline().is_some_and(|deadline| deadline <= now);
            match &read {
                Ok(Some(_)) => {
                    let (late, kept) =
                        std::mem::take(&mut held.publishes).into_iter().partition(|(one, _)| is_late(one));
                    held.publishes = kept;
                    held.is_due |= !held.publishes.is_empty();
                    late
                }
                _ => std::mem::take(&mut held.publishes),
            }
        };
        for (publishing, queues) in finished {
            match &read {
                Ok(None) => publishing.confirm(self, queues),
                Ok(Some(what)) => {
                    let error = Error::new(ErrorKind::Timeout, what.clone()).recoverable_by(Recovery::Retry);
                    publishing.fail_held(self, &error);
                }
                Err(error) => publishing.fail_held(self, error),
            }
        }
        self.touch();
    }

    /// The `WAIT` under way has no answer.
    pub(crate) fn handle_lost_wait(&self) {
        let mut held = self.lock(&self.held);
        held.waits = held.waits.saturating_sub(1);
    }

    /// Publishes again what is held: the connection is lost, and with it what could be said of it.
    pub(crate) fn repeat_held(&self) {
        let held = std::mem::take(&mut self.lock(&self.held).publishes);
        for (publishing, _) in held {
            publishing.submit_again(self, true);
        }
    }

    /// Waits until nothing is held.
    pub(crate) async fn settle_held(&self) {
        while !self.lock(&self.held).publishes.is_empty() {
            self.handle.sleep(QUIESCE_INTERVAL).await;
        }
    }

    /// Ends what is held: there is no connection to come.
    pub(crate) fn fail_held(&self, error: &Error) {
        let held = std::mem::take(&mut self.lock(&self.held).publishes);
        for (publishing, _) in held {
            publishing.fail_held(self, error);
        }
    }

    /// Finds out whether the server can do what the option `confirm` asks for.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with what it would need.
    pub(crate) async fn check_confirm(self: &Arc<Self>, greeting: &Greeting) -> Result<()> {
        if self.options.confirm != ConfirmBy::Disk {
            return Ok(());
        }
        let refused = |why: String| {
            let message = format!("the server cannot do `confirm=fsync`: {why}");
            Err(Error::new(ErrorKind::Unsupported, message).with("option", "confirm"))
        };
        if let Some([major, minor, patch]) = greeting.version.filter(|version| *version < [7, 2, 0]) {
            return refused(format!("WAITAOF needs Redis 7.2, and this is {major}.{minor}.{patch}"));
        }
        match self.call(1, |out| command::command(out, &["WAITAOF", "1", "0", "1"])).await {
            Err(error) if error.kind() == ErrorKind::Internal => refused(error.to_string()),
            answered => answered.map(drop),
        }
    }
}

impl Publishing {
    /// Ends a publish that the server has, without the confirmation that was asked for.
    fn fail_held(self, session: &Session, error: &Error) {
        self.end(session, Err(error.duplicate().with_outcome(Outcome::Unknown)));
    }
}

/// How long one `WAIT` may keep the socket: what comes behind it waits as well.
const SLICE: Duration = Duration::from_millis(100);
