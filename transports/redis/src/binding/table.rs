//! Looking up routes.

use kombu_core::{Envelope, Error, ErrorKind, ExchangeKind, Result, ShortStr};
use kombu_virtual::{delay, topic};

use super::{Member, Reached, Record};
use crate::topology::routing_kind;

/// The bindings of one exchange, parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Sorted by key, then queue.
    routes: Vec<Route>,
    malformed: Vec<String>,
    /// What Kombu's table cannot hold.
    record: Record,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    key: ShortStr,
    queue: ShortStr,
    has_pattern: bool,
}

/// How to route through an exchange that this process has not declared.
///
/// Kombu takes it for a direct exchange, whatever it is elsewhere, and drops what only a pattern would match. Redis keeps no
/// record of the kind, but only topic exchanges leave patterns in their members: a member with a pattern is matched as
/// topic, one without by its whole key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undeclared;

impl Table {
    /// Parses the members of a binding table. Those that do not have three fields are left out: see
    /// [`malformed`](Table::malformed).
    pub(crate) fn parse<M: AsRef<[u8]>>(members: impl IntoIterator<Item = M>, sep: &str) -> Self {
        let mut table = Table::default();
        for member in members {
            let text = std::str::from_utf8(member.as_ref());
            match text.ok().and_then(|text| Member::parse(text, sep)) {
                Some(Member { key, pattern, queue }) => {
                    table.routes.push(Route { key: key.into(), queue: queue.into(), has_pattern: !pattern.is_empty() });
                }
                None => table.malformed.push(String::from_utf8_lossy(member.as_ref()).into_owned()),
            }
        }
        table.routes.sort_unstable();
        table
    }

    /// Returns the members that could not be parsed. They route nothing; in Kombu they make every publish to the exchange
    /// fail.
    pub(crate) fn malformed(&self) -> &[String] {
        &self.malformed
    }

    /// Adds what Kombu's table cannot hold.
    pub(crate) fn with_record(mut self, record: Record) -> Self {
        self.malformed.extend_from_slice(record.malformed());
        self.record = record;
        self
    }

    /// Says whether nothing is known of the exchange.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.record.is_empty()
    }

    /// Says whether a message may go elsewhere than its members and the exchange's kind say.
    pub(crate) fn is_special(&self) -> bool {
        self.record.is_special()
    }

    /// Says whether the exchange takes messages from other exchanges only.
    pub(crate) fn is_internal(&self) -> bool {
        self.record.definition.as_ref().is_some_and(|definition| definition.internal)
    }

    /// Returns how the exchange routes, if that is kept.
    pub(crate) fn kind(&self) -> Option<ExchangeKind> {
        self.record.definition.as_ref().map(|definition| routing_kind(&definition.kind, &definition.arguments))
    }

    /// Says whether the exchange holds back messages that ask for it.
    pub(crate) fn is_delayed(&self) -> bool {
        self.record.definition.as_ref().is_some_and(|definition| definition.kind.as_str() == delay::KIND)
    }

    /// Returns where messages go that match no binding.
    pub(crate) fn alternate(&self) -> Option<&str> {
        self.record.alternate()
    }

    /// Returns where the exchange sends a message: first the queues of its members, in order of name.
    ///
    /// # Errors
    ///
    /// As for [`queues`](Table::queues).
    pub(crate) fn reach(&self, kind: Result<&ExchangeKind, Undeclared>, envelope: &Envelope) -> Result<Reached> {
        let queues = match kind {
            // By its own bindings alone: a member has no arguments.
            Ok(ExchangeKind::Headers) => Vec::new(),
            kind => self.queues(kind, &envelope.routing_key)?,
        };
        let mut reached = Reached { queues, exchanges: Vec::new() };
        let kind = kind.unwrap_or(&ExchangeKind::Direct);
        self.record.reach(kind, &envelope.routing_key, &envelope.headers, &mut reached);
        Ok(reached)
    }

    /// Returns every bound queue once, in order of name.
    pub(crate) fn all_queues(&self) -> Vec<ShortStr> {
        distinct(self.routes.iter())
    }

    /// Returns the queues that get a message with `routing_key`, each once, in order of name.
    ///
    /// `kind` is what the exchange was declared as: a direct exchange compares whole keys, a topic exchange matches them by
    /// AMQP's rules, a fanout exchange takes every queue. The patterns of members are looked at only for an [`Undeclared`]
    /// exchange, and only for whether they are there.
    ///
    /// # Errors
    ///
    /// `Unsupported` for other kinds.
    pub(crate) fn queues(&self, kind: Result<&ExchangeKind, Undeclared>, routing_key: &str) -> Result<Vec<ShortStr>> {
        match kind {
            Ok(ExchangeKind::Direct) => Ok(distinct(self.bound_with(routing_key).iter())),
            Ok(ExchangeKind::Topic) => Ok(self.matching(|route| topic::matches(&route.key, routing_key))),
            Ok(ExchangeKind::Fanout) => Ok(self.all_queues()),
            Err(Undeclared) => Ok(self.matching(|route| {
                *route.key == *routing_key || route.has_pattern && topic::matches(&route.key, routing_key)
            })),
            Ok(other) => {
                Err(Error::new(ErrorKind::Unsupported, format!("the redis transport has no {other} exchanges")))
            }
        }
    }

    fn bound_with(&self, key: &str) -> &[Route] {
        let start = self.routes.partition_point(|route| *route.key < *key);
        let count = self.routes[start..].partition_point(|route| *route.key == *key);
        &self.routes[start..start + count]
    }

    fn matching(&self, is_match: impl Fn(&Route) -> bool) -> Vec<ShortStr> {
        distinct(self.routes.iter().filter(|route| is_match(route)))
    }
}

