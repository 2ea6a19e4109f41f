//! What was declared through a connection, so that it can be declared again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::entity::{Exchange, Queue};
use crate::method::{ExchangeBind, QueueBind};
use crate::short_str::ShortStr;

/// Exchanges, bindings between them, and queues, each in the order of their first declaration.
#[derive(Default)]
pub(crate) struct Topology(Mutex<Declared>);

#[derive(Default)]
struct Declared {
    exchanges: Vec<Exchange>,
    bindings: Vec<ExchangeBind>,
    queues: Vec<Queue>,
}

impl Topology {
    fn lock(&self) -> MutexGuard<'_, Declared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `exchange` exists.
    pub(crate) fn note_exchange(&self, exchange: &Exchange) {
        let mut declared = self.lock();
        match declared.exchanges.iter_mut().find(|known| known.name() == exchange.name()) {
            Some(known) => *known = exchange.clone(),
            None => declared.exchanges.push(exchange.clone()),
        }
    }

    /// Notes that an exchange is bound to another.
    pub(super) fn note_exchange_binding(&self, binding: ExchangeBind) {
        let mut declared = self.lock();
        if !declared.bindings.contains(&binding) {
            declared.bindings.push(binding);
        }
    }

    pub(super) fn forget_exchange_binding(&self, binding: &ExchangeBind) {
        self.lock().bindings.retain(|known| known != binding);
    }

    /// Notes that `queue` exists, under the name it has by now.
    pub(crate) fn note_queue(&self, queue: &Queue) {
        let mut declared = self.lock();
        match declared.queues.iter_mut().find(|known| known.name() == queue.name()) {
            Some(known) => *known = queue.clone(),
            None => declared.queues.push(queue.clone()),
        }
    }

    pub(super) fn forget_exchange(&self, name: &ShortStr) {
        let mut declared = self.lock();
        declared.exchanges.retain(|exchange| exchange.name() != name);
        declared.bindings.retain(|binding| binding.source != *name && binding.destination != *name);
    }

    pub(super) fn forget_queue(&self, name: &ShortStr) {
        self.lock().queues.retain(|queue| queue.name() != name);
    }

    pub(super) fn forget_binding(&self, method: &QueueBind) {
        for queue in self.lock().queues.iter_mut().filter(|queue| *queue.name() == method.queue) {
            queue.forget_binding(&method.exchange, &method.routing_key);
        }
    }

    /// Returns everything, each in the order of their first declaration.
    pub(super) fn all(&self) -> (Vec<Exchange>, Vec<ExchangeBind>, Vec<Queue>) {
        let declared = self.lock();
        (declared.exchanges.clone(), declared.bindings.clone(), declared.queues.clone())
    }
}
