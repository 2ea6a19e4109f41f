//! The bindings of an exchange, arranged by how its kind routes.

use indexmap::IndexMap;
use kombu_core::{ExchangeKind, FieldTable, Headers, Result, ShortStr};

use crate::exchange::Destination;
use crate::header_match::HeaderMatch;
use crate::map::Map;
use crate::topic::TopicTable;

/// Finds where a message goes.
pub(crate) enum BindingTable {
    /// The destinations of each binding key.
    Direct(Map<ShortStr, Vec<Destination>>),
    Topic(TopicTable<Destination>),
    /// With how many keys each is bound; in the order in which they were bound.
    Fanout(IndexMap<Destination, usize, foldhash::fast::RandomState>),
    Headers(Vec<HeadersBinding>),
}

pub(crate) struct HeadersBinding {
    binding_key: ShortStr,
    arguments: FieldTable,
    wanted: HeaderMatch,
    destination: Destination,
}

impl BindingTable {
    /// Makes an empty table; `None` when nobody knows how to route by the kind.
    pub(crate) fn of(kind: &ExchangeKind) -> Option<Self> {
        Some(match kind {
            ExchangeKind::Direct => BindingTable::Direct(Map::default()),
            ExchangeKind::Topic => BindingTable::Topic(TopicTable::new()),
            ExchangeKind::Fanout => BindingTable::Fanout(IndexMap::default()),
            ExchangeKind::Headers => BindingTable::Headers(Vec::new()),
            _ => return None,
        })
    }

    /// Says whether a route depends on the arguments of bindings and the headers of messages.
    pub(crate) fn is_by_headers(&self) -> bool {
        matches!(self, BindingTable::Headers(_))
    }

    /// Checks the arguments of a binding.
    pub(crate) fn check(&self, arguments: &FieldTable) -> Result<()> {
        if self.is_by_headers() { HeaderMatch::of(arguments).map(drop) } else { Ok(()) }
    }

    /// Adds a pair that is not in it; for a headers exchange, with these arguments.
    pub(crate) fn insert(&mut self, binding_key: ShortStr, destination: Destination, arguments: &FieldTable) {
        match self {
            BindingTable::Direct(keys) => keys.entry(binding_key).or_default().push(destination),
            BindingTable::Topic(table) => drop(table.insert(&binding_key, destination)),
            BindingTable::Fanout(all) => *all.entry(destination).or_default() += 1,
            BindingTable::Headers(all) => {
                // Checked when the binding was asked for; one found in a store may be of another version.
                if let Ok(wanted) = HeaderMatch::of(arguments) {
                    all.push(HeadersBinding { binding_key, arguments: arguments.clone(), wanted, destination });
                }
            }
        }
    }

    /// Takes a pair out; for a headers exchange, the one with these arguments.
    pub(crate) fn remove(&mut self, binding_key: &ShortStr, destination: Destination, arguments: &FieldTable) {
        match self {
            BindingTable::Direct(keys) => {
                let Some(all) = keys.get_mut(binding_key) else { return };
                all.retain(|other| *other != destination);
                if all.is_empty() {
                    keys.remove(binding_key);
                }
            }
            BindingTable::Topic(table) => drop(table.remove(binding_key, &destination)),
            BindingTable::Fanout(all) => {
                let Some(count) = all.get_mut(&destination) else { return };
                *count -= 1;
                if *count == 0 {
                    all.shift_remove(&destination);
                }
            }
            BindingTable::Headers(all) => all.retain(|other| {
                other.destination != destination || other.binding_key != *binding_key || other.arguments != *arguments
            }),
        }
    }

    /// Appends where a message goes.
    pub(crate) fn route(&mut self, routing_key: &str, headers: &Headers, found: &mut Vec<Destination>) {
        match self {
            BindingTable::Direct(keys) => found.extend(keys.get(routing_key).into_iter().flatten()),
            BindingTable::Topic(table) => table.find(routing_key, |destination| found.push(*destination)),
            BindingTable::Fanout(all) => found.extend(all.keys()),
            BindingTable::Headers(all) => {
                found.extend(all.iter().filter(|each| each.wanted.matches(headers)).map(|each| each.destination));
            }
        }
    }
}