fn distinct<'r>(routes: impl Iterator<Item = &'r Route>) -> Vec<ShortStr> {
    let mut queues: Vec<ShortStr> = routes.map(|route| route.queue.clone()).collect();
    queues.sort_unstable();
    queues.dedup();
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(members: &[&str]) -> Table {
        Table::parse(members, "|")
    }

    #[test]
    fn each_queue_is_named_once_in_order() {
        let table = table(&["k||b", "k||a", "other||c", "k||d"]);
        assert_eq!(table.queues(Ok(&ExchangeKind::Direct), "k").unwrap(), ["a", "b", "d"]);
        assert_eq!(table.queues(Ok(&ExchangeKind::Fanout), "").unwrap(), ["a", "b", "c", "d"]);
        let table = self::table(&["a.#|^a\\..*?$|q", "a.*|^a\\.[^\\.]+$|q", "#|^.*?$|p"]);
        assert_eq!(table.queues(Ok(&ExchangeKind::Topic), "a.b").unwrap(), ["p", "q"]);
    }

    #[test]
    fn a_pattern_never_decides_for_a_declared_exchange() {
        // What a broken client may have left: nonsense as pattern, or none at all, which matches everything in Kombu.
        let table = table(&["a.*|^(((|q", "b||p"]);
        assert_eq!(table.queues(Ok(&ExchangeKind::Topic), "a.x").unwrap(), ["q"]);
        assert_eq!(table.queues(Ok(&ExchangeKind::Topic), "b").unwrap(), ["p"]);
        assert!(table.queues(Ok(&ExchangeKind::Topic), "c").unwrap().is_empty());
        assert!(table.queues(Ok(&ExchangeKind::Direct), "a.x").unwrap().is_empty());
        assert_eq!(table.queues(Ok(&ExchangeKind::Direct), "a.*").unwrap(), ["q"]);
    }

    #[test]
    fn an_undeclared_exchange_is_what_its_members_say() {
        let topic = table(&["a.*|^a\\.[^\\.]+$|q"]);
        assert_eq!(topic.queues(Err(Undeclared), "a.b").unwrap(), ["q"]);
        let direct = table(&["a.*||q", "#||p"]);
        assert!(direct.queues(Err(Undeclared), "a.b").unwrap().is_empty());
        assert_eq!(direct.queues(Err(Undeclared), "a.*").unwrap(), ["q"]);
    }

    #[test]
    fn malformed_members_stop_nobody() {
        let table = Table::parse([&b"nonsense"[..], b"k||q", b"\xff||q", b"a|b|c|d"], "|");
        assert_eq!(table.malformed().len(), 3);
        assert_eq!(table.queues(Ok(&ExchangeKind::Direct), "k").unwrap(), ["q"]);
    }

    #[test]
    fn other_kinds_are_refused() {
        let error = table(&[]).queues(Ok(&ExchangeKind::Headers), "k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
