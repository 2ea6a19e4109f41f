//! Where a message goes that another client took and never settled.

use kombu_core::{ExchangeKind, Result, ShortStr};

use crate::binding::{Table, Undeclared};
use crate::envelope::Unacked;
use crate::keys::Keys;

/// Where the visibility sweep puts a message back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Into these lists.
    Lists(Vec<String>),
    /// Nowhere: it has come back too often for its queue.
    WornOut {
        /// The queue.
        queue: ShortStr,
        /// The list it would go to.
        list: String,
    },
    /// Nowhere: it is set aside for this reason, in the list of malformed elements of this queue.
    ///
    /// Python drops such a message. It is kept here for somebody to look at, under its routing key, which is what its queue
    /// is called more often than not.
    SetAside {
        /// The queue it is set aside for.
        queue: ShortStr,
        /// Why.
        reason: String,
    },
}

impl Destination {
    /// Finds the place for `entry`, whose priority within 0 to 9 is `priority`.
    ///
    /// Ours name their queue, so they return to it alone. Python's name exchange and routing key and are routed again, as
    /// Python would: `table` holds the bindings of the exchange, which is not needed for the default exchange, and `kind` is
    /// what this process declared it as. As the entry does not tell which of several bound queues it was taken from, all of
    /// them get it. A fanout message has no list to return to: consumers of fanout queues never read lists.
    ///
    /// # Errors
    ///
    /// Never for the kinds that can be declared on this transport.
    pub(crate) fn find(
        entry: &Unacked,
        priority: u8,
        keys: &Keys,
        table: &Table,
        kind: Result<&ExchangeKind, Undeclared>,
    ) -> Result<Self> {
        let key = &entry.routing_key;
        if entry.exchange.is_empty() {
            return Ok(Destination::Lists(vec![keys.list_for(key, priority)]));
        }
        let queues = match kind {
            Ok(ExchangeKind::Fanout) => Vec::new(),
            kind => table.queues(kind, key)?,
        };
        if !queues.is_empty() {
            return Ok(Destination::Lists(queues.iter().map(|queue| keys.list_for(queue, priority)).collect()));
        }
        let reason = match kind {
            Ok(ExchangeKind::Fanout) => {
                format!("not settled; fanout exchange `{}` has no queue to put it back", entry.exchange)
            }
            _ => format!("not settled; exchange `{}` routes key `{key}` to no queue", entry.exchange),
        };
        Ok(Destination::SetAside { queue: key.clone(), reason })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::options::RedisOptions;

    fn find(exchange: &str, key: &str, kind: Result<&ExchangeKind, Undeclared>, members: &[&str]) -> Destination {
        let keys = Keys::new(&RedisOptions { sep: "|".into(), ..RedisOptions::default() });
        let entry = Unacked { text: Bytes::new(), exchange: exchange.into(), routing_key: key.into() };
        Destination::find(&entry, 7, &keys, &Table::parse(members, "|"), kind).unwrap()
    }

    #[test]
    fn ours_return_to_their_queue_alone() {
        let found = find("", "q", Err(Undeclared), &["q||other"]);
        assert_eq!(found, Destination::Lists(vec!["q|6".into()]));
    }

    #[test]
    fn pythons_are_routed_again_and_never_lost() {
        let members = ["k||a", "k||b", "x.*|^x\\.[^\\.]+$|c"];
        let lists = |names: &[&str]| Destination::Lists(names.iter().map(|name| (*name).into()).collect());
        assert_eq!(find("ex", "k", Ok(&ExchangeKind::Direct), &members), lists(&["a|6", "b|6"]));
        assert_eq!(find("ex", "x.y", Err(Undeclared), &members), lists(&["c|6"]));
        for (key, kind) in
            [("x.y", Ok(&ExchangeKind::Direct)), ("k", Ok(&ExchangeKind::Fanout)), ("no", Err(Undeclared))]
        {
            let Destination::SetAside { queue, reason } = find("ex", key, kind, &members) else {
                panic!("{key} has a place")
            };
            assert_eq!(queue, key);
            assert!(reason.contains("`ex`"), "{reason}");
        }
    }
}
