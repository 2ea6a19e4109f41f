//! The routes of exchanges, kept while the server vouches for them.
//!
//! What a route is found by is read with `CLIENT CACHING YES`, so that the server tells on the same connection when it changes
//! (`CLIENT TRACKING`). What it tells comes before the answer to whatever it executes afterwards. So a publish is sent by a kept
//! route without a question; when the answer comes and the route is not kept any more, the
//! [check](crate::route_check) reads it again and sends the message to the queues it missed, before it is confirmed.
//!
//! A route may be found by any number of keys; it goes when one of them changes. Nothing is kept by time, and nothing without
//! tracking. What this process itself changes, through whatever connection, is known at once: see
//! [`Topology::changes`](crate::topology::Topology::changes).

use std::collections::HashMap;
use std::sync::Arc;

use kombu_core::ShortStr;

use crate::binding::Table;
use crate::topology::Changes;

/// The routes that may be used without asking. Knows no socket: it is told what was read and what has changed.
#[derive(Default)]
pub(crate) struct RouteCache {
    is_tracking: bool,
    kept: HashMap<ShortStr, Kept>,
    /// Which exchanges' routes were found by a key.
    readers: HashMap<Box<str>, Vec<ShortStr>>,
    last: u64,
}

/// One exchange's routes.
struct Kept {
    number: RouteNumber,
    table: Arc<Table>,
    keys: Vec<Box<str>>,
    changes: Changes,
    /// The queues found so far, by routing key.
    found: HashMap<ShortStr, Arc<[ShortStr]>>,
}

/// Tells what was read at one time from what was read at another. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteNumber(u64);

impl RouteCache {
    /// Notes whether the server tells what changes, on a connection that was just made.
    pub(crate) fn set_tracking(&mut self, is_tracking: bool) {
        self.clear();
        self.is_tracking = is_tracking;
    }

    /// Says whether the server tells what changes.
    pub(crate) fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// Keeps what was read for `exchange` from `keys` while nothing was told of them since; `changes` are those that the process
    /// had made when it was asked for.
    pub(crate) fn keep(
        &mut self,
        exchange: &ShortStr,
        keys: Vec<Box<str>>,
        table: Arc<Table>,
        changes: Changes,
    ) -> Option<RouteNumber> {
        if !self.is_tracking {
            return None;
        }
        self.forget(exchange);
        if self.kept.len() >= MAX_EXCHANGES {
            self.clear();
        }
        self.last += 1;
        let number = RouteNumber(self.last);
        for key in &keys {
            self.readers.entry(key.clone()).or_default().push(exchange.clone());
        }
        self.kept.insert(exchange.clone(), Kept { number, table, keys, changes, found: HashMap::new() });
        Some(number)
    }

    /// Returns the queues of a message if they are known, found by `find` in the table; none when that finds none: that nobody
    /// wants a message is nothing to say without asking.
    pub(crate) fn queues(
        &mut self,
        exchange: &str,
        routing_key: &ShortStr,
        find: impl FnOnce(&Table) -> Vec<ShortStr>,
    ) -> Option<(RouteNumber, Arc<[ShortStr]>)> {
        let kept = self.kept.get_mut(exchange).filter(|kept| kept.changes.are_known())?;
        if let Some(found) = kept.found.get(routing_key) {
            return Some((kept.number, Arc::clone(found)));
        }
        let queues = find(&kept.table);
        if queues.is_empty() {
            return None;
        }
        if kept.found.len() >= MAX_KEYS {
            kept.found.clear();
        }
        let queues: Arc<[ShortStr]> = queues.into();
        kept.found.insert(routing_key.clone(), Arc::clone(&queues));
        Some((kept.number, queues))
    }

    /// Says whether the routes of an exchange are known and hold.
    pub(crate) fn vouches_for(&self, exchange: &str) -> Option<RouteNumber> {
        self.kept.get(exchange).filter(|kept| kept.changes.are_known()).map(|kept| kept.number)
    }

    /// Says whether what was read as `number` still holds, as far as the server has told.
    pub(crate) fn is_kept(&self, exchange: &str, number: RouteNumber) -> bool {
        self.kept.get(exchange).is_some_and(|kept| kept.number == number)
    }

    /// Returns what holds now, as far as the server has told.
    pub(crate) fn table(&self, exchange: &str) -> Option<(RouteNumber, Arc<Table>)> {
        self.kept.get(exchange).map(|kept| (kept.number, Arc::clone(&kept.table)))
    }

