//! A connection that is kept: made, used, lost and made again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use kombu_core::hub::{Hub, HubHandle};
use kombu_core::reply::{self, Reply};
use kombu_core::{Error, ErrorKind, Result};
use redis::Value;

use super::link_io::{Event, LinkIo};
use super::{Entry, Fate, Greeting, Target};
use crate::request::Request;

/// What a [`Link`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Commands, pipelined, each answered at once.
    Command,
    /// One blocking command at a time.
    Waiter,
    /// Subscriptions: what arrives is not asked for.
    Listener,
    /// Signs of life, one command at a time.
    Lease,
}

/// Who a [`Link`] works for. Called on the hub's thread, with no lock of the link held.
pub(crate) trait LinkOwner: Send + Sync {
    /// The connection stands, for the first time or again.
    fn handle_up(&self, hub: &dyn Hub, link: &Arc<Link>, greeting: &Greeting);

    /// The connection is lost; `retrying` says whether the link goes on by itself.
    fn handle_down(&self, hub: &dyn Hub, link: &Arc<Link>, error: &Error, retrying: bool);

    /// A request has its answer.
    fn handle_answer(&self, hub: &dyn Hub, link: &Arc<Link>, request: Request, value: Value);

    /// Something arrived that nobody asked for.
    fn handle_push(&self, hub: &dyn Hub, link: &Arc<Link>, value: Value);

    /// A request is over without an answer: its time has passed (`Timeout`), it cannot be repeated after a loss
    /// (`ConnectionLost`), or the link is closed (`Closed`). `written` says whether the server may have seen it.
    fn handle_failure(&self, hub: &dyn Hub, request: Request, written: bool, error: &Error);

    /// All that was read at once is handed over.
    fn handle_batch_end(&self, hub: &dyn Hub);

    /// The connection is lost: what becomes of an unanswered request? Called with locks held: decides and does nothing else.
    fn decide(&self, request: &mut Request, written: bool, deadline: Option<Instant>, now: Instant) -> Fate;
}

/// One connection of one [`Role`], which comes back by itself after its first success.
///
/// Requests may be [submitted](Link::submit) from any thread; everything that takes a [`Hub`] belongs to the hub's thread.
/// Nothing is written before [`flush`](Link::flush), which the owner calls once per tick.
pub(crate) struct Link {
    pub(super) role: Role,
    pub(super) target: Arc<Target>,
    pub(super) handle: HubHandle,
    pub(super) owner: Weak<dyn LinkOwner>,
    outbox: Mutex<Outbox>,
    /// Whether something waits in it.
    is_filled: AtomicBool,
    /// What the owner is to be told once it has been told what it is being told now.
    later: Mutex<Later>,
    /// Locked on the hub's thread only, and never while the owner is called.
    pub(super) io: Mutex<LinkIo>,
}

/// What waits for the next flush.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry<Request>>,
    /// For a listener: bytes that get no answer of their own.
    raw: Vec<u8>,
    /// Counts the flushes: a request submitted in one epoch is written after everything submitted in earlier ones.
    epoch: u64,
    closed: bool,
}

/// What waits to be told to the owner.
#[derive(Default)]
struct Later {
    is_telling: bool,
    events: Vec<Event>,
}

/// The owner is being told something, until this ends.
struct Telling<'a>(&'a Link);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.later().is_telling = false;
    }
}

impl Link {
    /// Makes a link that is not connected.
    pub(crate) fn new(role: Role, target: Arc<Target>, handle: HubHandle, owner: Weak<dyn LinkOwner>) -> Arc<Self> {
        let io = Mutex::new(LinkIo::new(role, &target));
        let (outbox, later, is_filled) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Arc::new(Link { role, target, handle, owner, outbox, is_filled, later, io })
    }

    /// Returns what the link is for.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Adds a request: `write` appends its bytes, whose `replies` replies make its answer, wanted until `deadline`. Returns
    /// the number of the flush that writes it. From any thread; the owner must see to that flush.
    ///
    /// # Errors
    ///
    /// The request itself, when the link is closed.
    pub(crate) fn submit(
        &self,
        request: Request,
        replies: u32,
        deadline: Option<Instant>,
        write: impl FnOnce(&Request, &mut Vec<u8>),
    ) -> Result<u64, Box<Request>> {
        let mut outbox = self.outbox();
        if outbox.closed {
            return Err(Box::new(request));
        }
        let before = outbox.bytes.len();
        write(&request, &mut outbox.bytes);
        let length = outbox.bytes.len() - before;
        outbox.entries.push(Entry { request, replies, length, deadline });
        self.is_filled.store(true, Ordering::Release);
        Ok(outbox.epoch)
    }

