//! The hub's side of a link: the socket, its state, its timers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kombu_core::hub::{Hub, Progress, Readiness, SourceId, TimerHandle};
use kombu_core::reply::ReplySender;
use kombu_core::{Error, ErrorKind, Recovery, Result};
use mio::Interest;
use redis::Value;

use super::link::{Link, Outbox, Role, closed};
use super::stream::Stream;
use super::{Backoff, Greeting, Handshake, Pipeline, Replies, Target, address, command};
use crate::options::Address;
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
    /// Bytes outside the pipeline: the handshake's, and a listener's.
    raw: Vec<u8>,
    addresses: VecDeque<SocketAddr>,
    backoff: Backoff,
    /// Ends an attempt that takes too long, or begins the next.
    attempt_timer: Option<TimerHandle>,
    /// Looks after deadlines and silence.
    watch: Option<(Instant, TimerHandle)>,
    last_heard: Instant,
    unanswered_pings: u32,
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
            raw: Vec::new(),
            addresses: VecDeque::new(),
            backoff: Backoff::new(seed ^ u64::from(std::process::id())),
            attempt_timer: None,
            watch: None,
            last_heard: Instant::now(),
            unanswered_pings: 0,
            was_up: false,
            opening: None,
            attempt: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    // ---- making a connection

    pub(super) fn start_attempt(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.attempt += 1;
        let attempt = self.attempt;
        let weak = Arc::downgrade(link);
        self.set_attempt_timer(Some(hub.call_later(
            link.target.connect_timeout,
            Box::new(move |hub| {
                let Some(link) = weak.upgrade() else { return };
                link.in_io(hub, |io, link, events| {
                    if io.attempt == attempt && !io.is_up() && !matches!(io.phase, Phase::Waiting | Phase::Closed) {
                        let error = Error::new(ErrorKind::ConnectionLost, "the server does not answer in time");
                        io.fail(link, hub, error, events);
                    }
                });
            }),
        )));
        match &link.target.address {
            Address::Unix(path) => match Stream::connect_unix(path) {
                Ok(stream) => self.adopt(link, hub, stream, events),
                Err(error) => self.fail(link, hub, unreachable(&error), events),
            },
            Address::Tcp { host, port } => match address::literal(host, *port) {
                Some(found) => {
                    self.addresses = found.into();
                    self.try_next_address(link, hub, events);
                }
                None => self.resolve(link, hub, host.clone(), *port, events),
            },
        }
    }

    fn resolve(&mut self, link: &Arc<Link>, hub: &dyn Hub, host: String, port: u16, events: &mut Vec<Event>) {
        self.phase = Phase::Resolving;
        let attempt = self.attempt;
        let weak = Arc::downgrade(link);
        let handle = link.handle.clone();
        let lookup = move || {
            let found = address::resolve(&host, port);
            handle.call_soon(move |hub| {
                let Some(link) = weak.upgrade() else { return };
                link.in_io(hub, |io, link, events| {
                    if io.attempt != attempt || !matches!(io.phase, Phase::Resolving) {
                        return;
                    }
                    match found {
                        Ok(found) => {
                            io.addresses = found.into();
                            io.try_next_address(link, hub, events);
                        }
                        Err(error) => io.fail(link, hub, error, events),
                    }
                });
            });
        };
        if let Err(error) = std::thread::Builder::new().name("kombu-redis-dns".into()).spawn(lookup) {
            self.fail(link, hub, unreachable(&error), events);
        }
    }

    fn try_next_address(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        let mut last = None;
        while let Some(addr) = self.addresses.pop_front() {
            match Stream::connect_tcp(addr) {
                Ok(stream) => return self.adopt(link, hub, stream, events),
                Err(error) => last = Some(error),
            }
        }
        let last = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        self.fail(link, hub, unreachable(&last), events);
    }

    fn adopt(&mut self, link: &Arc<Link>, hub: &dyn Hub, mut stream: Stream, events: &mut Vec<Event>) {
        let weak = Arc::downgrade(link);
        let attempt = self.attempt;
        let on_ready = move |hub: &dyn Hub, readiness: Readiness| {
            let Some(link) = weak.upgrade() else { return Progress::Drained };
            let mut progress = Progress::Drained;
            link.in_io(hub, |io, link, events| {
                if io.attempt == attempt {
                    progress = io.handle_ready(link, hub, readiness, events);
                }
            });
            progress
        };
        match hub.add_source(&mut stream, Interest::READABLE | Interest::WRITABLE, Box::new(on_ready)) {
            Ok(id) => {
                self.stream = Some((stream, id));
                self.phase = Phase::Connecting;
            }
            Err(error) => self.fail(link, hub, error, events),
        }
    }

    // ---- a socket that is ready

    fn handle_ready(&mut self, link: &Arc<Link>, hub: &dyn Hub, ready: Readiness, events: &mut Vec<Event>) -> Progress {
        if matches!(self.phase, Phase::Connecting) {
            let Some((stream, _)) = &self.stream else { return Progress::Drained };
            match stream.is_connected() {
                Ok(false) => return Progress::Drained,
                Ok(true) => {
                    stream.tune(link.target.keepalive);
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
            progress = self.read(link, hub, events);
        }
        self.write(link, hub, events);
        progress
    }

    fn read(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) -> Progress {
        self.last_heard = hub.now();
        self.unanswered_pings = 0;
        let mut values = Vec::new();
        let mut taken = 0;
        let (progress, end) = SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_SIZE, 0);
            loop {
                let Some((stream, _)) = &mut self.stream else { return (Progress::Drained, None) };
                match stream.read(scratch) {
                    Ok(0) => return (Progress::Drained, Some(lost("the server closed the connection"))),
                    Ok(count) => {
                        if let Err(error) = self.replies.handle_bytes(&scratch[..count], &mut values) {
                            return (Progress::Drained, Some(error));
                        }
                        taken += count;
                        if taken >= READ_BUDGET {
                            return (Progress::More, None);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (Progress::Drained, None),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return (Progress::Drained, Some(lost("the connection broke").caused_by(error))),
                }
            }
        });
        for value in values {
            if let Err(error) = self.handle_value(link, hub, value, events) {
                self.fail(link, hub, error, events);
                return Progress::Drained;
            }
        }
        if let Some(error) = end {
            self.fail(link, hub, error, events);
        }
        progress
    }

    fn handle_value(&mut self, link: &Arc<Link>, hub: &dyn Hub, value: Value, events: &mut Vec<Event>) -> Result<()> {
        match &mut self.phase {
            Phase::Greeting(handshake) => {
                if let Some(greeting) = handshake.handle_reply(&value)? {
                    self.come_up(link, hub, greeting, events);
                }
            }
            Phase::Up if link.role == Role::Listener => events.push(Event::Push(value)),
            Phase::Up => match self.pipeline.handle_reply(value) {
                Ok(Some((request, value))) => events.push(Event::Answer(request, value)),
                Ok(None) => {}
                Err(value) => events.push(Event::Push(value)),
            },
            _ => {}
        }
        Ok(())
    }

    fn come_up(&mut self, link: &Arc<Link>, hub: &dyn Hub, greeting: Greeting, events: &mut Vec<Event>) {
        self.phase = Phase::Up;
        self.was_up = true;
        self.addresses.clear();
        self.backoff.reset();
        self.set_attempt_timer(None);
        self.last_heard = hub.now();
        self.raw.clear();
        if let Some(opening) = self.opening.take() {
            events.push(Event::Opened(opening, Ok(greeting.clone())));
        }
        events.push(Event::Up(greeting));
        self.watch_until(link, hub, None);
    }

    /// Writes until the socket is full or there is nothing left.
    pub(super) fn write(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
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
                Err(error) => return self.fail(link, hub, lost("the connection broke").caused_by(error), events),
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
        let was_up = self.is_up();
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
            // The callback is gone whatever the answer.
            let _ = hub.remove_source(&mut stream, id);
        }
    }

    fn set_attempt_timer(&mut self, timer: Option<TimerHandle>) {
        if let Some(old) = std::mem::replace(&mut self.attempt_timer, timer) {
            old.cancel();
        }
    }

    // ---- deadlines and silence

    /// Sees to it that the watch looks no later than `deadline`, nor than the server's silence gets too long.
    fn watch_until(&mut self, link: &Arc<Link>, hub: &dyn Hub, deadline: Option<Instant>) {
        let wanted = [deadline, self.silence_ends(link)].into_iter().flatten().min();
        let Some(wanted) = wanted else { return };
        if self.watch.as_ref().is_some_and(|(at, _)| *at <= wanted) {
            return;
        }
        self.unwatch();
        let weak = Arc::downgrade(link);
        let timer = hub.call_at(
            wanted,
            Box::new(move |hub| {
                if let Some(link) = weak.upgrade() {
                    link.in_io(hub, |io, link, events| io.look(link, hub, events));
                }
            }),
        );
        self.watch = Some((wanted, timer));
    }

    fn silence_ends(&self, link: &Link) -> Option<Instant> {
        let patience = link.target.patience?;
        let counts = match link.role {
            Role::Listener => self.is_up(),
            _ => self.is_up() && self.pipeline.len() > 0,
        };
        counts.then(|| self.last_heard + patience)
    }

    fn look(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        self.watch = None;
        let now = hub.now();
        let expired = self.pipeline.take_expired(now);
        if !expired.is_empty() {
            let error = Error::new(ErrorKind::Timeout, "no answer in time").with("broker", &link.target.label);
            let error = Arc::new(error);
            events.extend(
                expired.into_iter().map(|(request, written)| Event::Failure(request, written, Arc::clone(&error))),
            );
        }
        if self.silence_ends(link).is_some_and(|end| end <= now) {
            match link.role {
                Role::Listener if self.unanswered_pings < PINGS => {
                    self.unanswered_pings += 1;
                    command::command(&mut self.raw, &["PING"]);
                    self.last_heard = now;
                    self.write(link, hub, events);
                }
                // Nothing owed that was written: the silence is ours.
                Role::Command | Role::Waiter if !self.pipeline.is_owed() => self.last_heard = now,
                _ => {
                    let error = lost("the server has been silent for too long");
                    return self.fail(link, hub, error, events);
                }
            }
        }
        self.watch_until(link, hub, self.pipeline.next_deadline());
    }

    fn unwatch(&mut self) {
        if let Some((_, timer)) = self.watch.take() {
            timer.cancel();
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
