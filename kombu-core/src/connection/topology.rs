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
    /// Queues the broker named: as declared, without a name, and the names they had, the last one being theirs now.
    server_named: Vec<(Queue, Vec<ShortStr>)>,
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

    /// Notes that the broker named `queue`, declared without a name.
    pub(crate) fn note_server_named(&self, queue: &Queue, name: &ShortStr) {
        self.lock().server_named.push((queue.clone(), vec![name.clone()]));
    }

    /// Returns the queues the broker named, with the name each has.
    pub(super) fn server_named(&self) -> Vec<(ShortStr, Queue)> {
        let declared = self.lock();
        let named = |(queue, names): &(Queue, Vec<ShortStr>)| Some((names.last()?.clone(), queue.clone()));
        declared.server_named.iter().filter_map(named).collect()
    }

    /// Notes that the broker named a queue anew.
    pub(super) fn rename(&self, old: &ShortStr, new: &ShortStr) {
        let mut declared = self.lock();
        if let Some((_, names)) = declared.server_named.iter_mut().find(|(_, names)| names.last() == Some(old)) {
            names.push(new.clone());
        }
    }

    /// Says whether `name` is, or was, the broker's choice for a queue declared without one.
    pub(crate) fn is_server_named(&self, name: &ShortStr) -> bool {
        self.lock().server_named.iter().any(|(_, names)| names.contains(name))
    }

    /// Returns the name that the queue once called `name` has now.
    pub(crate) fn current_name(&self, name: &ShortStr) -> ShortStr {
        let declared = self.lock();
        let found = declared.server_named.iter().find(|(_, names)| names.contains(name));
        found.and_then(|(_, names)| names.last()).unwrap_or(name).clone()
    }

    /// Says whether a queue was declared with a dead-letter exchange.
    pub(crate) fn has_dead_letter_exchange(&self, queue: &ShortStr) -> bool {
        let declared = self.lock();
        let named = declared.server_named.iter().find(|(_, names)| names.contains(queue)).map(|(named, _)| named);
        named
            .or_else(|| declared.queues.iter().find(|known| known.name() == queue))
            .is_some_and(Queue::has_dead_letter_exchange)
    }

    pub(super) fn forget_exchange(&self, name: &ShortStr) {
        let mut declared = self.lock();
        declared.exchanges.retain(|exchange| exchange.name() != name);
        declared.bindings.retain(|binding| binding.source != *name && binding.destination != *name);
    }

    pub(super) fn forget_queue(&self, name: &ShortStr) {
        let mut declared = self.lock();
        declared.queues.retain(|queue| queue.name() != name);
        declared.server_named.retain(|(_, names)| !names.contains(name));
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
