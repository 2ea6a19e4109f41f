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
            // Who only asks whether it exists does not know how to make it.
            Some(_) if exchange.is_passive() => {}
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

    /// Notes that `queue` exists, under the name it has by now, with the bindings it has from earlier declarations: a declaration
    /// without them ends none.
    pub(crate) fn note_queue(&self, queue: &Queue) {
        let mut declared = self.lock();
        match declared.queues.iter_mut().find(|known| known.name() == queue.name()) {
            Some(known) => {
                // Who only asks whether it exists does not know how to make it.
                let (mut now, other) =
                    if queue.is_passive() { (known.clone(), queue) } else { (queue.clone(), &*known) };
                now.add_bindings(other);
                *known = now;
            }
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
        declared.queues.iter_mut().for_each(|queue| queue.forget_bindings_to(name));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(queue: &Queue) -> Vec<&str> {
        queue.bindings().iter().map(|binding| binding.routing_key().as_str()).collect()
    }

    #[test]
    fn a_later_declaration_without_them_keeps_earlier_bindings() {
        let (topology, exchange) = (Topology::default(), Exchange::direct("x"));
        topology.note_exchange(&exchange);
        topology.note_queue(&Queue::new("q").bind(&exchange, "one").bind(&exchange, "two"));
        topology.note_queue(&Queue::new("q"));
        topology.note_queue(&Queue::new("q").bind(&exchange, "two").bind(&exchange, "three"));
        let (_, _, queues) = topology.all();
        assert_eq!(queues.iter().map(bound).collect::<Vec<_>>(), [["two", "three", "one"]]);
        let unbound =
            QueueBind { queue: "q".into(), exchange: "x".into(), routing_key: "two".into(), ..Default::default() };
        topology.forget_binding(&unbound);
        assert_eq!(bound(&topology.all().2[0]), ["three", "one"]);
        topology.forget_exchange(&"x".into());
        assert_eq!(bound(&topology.all().2[0]), [""; 0]);
    }

    #[test]
    fn asking_whether_something_exists_does_not_change_how_it_is_made() {
        let topology = Topology::default();
        topology.note_exchange(&Exchange::topic("x").transient());
        topology.note_exchange(&Exchange::direct("x").passive());
        topology.note_queue(&Queue::new("q").max_length(5));
        topology.note_queue(&Queue::new("q").passive());
        let (exchanges, _, queues) = topology.all();
        assert_eq!(exchanges, [Exchange::topic("x").transient()]);
        assert_eq!(queues, [Queue::new("q").max_length(5)]);
    }
}
