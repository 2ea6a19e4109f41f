//! The broker inside the process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kombu_core::{Capabilities, Clock};

use crate::afterwards::Afterwards;
use crate::state::State;
use crate::store::QueueStore;

/// A broker over a [`QueueStore`]: exchanges, bindings, queues, consumers and what is delivered and not settled.
///
/// Any number of [`VirtualTransport`](crate::VirtualTransport)s, the connections, share one. Everything is behind one mutex, held
/// for some ten nanoseconds by a publish or an acknowledgement (plus what the store takes), and never while a sink, an observer
/// or a destructor of the application runs.
pub struct VirtualBroker<S: QueueStore> {
    state: Mutex<State<S>>,
    capabilities: Arc<Capabilities>,
}

impl<S: QueueStore> VirtualBroker<S> {
    /// Makes a broker over `store`, with the exchanges every broker has: the default one, `amq.direct`, `amq.fanout` and
    /// `amq.topic`. All time comes from `clock`.
    pub fn new(store: S, clock: Arc<dyn Clock>) -> Arc<Self> {
        let capabilities = Arc::new(store.capabilities());
        Arc::new(VirtualBroker { state: Mutex::new(State::new(store, clock)), capabilities })
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

    /// Does something to the state, and afterwards, with the mutex released, what runs code of the application.
    #[inline]
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State<S>, &mut Afterwards) -> T) -> T {
        let mut after = Afterwards::default();
        let result = act(&mut self.lock(), &mut after);
        after.run(|queue, after| self.lock().dispatch(queue, after));
        result
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // A store that panicked has told whoever called; the state changes in steps that each leave it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: QueueStore> fmt::Debug for VirtualBroker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualBroker")
    }
}
