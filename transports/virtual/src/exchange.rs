//! One exchange.

use kombu_core::{ExchangeKind, FieldTable, ShortStr};

use crate::binding_table::BindingTable;
use crate::definition::ExchangeDefinition;
use crate::map::Map;
use crate::queue::QueueKey;
use crate::slots::Key;

/// Names an exchange in the broker.
pub(crate) type ExchangeKey = Key<ExchangeSlot>;

/// Tells keys of exchanges apart from others.
pub(crate) enum ExchangeSlot {}

/// What the broker knows of an exchange.
pub(crate) struct Exchange {
    pub(crate) name: ShortStr,
    pub(crate) definition: ExchangeDefinition,
    /// The bindings: for each queue and key, the arguments they were made with. Two that differ in arguments are two bindings.
    bindings: Map<(QueueKey, ShortStr), Vec<FieldTable>>,
    /// The same, arranged for routing.
    table: BindingTable,
}

impl Exchange {
    /// Makes an exchange without bindings; `None` when nobody knows how to route by its kind.
    pub(crate) fn new(name: ShortStr, definition: ExchangeDefinition) -> Option<Self> {
        let table = match definition.kind {
            ExchangeKind::Direct => BindingTable::direct(),
            ExchangeKind::Topic => BindingTable::topic(),
            ExchangeKind::Fanout => BindingTable::fanout(),
            _ => return None,
        };
        Some(Exchange { name, definition, bindings: Map::default(), table })
    }

    /// Says whether nothing is bound to it.
    pub(crate) fn is_unused(&self) -> bool {
        self.bindings.is_empty()
    }

    /// Says whether it has this very binding.
    pub(crate) fn has(&self, queue: QueueKey, routing_key: &ShortStr, arguments: &FieldTable) -> bool {
        self.bindings.get(&(queue, routing_key.clone())).is_some_and(|all| all.contains(arguments))
    }

    /// Adds a binding it does not have.
    pub(crate) fn bind(&mut self, queue: QueueKey, routing_key: ShortStr, arguments: FieldTable) {
        let all = self.bindings.entry((queue, routing_key.clone())).or_default();
        if all.is_empty() {
            self.table.insert(routing_key, queue);
        }
        all.push(arguments);
    }

    /// Takes a binding it has out; says whether another leads to the same queue with the same key.
    pub(crate) fn unbind(&mut self, queue: QueueKey, routing_key: &ShortStr, arguments: &FieldTable) -> bool {
        let pair = (queue, routing_key.clone());
        let Some(all) = self.bindings.get_mut(&pair) else { return false };
        all.retain(|other| other != arguments);
        if !all.is_empty() {
            return true;
        }
        self.bindings.remove(&pair);
        self.table.remove(routing_key, queue);
        false
    }

    /// Takes every binding to a queue with a key out and returns their arguments.
    pub(crate) fn forget(&mut self, queue: QueueKey, routing_key: &ShortStr) -> Vec<FieldTable> {
        let all = self.bindings.remove(&(queue, routing_key.clone())).unwrap_or_default();
        if !all.is_empty() {
            self.table.remove(routing_key, queue);
        }
        all
    }

    /// Returns every binding.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (QueueKey, &ShortStr)> {
        self.bindings.keys().map(|(queue, routing_key)| (*queue, routing_key))
    }

    /// Appends the queues that `routing_key` leads to; one bound with several keys that match comes several times.
    pub(crate) fn route(&mut self, routing_key: &str, queues: &mut Vec<QueueKey>) {
        self.table.route(routing_key, queues);
    }
}
