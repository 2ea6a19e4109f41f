//! The blocking moves that wake an idle consumer.
//!
//! A `BLMOVE` from a queue's list into an inbox of the consumer's own hands a message over in one step: it is in the list or in
//! the inbox, never in between, and only one of the consumers that wait gets it. The claim that follows takes what is in
//! the inbox together with more. One socket per list, kept while the queue is consumed.
//!
//! The server is told of an inbox before anything waits for it, so that others empty it when its consumer dies.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kombu_core::ShortStr;
use kombu_core::hub::Hub;
use redis::Value;

use crate::connection::{Greeting, Link, LinkOwner, Role, Target, command, refusal, waiter_patience};
use crate::request::Request;
use crate::scripts::NoteInboxes;
use crate::session::Session;

/// The sockets that wait, one per list.
pub(crate) struct Waiters {
    all: Vec<Waiter>,
    wait: Duration,
}

/// A socket that waits for an element of one list.
struct Waiter {
    list: Arc<str>,
    queue: ShortStr,
    link: Arc<Link>,
    client: Option<i64>,
    /// The clients before it that the server was told of.
    gone: Vec<i64>,
    /// The name of the consumer the inbox belongs to.
    name: Arc<str>,
    inbox: Arc<str>,
    state: State,
    is_unblocking: bool,
    /// Inboxes that may hold something.
    dirty: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server does not know of the inbox.
    Unknown,
    /// It is being told.
    Noting,
    /// It knows.
    Idle,
    /// A move is under way.
    Armed,
}

/// An inbox that may hold elements of a list.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub(crate) inbox: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) queue: ShortStr,
}

impl Waiters {
    /// Makes none; each will wait for `polling_interval` at once, or its default.
    pub(crate) fn new(polling_interval: Option<Duration>) -> Self {
        Waiters { all: Vec::new(), wait: polling_interval.unwrap_or(WAIT) }
    }

