//! One exchange.

use kombu_core::{FieldTable, Headers, Result, ShortStr};

use crate::arguments::{self, Routing};
use crate::binding_table::BindingTable;
use crate::definition::ExchangeDefinition;
use crate::map::{Map, Set};
use crate::queue::QueueKey;
use crate::refusal;
use crate::slots::Key;

/// Names an exchange in the broker.
pub(crate) type ExchangeKey = Key<ExchangeSlot>;

/// Tells keys of exchanges apart from others.
pub(crate) enum ExchangeSlot {}

/// Where a binding leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    Queue(QueueKey),
    Exchange(ExchangeKey),
}

/// What the broker knows of an exchange.
pub(crate) struct Exchange {
    pub(crate) name: ShortStr,
    pub(crate) definition: ExchangeDefinition,
    /// Where messages go that match no binding.
    pub(crate) alternate: Option<ShortStr>,
    /// Messages with the header `x-delay` are held back.
    pub(crate) is_delayed: bool,
    /// Which exchanges lead here, and with which key.
    pub(crate) bound: Set<(ExchangeKey, ShortStr)>,
    /// The bindings: for each destination and key, the arguments they were made with. Two that differ in arguments are two
    /// bindings.
    bindings: Map<(Destination, ShortStr), Vec<FieldTable>>,
    /// The same, arranged for routing.
    table: BindingTable,
}

impl Exchange {
    /// Makes an exchange without bindings.
    ///
    /// # Errors
    ///
    /// `Unsupported` when nobody knows how to route by its kind or what an argument means, `PreconditionFailed` for a wrong one.
    pub(crate) fn new(name: ShortStr, definition: ExchangeDefinition) -> Result<Self> {
        let Routing { kind, is_delayed, alternate } =
            arguments::routing(&name, &definition.kind, &definition.arguments)?;
        let Some(table) = BindingTable::of(&kind) else {
            return Err(refusal::unsupported("exchange kinds", kind.as_str()));
        };
        let (bound, bindings) = (Set::default(), Map::default());
        Ok(Exchange { name, definition, alternate, is_delayed, bound, bindings, table })
    }

    /// Says whether it binds nothing.
    pub(crate) fn is_unused(&self) -> bool {
        self.bindings.is_empty()
    }

    /// Says whether a message's route is the same for every message of the same key.
    pub(crate) fn routes_by_key(&self) -> bool {
        !self.is_delayed && !self.table.is_by_headers()
    }

    /// Checks the arguments of a binding.
    pub(crate) fn check(&self, arguments: &FieldTable) -> Result<()> {
        self.table.check(arguments)
    }

    /// Says whether it has this very binding.
    pub(crate) fn has(&self, destination: Destination, routing_key: &ShortStr, arguments: &FieldTable) -> bool {
        self.bindings.get(&(destination, routing_key.clone())).is_some_and(|all| all.contains(arguments))
    }

    /// Adds a binding it does not have.
    pub(crate) fn bind(&mut self, destination: Destination, routing_key: ShortStr, arguments: FieldTable) {
        let all = self.bindings.entry((destination, routing_key.clone())).or_default();
        if all.is_empty() || self.table.is_by_headers() {
            self.table.insert(routing_key, destination, &arguments);
        }
        all.push(arguments);
    }

    /// Takes a binding it has out; says whether another leads to the same destination with the same key.
    pub(crate) fn unbind(&mut self, destination: Destination, routing_key: &ShortStr, arguments: &FieldTable) -> bool {
        let pair = (destination, routing_key.clone());
        let Some(all) = self.bindings.get_mut(&pair) else { return false };
        all.retain(|other| other != arguments);
        let other_remains = !all.is_empty();
        if !other_remains {
            self.bindings.remove(&pair);
        }
        if !other_remains || self.table.is_by_headers() {
            self.table.remove(routing_key, destination, arguments);
        }
        other_remains
    }

    /// Takes every binding to a destination with a key out and returns their arguments.
    pub(crate) fn forget(&mut self, destination: Destination, routing_key: &ShortStr) -> Vec<FieldTable> {
        let all = self.bindings.remove(&(destination, routing_key.clone())).unwrap_or_default();
        let kept_apart = if self.table.is_by_headers() { all.len() } else { all.len().min(1) };
        for arguments in all.iter().take(kept_apart) {
            self.table.remove(routing_key, destination, arguments);
        }
        all
    }

    /// Returns every binding.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (Destination, &ShortStr)> {
        self.bindings.keys().map(|(destination, routing_key)| (*destination, routing_key))
    }

    /// Appends where a message leads; a destination bound several times over comes several times.
    pub(crate) fn route(&mut self, routing_key: &str, headers: &Headers, found: &mut Vec<Destination>) {
        self.table.route(routing_key, headers, found);
    }
}
