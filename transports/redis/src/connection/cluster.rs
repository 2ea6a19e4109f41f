//! One node of a Redis Cluster: the one that has all our keys.
//!
//! `global_keyprefix` holds a hash tag, as `{shop}` does, so that all keys of an application hash to one slot, which one node
//! serves. Here is known which slot that is, which node was last said to serve it, and where else can be asked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kombu_core::{Error, ErrorKind, Recovery, Result};
use redis::Value;

use super::Greeting;

/// The slot of our keys and what is known of the cluster's nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    slot: u16,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The node that serves the slot, as far as is known.
    owner: Option<Node>,
    /// The other nodes, who can say which does.
    others: Vec<Node>,
}

/// Where a node listens.
type Node = (String, u16);

/// What a node that was reached turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It serves our keys, or is no node of a cluster.
    Owner,
    /// Another one does, which is asked first from now on.
    Elsewhere,
}

impl Cluster {
    /// Returns the cluster of keys that begin with `prefix`, if its hash tag keeps them together.
    pub(crate) fn of_prefix(prefix: &str) -> Option<Self> {
        Some(Cluster { slot: slot(hash_tag(prefix)?.as_bytes()), known: Mutex::default() })
    }

    /// Returns the nodes to try, the one that serves the slot first.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let known = self.lock();
        known.owner.iter().chain(&known.others).cloned().collect()
    }

    /// Takes what a node at `host` said of itself and the slots.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`, worth a retry, when no node serves the slot now.
    pub(crate) fn handle_greeting(&self, greeting: &Greeting, host: &str) -> Result<Reached> {
        if !greeting.is_cluster {
            return Ok(Reached::Owner);
        }
        let (Some(id), Some(slots)) = (&greeting.node_id, &greeting.slots) else {
            // It may not tell; then its redirections do.
            return Ok(Reached::Owner);
        };
        let ranges: Vec<Range> = slots.iter().filter_map(|range| Range::read(range, host)).collect();
        let mut others: Vec<Node> = Vec::new();
        for (node, _) in ranges.iter().flat_map(|range| &range.nodes) {
            if !others.contains(node) {
                others.push(node.clone());
            }
        }
        let range = ranges.iter().find(|range| (range.first..=range.last).contains(&self.slot));
        let owner = range.and_then(|range| range.nodes.first());
        let mut known = self.lock();
        let Some((node, owner_id)) = owner else {
            known.others = others;
            let message = format!("no node of the cluster serves slot {}, which all keys hash to", self.slot);
            return Err(Error::new(ErrorKind::ConnectionLost, message).recoverable_by(Recovery::Reconnect));
        };
        others.retain(|other| other != node);
        *known = Known { owner: Some(node.clone()), others };
        Ok(if owner_id == id { Reached::Owner } else { Reached::Elsewhere })
    }

    /// Takes a redirection, `MOVED 3999 127.0.0.1:6381`; `host` is who said so.
    pub(crate) fn handle_moved(&self, details: &str, host: &str) {
        let Some((named, port)) = details.rsplit(' ').next().and_then(|address| address.rsplit_once(':')) else {
            return;
        };
        let Ok(port) = port.parse() else { return };
        let named = if named.is_empty() { host } else { named };
        let node = (named.to_owned(), port);
        let mut known = self.lock();
        known.others.retain(|other| *other != node);
        if let Some(before) = known.owner.replace(node).filter(|before| Some(before) != known.owner.as_ref()) {
            known.others.push(before);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while the lock is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A range of slots, and the nodes that have it: who serves it first, each with its id.
struct Range {
    first: u16,
    last: u16,
    nodes: Vec<(Node, String)>,
}

impl Range {
    fn read(value: &Value, host: &str) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let [Value::Int(first), Value::Int(last), nodes @ ..] = items.as_slice() else { return None };
        let node = |node: &Value| {
            let Value::Array(items) = node else { return None };
            let [name, Value::Int(port), Value::BulkString(id), ..] = items.as_slice() else { return None };
            let name = match name {
                Value::BulkString(name) if !name.is_empty() && name != b"?" => {
                    String::from_utf8_lossy(name).into_owned()
                }
                // A node that does not know its own address has the one it was reached by.
                _ => host.to_owned(),
            };
            Some(((name, u16::try_from(*port).ok()?), String::from_utf8_lossy(id).into_owned()))
        };
        Some(Range {
            first: u16::try_from(*first).ok()?,
            last: u16::try_from(*last).ok()?,
            nodes: nodes.iter().filter_map(node).collect(),
        })
    }
}

/// Returns the part of a key that is hashed, where that is not the whole key: what is between the first `{` and the `}` after
/// it, unless that is nothing.
pub(crate) fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// Returns the slot of a hash tag: CRC16 (XMODEM) modulo 16384.
fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_clusters() {
        // From the cluster specification: the CRC16 of "123456789" is 0x31C3.
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
    }

    #[test]
    fn a_hash_tag_is_between_the_first_braces() {
        assert_eq!(hash_tag("{shop}:"), Some("shop"));
        assert_eq!(hash_tag("a{b}c{d}"), Some("b"));
        assert_eq!(hash_tag("{{b}}"), Some("{b"));
        for none in ["", "shop:", "{}", "{}{b}", "{b", "b}"] {
            assert_eq!(hash_tag(none), None, "{none}");
        }
    }

    #[test]
    fn redirections_are_followed_and_remembered() {
        let cluster = Cluster::of_prefix("{shop}").unwrap();
        cluster.handle_moved("3999 127.0.0.1:6381", "h");
        cluster.handle_moved("3999 :6382", "h");
        assert_eq!(cluster.nodes(), [("h".to_owned(), 6382), ("127.0.0.1".to_owned(), 6381)]);
        cluster.handle_moved("nonsense", "h");
        assert_eq!(cluster.nodes().len(), 2);
    }

    fn greeting(id: &str, slots: &str) -> Greeting {
        let Ok(Value::Array(slots)) = redis::parse_redis_value(slots.as_bytes()) else { panic!("{slots}") };
        Greeting { is_cluster: true, node_id: Some(id.into()), slots: Some(slots), ..Greeting::default() }
    }

    #[test]
    fn a_node_knows_whether_it_serves_the_keys() {
        let cluster = Cluster::of_prefix("{foo}").unwrap();
        let slots = "*2\r\n*3\r\n:0\r\n:9000\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nia\r\n\
                     *4\r\n:9001\r\n:16383\r\n*3\r\n$0\r\n\r\n:2\r\n$2\r\nib\r\n*3\r\n$1\r\nc\r\n:3\r\n$2\r\nic\r\n";
        assert_eq!(cluster.handle_greeting(&greeting("ib", slots), "h").unwrap(), Reached::Owner);
        assert_eq!(cluster.handle_greeting(&greeting("ia", slots), "h").unwrap(), Reached::Elsewhere);
        assert_eq!(cluster.nodes(), [("h".to_owned(), 2), ("a".to_owned(), 1), ("c".to_owned(), 3)]);
        let uncovered = "*1\r\n*3\r\n:0\r\n:9000\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nia\r\n";
        let error = cluster.handle_greeting(&greeting("ia", uncovered), "h").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    }
}