    /// The server tells that a key has changed; says whether a route was found by it.
    pub(crate) fn handle_changed(&mut self, key: &str) -> bool {
        let Some(exchanges) = self.readers.remove(key) else { return false };
        exchanges.iter().for_each(|exchange| self.forget(exchange));
        true
    }

    /// Nothing is known any more: everything on the server is gone, or the connection is.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.readers.clear();
    }

    fn forget(&mut self, exchange: &str) {
        let Some(kept) = self.kept.remove(exchange) else { return };
        for key in &kept.keys {
            if let Some(readers) = self.readers.get_mut(key) {
                readers.retain(|reader| reader != exchange);
                if readers.is_empty() {
                    self.readers.remove(key);
                }
            }
        }
    }
}

/// How many exchanges are kept.
const MAX_EXCHANGES: usize = 4096;
/// How many routing keys of an exchange are kept.
const MAX_KEYS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    struct Rig {
        cache: RouteCache,
        topology: Topology,
    }

    impl Rig {
        fn new() -> Self {
            let mut cache = RouteCache::default();
            cache.set_tracking(true);
            Rig { cache, topology: Topology::default() }
        }

        fn keep(&mut self, exchange: &str, keys: &[&str]) -> Option<RouteNumber> {
            let keys = keys.iter().map(|key| (*key).into()).collect();
            let changes = self.topology.changes(exchange);
            self.cache.keep(&exchange.into(), keys, Arc::new(Table::parse(["k||q"], "|")), changes)
        }

        fn knows(&mut self, exchange: &str) -> bool {
            self.cache.queues(exchange, &"k".into(), Table::all_queues).is_some()
        }
    }

    #[test]
    fn a_route_goes_when_one_of_its_keys_changes() {
        let mut rig = Rig::new();
        let first = rig.keep("e", &["e1", "e2", "shared"]).unwrap();
        rig.keep("f", &["f1", "shared"]).unwrap();
        assert!(rig.knows("e") && rig.knows("f") && !rig.knows("g"));
        assert!(!rig.cache.handle_changed("other"));
        assert!(rig.cache.handle_changed("e2"));
        assert!(!rig.cache.is_kept("e", first) && !rig.knows("e") && rig.knows("f"));
        let second = rig.keep("e", &["e1", "e2", "shared"]).unwrap();
        assert!(first != second && rig.cache.is_kept("e", second) && !rig.cache.is_kept("e", first));
        assert!(rig.cache.handle_changed("shared"));
        assert!(!rig.knows("e") && !rig.knows("f"));
        assert!(rig.cache.readers.is_empty(), "nothing is left of what is forgotten");
    }

    #[test]
    fn nothing_is_kept_that_nobody_vouches_for() {
        let mut rig = Rig::new();
        rig.keep("e", &["e1"]).unwrap();
        rig.cache.set_tracking(true);
        assert!(!rig.knows("e"), "it was another connection");
        rig.cache.set_tracking(false);
        assert!(rig.keep("e", &["e1"]).is_none() && !rig.knows("e"));
    }

    #[test]
    fn what_the_process_changes_is_known_at_once() {
        let mut rig = Rig::new();
        let number = rig.keep("e", &["e1"]).unwrap();
        rig.topology.note_change("other");
        assert!(rig.knows("e"));
        rig.topology.note_change("e");
        assert!(!rig.knows("e"));
        assert!(rig.cache.is_kept("e", number), "the server has said nothing: what was sent by it needs no check");
        rig.keep("e", &["e1"]).unwrap();
        assert!(rig.knows("e"));
    }

    #[test]
    fn that_nobody_wants_a_message_is_not_kept() {
        let mut rig = Rig::new();
        rig.keep("e", &["e1"]).unwrap();
        assert!(rig.cache.queues("e", &"x".into(), |_| Vec::new()).is_none());
        assert!(rig.cache.queues("e", &"x".into(), Table::all_queues).is_some());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut rig = Rig::new();
        for number in 0..2 * MAX_EXCHANGES {
            rig.keep(&format!("e{number}"), &[&format!("key{number}")]).unwrap();
        }
        assert!(rig.cache.kept.len() <= MAX_EXCHANGES && rig.cache.readers.len() <= MAX_EXCHANGES);
        rig.keep("e", &["e1"]).unwrap();
        for number in 0..2 * MAX_KEYS {
            rig.cache.queues("e", &format!("k{number}").into(), Table::all_queues).unwrap();
        }
        assert!(rig.cache.kept["e"].found.len() <= MAX_KEYS);
    }
}