    /// Adds bytes that get no answer of their own; for a [`Role::Listener`]. They are dropped while there is no connection.
    pub(crate) fn submit_raw(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut outbox = self.outbox();
        write(&mut outbox.raw);
        self.is_filled.store(true, Ordering::Release);
    }

    /// Says whether something was submitted since the last flush.
    pub(crate) fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Acquire)
    }

    /// Returns the number of the flush to come.
    pub(crate) fn epoch(&self) -> u64 {
        self.outbox().epoch
    }

    /// Begins to connect; the answer says how the first attempt ended. After a success the link is for ever.
    pub(crate) fn open(self: &Arc<Self>, hub: &dyn Hub) -> Reply<Result<Greeting>> {
        let (sender, reply) = reply::channel();
        let mut events = Vec::new();
        {
            let mut io = self.io();
            io.opening = Some(sender);
            io.start_attempt(self, hub, &mut events);
        }
        self.dispatch(hub, events);
        reply
    }

    /// Begins to connect and goes on until it succeeds; for links beside one that has succeeded.
    pub(crate) fn keep_open(self: &Arc<Self>, hub: &dyn Hub) {
        let mut events = Vec::new();
        {
            let mut io = self.io();
            io.was_up = true;
            io.start_attempt(self, hub, &mut events);
        }
        self.dispatch(hub, events);
    }

    /// Writes what was submitted, as far as the socket takes it.
    pub(crate) fn flush(self: &Arc<Self>, hub: &dyn Hub) {
        // What the socket did not take before is written when it takes more.
        if !self.is_filled() {
            return;
        }
        let mut events = Vec::new();
        {
            let mut io = self.io();
            {
                let mut outbox = self.outbox();
                self.is_filled.store(false, Ordering::Release);
                if !outbox.entries.is_empty() || !outbox.raw.is_empty() {
                    io.absorb(self, hub, &mut outbox);
                }
            }
            io.write(self, hub, &mut events);
        }
        self.dispatch(hub, events);
    }

    /// Closes the connection for good; what is unanswered fails with `Closed`.
    pub(crate) fn close(self: &Arc<Self>, hub: &dyn Hub) {
        let mut events = Vec::new();
        {
            let mut io = self.io();
            let mut outbox = self.outbox();
            outbox.closed = true;
            io.absorb(self, hub, &mut outbox);
            drop(outbox);
            io.close(hub, &mut events);
        }
        self.dispatch(hub, events);
    }

    /// Says whether the connection stands.
    pub(crate) fn is_up(&self) -> bool {
        self.io().is_up()
    }

    /// Tells the owner what happened, in the order in which it happened. No lock is held. What happens because the owner does
    /// something about it is told when all of this is.
    pub(super) fn dispatch(self: &Arc<Self>, hub: &dyn Hub, mut events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        {
            let mut later = self.later();
            if later.is_telling {
                later.events.append(&mut events);
                return;
            }
            later.is_telling = true;
        }
        let _telling = Telling(self);
        let Some(owner) = self.owner.upgrade() else { return };
        while !events.is_empty() {
            for event in events {
                match event {
                    Event::Opened(sender, result) => sender.send(result),
                    Event::Up(greeting) => owner.handle_up(hub, self, &greeting),
                    Event::Down(error, retrying) => owner.handle_down(hub, self, &error, retrying),
                    Event::Answer(request, value) => owner.handle_answer(hub, self, request, value),
                    Event::Push(value) => owner.handle_push(hub, self, value),
                    Event::Failure(request, written, error) => owner.handle_failure(hub, request, written, &error),
                }
            }
            owner.handle_batch_end(hub);
            events = std::mem::take(&mut self.later().events);
        }
    }

    pub(super) fn io(&self) -> MutexGuard<'_, LinkIo> {
        // Nothing panics while the lock is held; a poisoned state is as good as any.
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn later(&self) -> MutexGuard<'_, Later> {
        // As above.
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // As above.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Moves everything into the pipeline's hands.
    pub(super) fn take(&mut self, mut pipeline: impl FnMut(&mut Vec<u8>, &mut Vec<Entry<Request>>), raw: &mut Vec<u8>) {
        self.epoch += 1;
        pipeline(&mut self.bytes, &mut self.entries);
        raw.append(&mut self.raw);
    }

    /// Returns the earliest deadline of what waits.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.deadline).min()
    }
}

/// The error of everything that is asked of a closed connection.
#[cold]
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection is closed")
}
