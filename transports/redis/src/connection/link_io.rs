//! The hub's side of a link: the socket, its state, its timers.

mod attempt;
mod reading;
mod watch;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kombu_core::hub::{Hub, Progress, Readiness, SourceId, TimerHandle};
use kombu_core::reply::ReplySender;
use kombu_core::{Error, ErrorKind, Recovery, Result};
use redis::Value;

use super::find::Candidate;
use super::link::{Link, Outbox, Role, closed};
use super::stream::Stream;
use super::{Backoff, Greeting, Handshake, Pipeline, Replies, Target, tls};
use crate::request::Request;

/// What the owner is to be told once the lock is released.
pub(super) enum Event {
    Opened(ReplySender<Result<Greeting>>, Result<Greeting>),
    Up(Greeting),
    Down(Error, bool),
    Answer(Request, Value),
    Push(Value),
    Failure(Request, bool, Arc<Error>),
}

enum Phase {
    /// Not started.
    Idle,
    /// A name is being looked up.
    Resolving,
    /// The socket is being connected.
    Connecting,
    /// The first commands are under way.
    Greeting(Handshake),
    /// Requests flow.
    Up,
    /// The next attempt comes by timer.
    Waiting,
    /// Over for good.
    Closed,
}

/// The part of a [`Link`] that only the hub's thread touches.
pub(crate) struct LinkIo {
    phase: Phase,
    stream: Option<(Stream, SourceId)>,
    pub(super) pipeline: Pipeline<Request>,
    replies: Replies,
    /// Empty, but for its memory.
    values: Vec<Value>,
    /// Bytes outside the pipeline: the handshake's, and a listener's.
    raw: Vec<u8>,
    addresses: VecDeque<Candidate>,
    /// The name of the server that is connected or tried.
    host: Arc<str>,
    /// How often this attempt was sent on to another node.
    redirections: u32,
    /// What the server said when the last connection ended because it was the wrong one.
    misplaced: Option<String>,
    /// What the server said when it refused the last attempt.
    turned_away: Option<String>,
    backoff: Backoff,
    /// Ends an attempt that takes too long, or begins the next.
    attempt_timer: Option<TimerHandle>,
    /// Looks after deadlines and silence.
    watch: Option<(Instant, TimerHandle)>,
    last_heard: Instant,
    unanswered_pings: u32,
    /// The number of the last connection, and the run of the server it was made to.
    last: Option<(i64, String)>,
    /// How many replies to come belong to nobody.
    ignored: u32,
    pub(super) was_up: bool,
    pub(super) opening: Option<ReplySender<Result<Greeting>>>,
    /// Counts the attempts, so that a callback of an earlier one is known.
    attempt: u64,
}