    /// Returns the sockets.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.all.iter().map(|waiter| &waiter.link)
    }

    /// Waits for the lists of `wanted` on behalf of the consumer `name`, and for no others but those of `kept` it waits for.
    pub(crate) fn wait_for(
        &mut self,
        session: &Arc<Session>,
        hub: &dyn Hub,
        name: &Arc<str>,
        wanted: &[(Arc<str>, ShortStr)],
        kept: &[Arc<str>],
    ) {
        let goes_on: HashSet<&str> =
            wanted.iter().map(|(list, _)| &**list).chain(kept.iter().map(|list| &**list)).collect();
        for waiter in &mut self.all {
            if waiter.name != *name || !goes_on.contains(&*waiter.list) {
                waiter.unblock(session);
            }
        }
        let mut new = Vec::new();
        let known: HashMap<Arc<str>, usize> =
            self.all.iter().enumerate().map(|(index, waiter)| (Arc::clone(&waiter.list), index)).collect();
        for (list, queue) in wanted {
            let index = match known.get(list) {
                Some(index) => *index,
                None => {
                    self.all.push(Waiter::new(session, hub, list, queue, name, self.wait));
                    self.all.len() - 1
                }
            };
            let waiter = &mut self.all[index];
            if waiter.name != *name && waiter.state != State::Armed {
                waiter.name = Arc::clone(name);
                waiter.inbox = session.keys.inbox(name, list).into();
                waiter.state = State::Unknown;
            }
            match waiter.state {
                State::Unknown if waiter.client.is_some() => {
                    waiter.state = State::Noting;
                    new.push(index);
                }
                State::Idle => waiter.arm(self.wait),
                _ => {}
            }
        }
        if !new.is_empty() {
            let gone: Vec<i64> = new.iter().flat_map(|index| std::mem::take(&mut self.all[*index].gone)).collect();
            self.note(session, name, &new, &gone);
        }
    }

    /// Tells the server of inboxes, and of the clients that wait for them.
    fn note(&self, session: &Session, name: &Arc<str>, new: &[usize], gone: &[i64]) {
        let run = session.lock(&session.run_id).clone().unwrap_or_default();
        let new = || new.iter().map(|index| &self.all[*index]);
        let inboxes: Vec<_> = new().map(|waiter| (waiter.inbox.to_string(), waiter.list.to_string())).collect();
        let clients: Vec<_> = new().filter_map(|waiter| Some((run.clone(), waiter.client?))).collect();
        let note = NoteInboxes { keys: &session.keys, consumer: name, inboxes: &inboxes, clients: &clients, gone };
        let bytes = note.command().get_packed_command();
        let lists = new().map(|waiter| Arc::clone(&waiter.list)).collect();
        session.submit(Request::NoteInboxes { name: Arc::clone(name), lists }, &bytes);
    }

    /// The server knows of inboxes, or refuses to.
    pub(crate) fn handle_noted(&mut self, name: &str, lists: &[Arc<str>], is_known: bool) {
        for waiter in self.all.iter_mut().filter(|waiter| &*waiter.name == name && lists.contains(&waiter.list)) {
            if waiter.state == State::Noting {
                waiter.state = if is_known { State::Idle } else { State::Unknown };
            }
        }
    }

    /// A move is over. Returns the queue it was for.
    pub(crate) fn handle_moved(&mut self, list: &str, may_hold: bool) -> Option<ShortStr> {
        let waiter = self.all.iter_mut().find(|waiter| &*waiter.list == list)?;
        if waiter.state == State::Armed {
            waiter.state = State::Idle;
        }
        waiter.is_unblocking = false;
        if may_hold {
            let inbox = Arc::clone(&waiter.inbox);
            waiter.soil(&inbox);
        }
        Some(waiter.queue.clone())
    }

    /// The server has answered the request to end a move; it may have got that before the move itself.
    pub(crate) fn handle_unblocked(&mut self, list: &str) {
        if let Some(waiter) = self.all.iter_mut().find(|waiter| &*waiter.list == list) {
            waiter.is_unblocking = false;
        }
    }

    /// A socket stands.
    pub(crate) fn handle_up(&mut self, link: &Arc<Link>, greeting: &Greeting) {
        if let Some(waiter) = self.all.iter_mut().find(|waiter| Arc::ptr_eq(&waiter.link, link)) {
            waiter.client = greeting.client_id;
            waiter.is_unblocking = false;
            // The server may be another one, and has to be told of this client in any case.
            waiter.state = State::Unknown;
        }
    }

    /// A socket is lost.
    pub(crate) fn handle_down(&mut self, link: &Arc<Link>) {
        if let Some(waiter) = self.all.iter_mut().find(|waiter| Arc::ptr_eq(&waiter.link, link)) {
            // What takes its place ends it before anything waits there.
            waiter.gone.extend(waiter.client.take());
            waiter.state = State::Unknown;
        }
    }

    /// The server may have forgotten the inboxes: it is told again before anything else waits.
    pub(crate) fn doubt(&mut self, session: &Session) {
        for waiter in &mut self.all {
            match waiter.state {
                State::Armed => waiter.unblock(session),
                _ => waiter.state = State::Unknown,
            }
        }
    }

    // ---- inboxes

    /// Returns the inboxes that may hold something.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = Inbox> {
        self.all.iter().flat_map(|waiter| {
            waiter.dirty.iter().map(|inbox| Inbox {
                inbox: Arc::clone(inbox),
                list: Arc::clone(&waiter.list),
                queue: waiter.queue.clone(),
            })
        })
    }

    /// Notes that a claim empties these.
    pub(crate) fn clean(&mut self, inboxes: &[Inbox]) {
        for waiter in &mut self.all {
            waiter.dirty.retain(|inbox| !inboxes.iter().any(|clean| clean.inbox == *inbox));
        }
    }

    /// Notes that these may hold something after all.
    pub(crate) fn soil(&mut self, inboxes: &[Inbox]) {
        for dirty in inboxes {
            if let Some(waiter) = self.all.iter_mut().find(|waiter| waiter.list == dirty.list) {
                waiter.soil(&dirty.inbox);
            }
        }
    }

    /// Returns every inbox and the list it is filled from.
    pub(crate) fn inboxes(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for waiter in &self.all {
            for inbox in waiter.dirty.iter().chain([&waiter.inbox]) {
                all.push((inbox.to_string(), waiter.list.to_string()));
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns the inbox of the move under way for a list, and ends it.
    pub(crate) fn end(&mut self, session: &Session, list: &str) -> Option<Inbox> {
        let waiter = self.all.iter_mut().find(|waiter| &*waiter.list == list && waiter.state == State::Armed)?;
        waiter.unblock(session);
        Some(Inbox { inbox: Arc::clone(&waiter.inbox), list: Arc::clone(&waiter.list), queue: waiter.queue.clone() })
    }

    /// Ends every move under way.
    pub(crate) fn end_all(&mut self, session: &Session) {
        self.all.iter_mut().for_each(|waiter| waiter.unblock(session));
    }

    // ---- what is there

    /// Says whether an inbox of a queue may hold something.
    pub(crate) fn is_dirty(&self, queue: &str) -> bool {
        self.all.iter().any(|waiter| !waiter.dirty.is_empty() && waiter.queue == *queue)
    }

    /// Says whether a move is under way.
    pub(crate) fn is_armed(&self) -> bool {
        self.all.iter().any(|waiter| waiter.state == State::Armed)
    }

    /// Says whether a move is under way for a queue.
    pub(crate) fn is_armed_for(&self, queue: &str) -> bool {
        self.all.iter().any(|waiter| waiter.state == State::Armed && waiter.queue == *queue)
    }

    /// Says whether a message of `queue` may be on its way into an inbox, or in one.
    pub(crate) fn has(&self, queue: &str) -> bool {
        let mut own = self.all.iter().filter(|waiter| waiter.queue == *queue);
        own.any(|waiter| waiter.state == State::Armed || !waiter.dirty.is_empty())
    }

    /// Says whether there are sockets of queues that are not consumed any more.
    pub(crate) fn has_unused(&self, is_active: impl Fn(&ShortStr) -> bool) -> bool {
        self.all.iter().any(|waiter| !is_active(&waiter.queue))
    }

    /// Takes out the sockets of queues that are not consumed any more, once nothing is under way on them.
    pub(crate) fn take_unused(&mut self, is_active: impl Fn(&ShortStr) -> bool) -> Vec<Arc<Link>> {
        let is_unused =
            |waiter: &Waiter| !is_active(&waiter.queue) && waiter.state != State::Armed && waiter.dirty.is_empty();
        let (unused, kept) = std::mem::take(&mut self.all).into_iter().partition(is_unused);
        let unused: Vec<Waiter> = unused;
        self.all = kept;
        unused.into_iter().map(|waiter| waiter.link).collect()
    }
}

impl Waiter {
    fn new(
        session: &Arc<Session>,
        hub: &dyn Hub,
        list: &Arc<str>,
        queue: &ShortStr,
        name: &Arc<str>,
        wait: Duration,
    ) -> Self {
        let owner: std::sync::Weak<dyn LinkOwner> = Arc::downgrade(&(Arc::clone(session) as Arc<dyn LinkOwner>));
        let patience = waiter_patience(session.target.patience, wait);
        let target = Arc::new(Target { patience, ..(*session.target).clone() });
        let link = Link::new(Role::Waiter, target, session.handle.clone(), owner);
        link.keep_open(hub);
        Waiter {
            list: Arc::clone(list),
            queue: queue.clone(),
            link,
            client: None,
            gone: Vec::new(),
            name: Arc::clone(name),
            inbox: session.keys.inbox(name, list).into(),
            state: State::Unknown,
            is_unblocking: false,
            dirty: Vec::new(),
        }
    }

    fn arm(&mut self, wait: Duration) {
        let wait = seconds(wait);
        let submitted = self.link.submit(Request::Blmove(Arc::clone(&self.list)), 1, None, |_, out| {
            command::command(out, &["BLMOVE", &self.list, &self.inbox, "RIGHT", "LEFT", &wait]);
        });
        if submitted.is_ok() {
            self.state = State::Armed;
        }
    }

    /// Asks the server to end the move under way. It may get this before the move: then the next tick repeats it.
    fn unblock(&mut self, session: &Session) {
        let Some(client) = self.client.filter(|_| self.state == State::Armed && !self.is_unblocking) else { return };
        self.is_unblocking = true;
        let mut bytes = Vec::new();
        command::command(&mut bytes, &["CLIENT", "UNBLOCK", &client.to_string()]);
        session.submit(Request::Unblock(Some(Arc::clone(&self.list))), &bytes);
    }

    fn soil(&mut self, inbox: &Arc<str>) {
        if !self.dirty.contains(inbox) {
            self.dirty.push(Arc::clone(inbox));
        }
    }
}

impl Session {
    /// Uses what the server says to the inboxes it was told of.
    pub(crate) fn handle_noted(self: &Arc<Self>, hub: &dyn Hub, name: &str, lists: &[Arc<str>], value: &Value) {
        self.poller().waiters.handle_noted(name, lists, matches!(value, Value::Int(1)));
        match value {
            Value::Int(1) => {}
            // It does not know the consumer.
            Value::Int(_) => {
                if self.lose_lease(name) {
                    self.pause_taking(hub);
                }
            }
            _ => self.pause_taking(hub),
        }
        self.touch();
    }

    /// Uses the answer to a move.
    pub(crate) fn handle_moved(self: &Arc<Self>, hub: &dyn Hub, list: &str, value: &Value) {
        let refused = match value {
            Value::ServerError(error) => Some((error.code().to_owned(), refusal(error))),
            _ => None,
        };
        {
            let mut poller = self.poller();
            let may_hold = matches!(value, Value::BulkString(_));
            let queue = poller.waiters.handle_moved(list, may_hold);
            if let Some(queue) = queue
                && (may_hold || refused.is_some())
            {
                poller.wake(&queue);
            }
        }
        if let Some((code, error)) = refused {
            if self.warnings.allows("blmove", hub.now()) {
                tracing::warn!(broker = %self.target.label, %error, "cannot wait for messages; trying again");
            }
            if code == "NOPERM" || error.to_string().contains("unknown command") {
                self.poller().do_without_blmove(self);
            }
            // A claim passes over what cannot be waited for, and works where a move is refused for lack of memory.
            self.pause_taking(hub);
        }
        self.touch();
    }

    /// A move has no answer: it may have been made.
    pub(crate) fn handle_lost_move(&self, list: &str) {
        let mut poller = self.poller();
        if let Some(queue) = poller.waiters.handle_moved(list, true) {
            poller.wake(&queue);
        }
        drop(poller);
        self.touch();
    }
}

/// Returns a span of time as Redis wants it: in seconds, and never zero, which would be for ever.
pub(crate) fn seconds(wait: Duration) -> String {
    let millis = wait.as_millis().max(1);
    if millis.is_multiple_of(1000) {
        (millis / 1000).to_string()
    } else {
        format!("{}.{:03}", millis / 1000, millis % 1000)
    }
}

/// How long a socket waits at once, unless `polling_interval` says otherwise: an idle consumer sends one command in that time.
/// Kombu waits for one second.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_whole_or_fractional_seconds_and_never_for_ever() {
        assert_eq!(seconds(Duration::from_secs(10)), "10");
        assert_eq!(seconds(Duration::from_millis(500)), "0.500");
        assert_eq!(seconds(Duration::ZERO), "0.001");
    }
}
