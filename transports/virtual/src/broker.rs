//! The broker inside the process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kombu_core::hub::{HubHandle, HubId};
use kombu_core::{Capabilities, Clock};

use crate::afterwards::Afterwards;
use crate::moment::Moment;
use crate::options::BrokerOptions;
use crate::queue::QueueKey;
use crate::sleepers::Sleepers;
use crate::state::State;
use crate::store::QueueStore;

/// A broker over a [`QueueStore`]: exchanges, bindings, queues, consumers and what is delivered and not settled.
///
/// Any number of [`VirtualTransport`](crate::VirtualTransport)s, the connections, share one. Everything is behind one mutex, held
/// for some ten nanoseconds by a publish or an acknowledgement (plus what the store takes), and never while a sink, an observer
/// or a destructor of the application runs.
///
/// What happens at a time (messages and queues expire, delayed ones are due) happens by timers on the hubs with which the
/// connections are registered: one for the next such time, none when there is no such time. Without a hub it happens at the next
/// call that declares or fetches, or by [`ring`](VirtualBroker::ring). A message that has expired is never delivered, whatever runs.
pub struct VirtualBroker<S: QueueStore> {
    state: Mutex<State<S>>,
    capabilities: Arc<Capabilities>,
    clock: Arc<dyn Clock>,
    sleepers: Mutex<Sleepers>,
    this: Weak<Self>,
}

impl<S: QueueStore> VirtualBroker<S> {
    /// Makes a broker over `store`, with the exchanges every broker has: the default one, `amq.direct`, `amq.fanout`, `amq.topic`,
    /// `amq.headers` and `amq.match`. All time comes from `clock`.
    pub fn new(store: S, clock: Arc<dyn Clock>) -> Arc<Self> {
        VirtualBroker::with_options(store, clock, &BrokerOptions::default())
    }

    /// Makes a broker that behaves as `options` say.
    pub fn with_options(store: S, clock: Arc<dyn Clock>, options: &BrokerOptions) -> Arc<Self> {
        let capabilities = Arc::new(store.capabilities());
        let state = Mutex::new(State::new(store, Arc::clone(&clock), options.malformed_limit));
        Arc::new_cyclic(|this| VirtualBroker {
            state,
            capabilities,
            clock,
            sleepers: Mutex::default(),
            this: Weak::clone(this),
        })
    }

    /// Returns what it can do.
    pub fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.capabilities)
    }

    /// Looks again whether messages wait in a queue and serves its consumers: for stores that others put messages into behind
    /// the broker's back. A queue that is not known here is no error. Blocks as long as the store does; deliveries happen in this
    /// thread.
    pub fn refresh(&self, queue: &str) {
        self.with(|state, after| state.refresh(queue, after));
    }

    /// Does everything whose time has come. The timers of the connections' hubs call it; programs and tests without a hub do it
    /// themselves.
    pub fn ring(&self) {
        self.with(State::ring);
    }

    /// Does something to the state, and afterwards, with the mutex released, what runs code of the application.
    #[inline]
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State<S>, &mut Afterwards) -> T) -> T {
        let mut after = Afterwards::default();
        let mut state = self.lock();
        let result = act(&mut state, &mut after);
        if state.has_chores {
            self.finish(state, &mut after);
        } else {
            drop(state);
        }
        after.run(|queue, after| self.go_on(queue, after));
        result
    }

    #[cold]
    fn go_on(&self, queue: QueueKey, after: &mut Afterwards) {
        let mut state = self.lock();
        state.dispatch(queue, after);
        self.finish(state, after);
    }

    #[cold]
    fn finish(&self, mut state: MutexGuard<'_, State<S>>, after: &mut Afterwards) {
        let next = state.do_chores(after);
        drop(state);
        if let Some(next) = next {
            self.sleep_until(next);
        }
    }

    /// Uses `hub` for timers, until it is [left](VirtualBroker::leave).
    pub(crate) fn join(&self, hub: HubHandle) {
        self.lock_sleepers().join(hub);
        let next = self.with(|state, _| state.next_alarm());
        if let Some(next) = next {
            self.sleep_until(next);
        }
    }

    /// Does not use the hub any more, if no other connection is registered with it.
    pub(crate) fn leave(&self, hub: HubId) {
        self.lock_sleepers().leave(hub);
    }

    /// Has every hub that would sleep longer wake up then.
    fn sleep_until(&self, when: Moment) {
        for hub in self.lock_sleepers().sleep_until(when) {
            let broker = Weak::clone(&self.this);
            // By the span, for the hub's time has another beginning.
            let delay = when.since(Moment::of(self.clock.system_time()));
            let (sleep, id) = (hub.sleep(delay), hub.id());
            drop(hub.spawn(async move {
                sleep.await;
                if let Some(broker) = broker.upgrade() {
                    broker.woken(id, when);
                }
            }));
        }
    }

    fn woken(&self, hub: HubId, when: Moment) {
        self.lock_sleepers().woken(hub, when);
        let next = self.with(|state, after| {
            state.ring(after);
            state.next_alarm()
        });
        if let Some(next) = next {
            self.sleep_until(next);
        }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // A store that panicked has told whoever called; the state changes in steps that each leave it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sleepers(&self) -> MutexGuard<'_, Sleepers> {
        // Nothing panics while they are locked.
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: QueueStore> fmt::Debug for VirtualBroker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualBroker")
    }
}
