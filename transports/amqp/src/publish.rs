//! Publishing: pipelined, confirmed, and returns given back to the publish they belong to.

mod entry;
mod pump;
mod told;
mod unsent;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use kombu_core::hub::instant_after;
use kombu_core::method::BasicPublish;
use kombu_core::{Confirm, Envelope, Error, ErrorKind, Outcome, reply};

use self::entry::Entry;
use self::told::Told;
use self::unsent::Unsent;
use crate::client::ClientChannel;
use crate::error::closed;
use crate::events::Events;
use crate::session::{Session, within};

/// The publishes of one channel. They go over an AMQP channel of their own, so that one the broker refuses ends nothing else,
/// in the order of the calls.
///
/// A channel the broker closed is opened again, and what was under way on it is sent again one by one: the one that ends the
/// channel while it is alone is the one at fault, and the others go on. Those that may have reached the broker before carry the
/// header `x-republished`.
pub(crate) struct Publisher {
    state: Mutex<State>,
    session: Arc<Session>,
    /// Who is told of what cannot be matched or sent.
    events: Arc<Events>,
}

#[derive(Default)]
struct State {
    channel: Option<Arc<dyn ClientChannel>>,
    /// Whether `channel` is one of the connection that also consumes.
    is_on_main: bool,
    /// Sent, in the order of sending.
    in_flight: VecDeque<Entry>,
    /// What of it `channel` has not written yet.
    unsent: Unsent,
    /// Not sent yet, in the order of the calls.
    waiting: VecDeque<Entry>,
    /// How many mandatory messages are in flight.
    mandatory: usize,
    /// Wakes the pump.
    pump: Option<Waker>,
    is_pumped: bool,
    /// Nothing more is taken: why.
    ended: Option<Error>,
    /// Who waits until everything so far has its answer, with the number of the last entry that concerns them.
    barriers: Vec<(u64, reply::ReplySender<()>)>,
    /// The number of the entry made last.
    last: u64,
    /// Counts the looks at everything in flight.
    round: u64,
    /// The last of them that found a landing without a return.
    last_clean: u64,
}

impl Publisher {
    pub(crate) fn new(session: Arc<Session>, events: Arc<Events>) -> Arc<Self> {
        let publisher = Arc::new(Publisher { state: Mutex::default(), session, events });
        publisher.session.add_publisher(&publisher);
        publisher
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; a poisoned state is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message, or queues it until that is possible.
    pub(crate) fn publish(self: &Arc<Self>, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        let size = size(&envelope);
        if !self.session.backlog.add(size) {
            let error = Error::new(ErrorKind::Overloaded, "too much waits to be published");
            return Confirm::ready(Err(error.with_outcome(Outcome::NotSent)));
        }
        let deadline = method.timeout.map(|timeout| instant_after(self.session.handle.now(), timeout));
        let (sender, receiver) = reply::channel();
        let mut entry = Entry::new(method.mandatory, envelope, size, deadline, sender);
        let mut told = Told::default();
        let (waker, spawns) = {
            let mut guard = self.lock();
            let state = &mut *guard;
            if let Some(error) = state.ended.as_ref().map(Error::duplicate) {
                drop(guard);
                // Whoever publishes did not know yet; it is published on the next connection.
                self.hand_back(vec![entry], &error);
                return Confirm::reply(receiver);
            }
            state.last += 1;
            entry.number = state.last;
            state.waiting.push_back(entry);
            let is_out = self.launch(state, &mut told);
            let spawns = !std::mem::replace(&mut state.is_pumped, true);
            // What went out is looked at when it or its turn comes.
            let waker = if is_out { None } else { state.pump.clone() };
            (waker, spawns)
        };
        self.tell(told);
        if spawns {
            let pump = Arc::clone(self);
            drop(self.session.handle.spawn(async move { pump.run().await }));
        } else if let Some(waker) = waker {
            waker.wake();
        }
        Confirm::reply(receiver)
    }

    /// Waits until everything published so far has its answer.
    pub(crate) fn barrier(&self) -> Option<reply::Reply<()>> {
        let mut state = self.lock();
        if state.in_flight.is_empty() && state.waiting.is_empty() {
            return None;
        }
        let (sender, receiver) = reply::channel();
        let last = state.last;
        state.barriers.push((last, sender));
        Some(receiver)
    }

    /// Looks again at whether something can be sent: the connection was blocked, or publishing moves to another.
    pub(crate) fn wake(&self) {
        let waker = self.lock().pump.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends it: the connection is lost or closed. What has no answer is handed to whoever publishes again.
    pub(crate) fn end(&self, error: &Error) {
        let (entries, barriers, waker) = {
            let mut state = self.lock();
            if state.ended.is_none() {
                state.ended = Some(error.duplicate());
            }
            let state = &mut *state;
            let entries: Vec<Entry> = state.in_flight.drain(..).chain(state.waiting.drain(..)).collect();
            state.mandatory = 0;
            state.channel = None;
            (entries, std::mem::take(&mut state.barriers), state.pump.take())
        };
        self.hand_back(entries, error);
        drop(barriers);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Says whether nothing can be sent at this moment.
    pub(crate) fn is_blocked(&self) -> bool {
        let on_main = self.lock().is_on_main;
        self.session.is_blocked(on_main)
    }

    /// Ends it in good order: nothing is under way any more, or will be answered.
    pub(crate) async fn close(&self, patience: Duration) {
        let channel = self.lock().channel.take();
        self.end(&closed());
        if let Some(channel) = channel.filter(|_| !self.is_blocked()) {
            // A connection that is lost or blocked has no goodbyes.
            let _ = within(&self.session.handle, patience, channel.close()).await;
        }
    }

    fn hand_back(&self, entries: Vec<Entry>, error: &Error) {
        for entry in &entries {
            self.session.backlog.remove(entry.size);
        }
        self.session.backlog.wake();
        let unconfirmed: Vec<_> = entries.into_iter().filter_map(Entry::into_unconfirmed).collect();
        if unconfirmed.is_empty() {
            return;
        }
        match self.events.get() {
            Some(events) => events.unconfirmed(unconfirmed, error),
            None => unconfirmed.into_iter().for_each(|publish| publish.fail(error)),
        }
    }
}

/// What a message counts for in the backlog: its body, and an allowance for the rest.
fn size(envelope: &Envelope) -> usize {
    envelope.body.len() + 256
}