impl LinkIo {
    pub(super) fn new(role: Role, target: &Target) -> Self {
        let seed = target.label.bytes().fold(role as u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        LinkIo {
            phase: Phase::Idle,
            stream: None,
            pipeline: Pipeline::default(),
            replies: Replies::new(),
            values: Vec::new(),
            raw: Vec::new(),
            addresses: VecDeque::new(),
            host: "".into(),
            redirections: 0,
            misplaced: None,
            turned_away: None,
            backoff: Backoff::new(seed ^ u64::from(std::process::id())),
            attempt_timer: None,
            watch: None,
            last_heard: Instant::now(),
            unanswered_pings: 0,
            last: None,
            ignored: 0,
            was_up: false,
            opening: None,
            attempt: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    fn handle_ready(&mut self, link: &Arc<Link>, hub: &dyn Hub, ready: Readiness, events: &mut Vec<Event>) -> Progress {
        if matches!(self.phase, Phase::Connecting) {
            let Some((stream, _)) = &self.stream else { return Progress::Drained };
            match stream.is_connected() {
                Ok(false) => return Progress::Drained,
                Ok(true) => {
                    stream.tune(&link.target.keepalive);
                    self.raw.clear();
                    self.replies = Replies::new();
                    self.phase =
                        Phase::Greeting(Handshake::new(&link.target, link.role == Role::Command, &mut self.raw));
                }
                Err(error) if !self.addresses.is_empty() => {
                    tracing::debug!(broker = %link.target.label, %error, "trying the next address");
                    self.drop_stream(hub);
                    self.try_next_address(link, hub, events);
                    return Progress::Drained;
                }
                Err(error) => {
                    self.fail(link, hub, unreachable(&error), events);
                    return Progress::Drained;
                }
            }
        }
        let mut progress = Progress::Drained;
        if ready.readable || ready.closed {
            progress = self.read(link, hub, ready.closed, events);
        }
        self.write(link, hub, events);
        progress
    }

    /// Writes until the socket is full or there is nothing left.
    pub(super) fn write(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        if let Some((stream, _)) = &mut self.stream
            && !matches!(self.phase, Phase::Connecting)
        {
            match stream.flush_taken() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.fail(link, hub, broken(error), events),
            }
        }
        loop {
            let Some((stream, _)) = &mut self.stream else { return };
            let is_raw = !self.raw.is_empty();
            let bytes = match self.phase {
                Phase::Greeting(_) | Phase::Up if is_raw => &self.raw[..],
                Phase::Up => self.pipeline.unsent(),
                _ => return,
            };
            if bytes.is_empty() {
                return;
            }
            match stream.write(bytes) {
                Ok(0) => return self.fail(link, hub, lost("the connection takes no more bytes"), events),
                Ok(count) if is_raw => drop(self.raw.drain(..count)),
                Ok(count) => {
                    if !self.pipeline.is_owed() {
                        // The server's time to answer begins now.
                        self.last_heard = self.last_heard.max(hub.now());
                    }
                    self.pipeline.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(link, hub, broken(error), events),
            }
        }
    }

    /// Takes over what was submitted.
    pub(super) fn absorb(&mut self, link: &Arc<Link>, hub: &dyn Hub, outbox: &mut Outbox) {
        let deadline = outbox.next_deadline();
        let is_up = self.is_up();
        let mut raw = Vec::new();
        outbox.take(|bytes, entries| self.pipeline.append(bytes, entries), &mut raw);
        if is_up {
            self.raw.append(&mut raw);
        }
        self.watch_until(link, hub, deadline);
    }

    // ---- losing it

    /// Ends the connection: another is made, if there ever was one, or the first attempt has failed.
    pub(super) fn fail(&mut self, link: &Arc<Link>, hub: &dyn Hub, error: Error, events: &mut Vec<Event>) {
        if matches!(self.phase, Phase::Closed | Phase::Waiting) {
            return;
        }
        let error = error.with("broker", &link.target.label);
        if let Some(tls) = &link.target.tls
            && !self.is_up()
        {
            // A certificate that is not accepted may have been replaced.
            tls.forget();
        }
        let was_up = self.is_up();
        if !was_up {
            self.turned_away = (error.kind() == ErrorKind::AccessRefused).then(|| error.to_string());
        }
        self.drop_stream(hub);
        self.addresses.clear();
        self.raw.clear();
        if !self.was_up {
            self.phase = Phase::Closed;
            self.set_attempt_timer(None);
            self.unwatch();
            if let Some(opening) = self.opening.take() {
                events.push(Event::Opened(opening, Err(error.duplicate())));
            }
            self.fail_all(error.duplicate(), events);
            events.push(Event::Down(error, false));
            return;
        }
        if was_up {
            let now = hub.now();
            let owner = link.owner.upgrade();
            let dropped = self.pipeline.handle_loss(|request, written, deadline| match &owner {
                Some(owner) => owner.decide(request, written, deadline, now),
                None => super::Fate::Drop,
            });
            let shared = Arc::new(error.duplicate());
            events.extend(
                dropped.into_iter().map(|(request, written)| Event::Failure(request, written, Arc::clone(&shared))),
            );
        }
        self.phase = Phase::Waiting;
        let wait = self.backoff.next_wait();
        let attempt = self.attempt;
        let weak = Arc::downgrade(link);
        self.set_attempt_timer(Some(hub.call_later(
            wait,
            Box::new(move |hub| {
                let Some(link) = weak.upgrade() else { return };
                link.in_io(hub, |io, link, events| {
                    if io.attempt == attempt && matches!(io.phase, Phase::Waiting) {
                        io.start_attempt(link, hub, events);
                    }
                });
            }),
        )));
        events.push(Event::Down(error, true));
    }

    pub(super) fn close(&mut self, hub: &dyn Hub, events: &mut Vec<Event>) {
        self.drop_stream(hub);
        self.phase = Phase::Closed;
        self.set_attempt_timer(None);
        self.unwatch();
        if let Some(opening) = self.opening.take() {
            events.push(Event::Opened(opening, Err(closed())));
        }
        self.fail_all(closed(), events);
    }

    fn fail_all(&mut self, error: Error, events: &mut Vec<Event>) {
        let shared = Arc::new(error);
        let all = self.pipeline.take_all();
        events.extend(all.into_iter().map(|(request, written)| Event::Failure(request, written, Arc::clone(&shared))));
    }

    fn drop_stream(&mut self, hub: &dyn Hub) {
        if let Some((mut stream, id)) = self.stream.take() {
            stream.say_goodbye();
            // The callback is gone whatever the answer.
            let _ = hub.remove_source(&mut stream, id);
        }
    }

    fn set_attempt_timer(&mut self, timer: Option<TimerHandle>) {
        if let Some(old) = std::mem::replace(&mut self.attempt_timer, timer) {
            old.cancel();
        }
    }
}

impl Link {
    /// Runs `work` with the hub's side locked, then tells the owner what came of it.
    fn in_io(self: &Arc<Self>, hub: &dyn Hub, work: impl FnOnce(&mut LinkIo, &Arc<Self>, &mut Vec<Event>)) {
        let mut events = Vec::new();
        work(&mut self.io(), self, &mut events);
        self.dispatch(hub, events);
    }
}

/// What comes after a reply.
enum Next {
    /// The next one.
    Go,
    /// Another server: this one does not have the keys.
    Elsewhere,
    /// Another server, for this reason, when the answers that are there are taken.
    After(Error),
}

#[cold]
fn is_cluster() -> Error {
    let message = "the server is a node of a Redis Cluster, which spreads keys over its nodes; all keys of an application must \
                   be on one: set the option `global_keyprefix` to a text with a hash tag, such as `{shop}:`";
    Error::new(ErrorKind::InvalidArgument, message).with("option", "global_keyprefix")
}

/// The error of a socket that broke, which TLS may have broken for a reason.
#[cold]
fn broken(error: io::Error) -> Error {
    match tls::refusal(&error) {
        Some(refusal) => refusal,
        None => lost("the connection broke").caused_by(error),
    }
}

#[cold]
fn unreachable(error: &io::Error) -> Error {
    let message = format!("cannot connect: {error}");
    Error::new(ErrorKind::ConnectionLost, message).recoverable_by(Recovery::Reconnect)
}

#[cold]
fn lost(what: &'static str) -> Error {
    Error::new(ErrorKind::ConnectionLost, what)
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const SCRATCH_SIZE: usize = 64 * 1024;
const READ_BUDGET: usize = 256 * 1024;
const PINGS: u32 = 2;

/// How long a waiter's server may be silent: the wait itself comes on top.
pub(crate) fn waiter_patience(patience: Option<Duration>, wait: Duration) -> Option<Duration> {
    patience.map(|patience| patience + wait)
}
