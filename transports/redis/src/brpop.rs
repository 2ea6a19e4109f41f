//! The blocking pop that wakes an idle consumer as in Kombu, where the server allows nothing better.
//!
//! What it popped is nowhere on the server until it is recorded: lost if the process or the server dies in between.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kombu_core::ShortStr;
use kombu_core::hub::Hub;
use redis::Value;

use crate::connection::{Greeting, Link, LinkOwner, Role, Target, command, refusal, waiter_patience};
use crate::request::Request;
use crate::session::Session;
use crate::waiters::{WAIT, seconds};

/// A `BRPOP` under way.
pub(crate) struct Waiting;

/// The socket that waits, and what it waits for.
pub(crate) struct Waiter {
    link: Option<Arc<Link>>,
    /// The queues of the command under way.
    armed: Option<Vec<ShortStr>>,
    is_unblocking: bool,
    /// Whether the server lets us wake it; assumed until refused.
    may_unblock: bool,
    client_id: Option<i64>,
    wait: Duration,
}

impl Waiter {
    /// Makes one that waits for `polling_interval` at once, or its default.
    pub(crate) fn new(polling_interval: Option<Duration>) -> Self {
        let wait = polling_interval.unwrap_or(WAIT);
        Waiter { link: None, armed: None, is_unblocking: false, may_unblock: true, client_id: None, wait }
    }

    /// Returns the socket.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }

    /// Takes the socket out, to be closed.
    pub(crate) fn take_link(&mut self) -> Option<Arc<Link>> {
        self.client_id = None;
        self.link.take()
    }

    /// Says whether a command is under way.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Says whether the command under way is for `queue`, among others.
    pub(crate) fn waits_for(&self, queue: &str) -> bool {
        self.armed.as_deref().unwrap_or_default().iter().any(|armed| armed == queue)
    }

    /// Says whether it does not wait for one of `wanted`.
    pub(crate) fn misses(&self, wanted: &[ShortStr]) -> bool {
        let armed = self.armed.as_deref().unwrap_or_default();
        wanted.iter().any(|queue| !armed.contains(queue))
    }

    /// Says whether it waits for a queue that is not active any more.
    pub(crate) fn is_stale(&self, is_active: impl Fn(&ShortStr) -> bool) -> bool {
        self.armed.as_deref().unwrap_or_default().iter().any(|queue| !is_active(queue))
    }

    /// Waits for an element of `keys`, the lists of `queues`, in this order. Returns the socket.
    pub(crate) fn arm(
        &mut self,
        session: &Arc<Session>,
        hub: &dyn Hub,
        queues: Vec<ShortStr>,
        keys: &[Arc<str>],
    ) -> Arc<Link> {
        let wait = self.wait();
        let link = Arc::clone(self.link.get_or_insert_with(|| {
            let owner: std::sync::Weak<dyn LinkOwner> = Arc::downgrade(&(Arc::clone(session) as Arc<dyn LinkOwner>));
            let patience = waiter_patience(session.target.patience, wait);
            let target = Arc::new(Target { patience, ..(*session.target).clone() });
            let link = Link::new(Role::Waiter, target, session.handle.clone(), owner);
            link.keep_open(hub);
            link
        }));
        let submitted = link.submit(Request::Brpop(Waiting), 1, None, |_, out| {
            command::head(out, keys.len() + 2);
            command::word(out, "BRPOP");
            for key in keys {
                command::word(out, key.as_bytes());
            }
            command::word(out, seconds(wait));
        });
        self.armed = submitted.is_ok().then_some(queues);
        link
    }

    fn wait(&self) -> Duration {
        // Without leave to wake it, a change of the queues waits for the time-out.
        if self.may_unblock { self.wait } else { self.wait.min(Duration::from_secs(1)) }
    }

    /// Wakes the command under way, if there is one, so that it can be armed anew. The server may get this before it: then the
    /// next tick repeats it.
    pub(crate) fn unblock(&mut self, session: &Session) {
        if !self.is_armed() {
            return;
        }
        let Some(id) = self.client_id.filter(|_| self.may_unblock && !self.is_unblocking) else { return };
        self.is_unblocking = true;
        let mut bytes = Vec::new();
        command::command(&mut bytes, &["CLIENT", "UNBLOCK", &id.to_string()]);
        session.submit(Request::Unblock(None), &bytes);
    }

    /// The server has answered the request to wake it.
    pub(crate) fn handle_unblocked(&mut self) {
        self.is_unblocking = false;
    }

    /// Goes on without the right to wake it.
    pub(crate) fn forbid_unblock(&mut self) {
        self.may_unblock = false;
    }

    /// Nothing is under way any more. Returns the queues of what was.
    pub(crate) fn disarm(&mut self) -> Vec<ShortStr> {
        self.armed.take().unwrap_or_default()
    }

    /// The socket is lost, and with it the client that could be woken.
    pub(crate) fn handle_down(&mut self) {
        self.disarm();
        self.client_id = None;
    }

    /// The socket stands.
    pub(crate) fn handle_up(&mut self, greeting: &Greeting) {
        self.client_id = greeting.client_id;
        self.is_unblocking = false;
    }
}

impl Session {
    /// Uses what the waiter got: nothing, or one element.
    pub(crate) fn handle_popped(self: &Arc<Self>, hub: &dyn Hub, Waiting: Waiting, value: Value) {
        let armed = self.poller().handle_lost_waiter();
        self.touch();
        match value {
            Value::Nil => {}
            Value::Array(mut items) if items.len() == 2 => {
                let (Some(Value::BulkString(text)), Some(Value::BulkString(key))) = (items.pop(), items.pop()) else {
                    return;
                };
                // A key of ours is UTF-8, and so is what comes back.
                let key = String::from_utf8_lossy(&key);
                let (list, consumer) = self.poller().handle_popped(self, &key);
                self.handle_element(list, Bytes::from(text), consumer);
            }
            Value::ServerError(error) => {
                if self.warnings.allows("brpop", hub.now()) {
                    let error = refusal(&error);
                    tracing::warn!(broker = %self.target.label, %error, "cannot wait for messages; trying again");
                }
                // The pop fails at its first bad key; a claim passes over it, to the queues behind.
                {
                    let mut poller = self.poller();
                    armed.iter().for_each(|queue| poller.wake(queue));
                }
                self.pause_taking(hub);
            }
            other => tracing::error!(?other, "BRPOP was answered by something else"),
        }
    }
}
