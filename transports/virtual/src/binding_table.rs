//! The bindings of an exchange, arranged by how its kind routes.

use indexmap::IndexMap;
use kombu_core::ShortStr;

use crate::map::Map;
use crate::queue::QueueKey;
use crate::topic::TopicTable;

/// Finds the queues for a routing key.
pub(crate) enum BindingTable {
    /// The queues of each binding key.
    Direct(Map<ShortStr, Vec<QueueKey>>),
    Topic(TopicTable<QueueKey>),
    /// With how many keys each queue is bound; in the order in which they were bound.
    Fanout(IndexMap<QueueKey, usize, foldhash::fast::RandomState>),
}

impl BindingTable {
    pub(crate) fn direct() -> Self {
        BindingTable::Direct(Map::default())
    }

    pub(crate) fn topic() -> Self {
        BindingTable::Topic(TopicTable::new())
    }

    pub(crate) fn fanout() -> Self {
        BindingTable::Fanout(IndexMap::default())
    }

    /// Adds a pair that is not in it.
    pub(crate) fn insert(&mut self, binding_key: ShortStr, queue: QueueKey) {
        match self {
            BindingTable::Direct(keys) => keys.entry(binding_key).or_default().push(queue),
            BindingTable::Topic(table) => drop(table.insert(&binding_key, queue)),
            BindingTable::Fanout(queues) => *queues.entry(queue).or_default() += 1,
        }
    }

    /// Takes a pair out.
    pub(crate) fn remove(&mut self, binding_key: &ShortStr, queue: QueueKey) {
        match self {
            BindingTable::Direct(keys) => {
                let Some(queues) = keys.get_mut(binding_key) else { return };
                queues.retain(|other| *other != queue);
                if queues.is_empty() {
                    keys.remove(binding_key);
                }
            }
            BindingTable::Topic(table) => drop(table.remove(binding_key, &queue)),
            BindingTable::Fanout(queues) => {
                let Some(count) = queues.get_mut(&queue) else { return };
                *count -= 1;
                if *count == 0 {
                    queues.shift_remove(&queue);
                }
            }
        }
    }

    /// Appends the queues for a routing key.
    pub(crate) fn route(&mut self, routing_key: &str, found: &mut Vec<QueueKey>) {
        match self {
            BindingTable::Direct(keys) => found.extend(keys.get(routing_key).into_iter().flatten()),
            BindingTable::Topic(table) => table.find(routing_key, |queue| found.push(*queue)),
            BindingTable::Fanout(queues) => found.extend(queues.keys()),
        }
    }
}
