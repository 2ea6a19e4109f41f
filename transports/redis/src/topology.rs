//! What this process declared on one broker.
//!
//! Redis keeps no record of an exchange, nor of an empty queue. As in Kombu, each process remembers what it declared; here
//! all connections of the process to one database remember it together, for as long as one of them lives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kombu_core::method::{ExchangeDeclare, QueueDeclare};
use kombu_core::{Error, ErrorKind, ExchangeKind, FieldTable, Result, Scope, ShortStr, Value};

use kombu_virtual::{ExchangeDefinition, QueueDefinition, delay};

use crate::binding;
use crate::define::differs;

/// The declarations of this process on one broker.
#[derive(Default)]
pub(crate) struct Topology {
    declared: Mutex<Declared>,
    /// How often something was declared that a server keeps.
    told: AtomicU64,
}

#[derive(Default)]
struct Declared {
    exchanges: HashMap<ShortStr, ExchangeDeclare>,
    queues: HashMap<ShortStr, QueueFacts>,
    /// The bindings that Kombu's tables do not hold.
    ours: Vec<OurBinding>,
    changes: HashMap<ShortStr, Arc<AtomicU64>>,
}

/// The changes that this process has made to the routes of an exchange, up to some time.
pub(crate) struct Changes {
    all: Arc<AtomicU64>,
    known: u64,
}

impl Changes {
    /// Says whether there are no others since.
    pub(crate) fn are_known(&self) -> bool {
        self.all.load(Ordering::Acquire) == self.known
    }
}

/// A binding that Kombu's tables do not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OurBinding {
    /// The exchange that sends.
    pub(crate) source: ShortStr,
    /// What is kept of it.
    pub(crate) field: String,
    /// Whether it leads to an exchange.
    pub(crate) to_exchange: bool,
    /// The queue or exchange that receives.
    pub(crate) destination: ShortStr,
}

/// What is known of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueFacts {
    /// `x-expires`, in milliseconds.
    pub(crate) expires: Option<u64>,
    /// It goes when its last consumer goes.
    pub(crate) auto_delete: bool,
    /// It goes with its connection.
    pub(crate) exclusive: bool,
    /// What it was declared with, if it was.
    pub(crate) definition: Option<QueueDefinition>,
    /// The exchanges and keys it is bound with.
    pub(crate) bindings: Vec<(ShortStr, ShortStr)>,
    /// How many consumers this process has on it.
    pub(crate) consumers: u32,
    /// Whether one of them asked to be the only one.
    pub(crate) is_exclusively_consumed: bool,
}

impl Topology {
    /// Returns the declarations of this process on the broker called `broker`.
    pub(crate) fn of(broker: &str) -> Arc<Self> {
        static ALL: Mutex<Vec<(String, Weak<Topology>)>> = Mutex::new(Vec::new());
        // Nothing panics while the lock is held.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, topology)| topology.strong_count() > 0);
        if let Some(found) = all.iter().find(|(name, _)| name == broker).and_then(|(_, topology)| topology.upgrade()) {
            return found;
        }
        let topology = Arc::new(Topology::default());
        all.push((broker.to_owned(), Arc::downgrade(&topology)));
        topology
    }

    /// Notes that something was declared that a server keeps.
    pub(crate) fn note_told(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns how often that was so.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// Notes an exchange.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` when it was declared with other properties.
    pub(crate) fn declare_exchange(&self, method: &ExchangeDeclare) -> Result<()> {
        let mut declared = self.lock();
        declared.check_exchange(method)?;
        if !declared.exchanges.contains_key(&method.exchange) {
            declared.exchanges.insert(method.exchange.clone(), method.clone());
            declared.note_change(&method.exchange);
        }
        Ok(())
    }

    /// Notes an exchange, whatever was noted of it before: the server knows better.
    pub(crate) fn replace_exchange(&self, method: &ExchangeDeclare) {
        let mut declared = self.lock();
        declared.exchanges.insert(method.exchange.clone(), method.clone());
        declared.note_change(&method.exchange);
    }

    /// Says whether an exchange may be declared so.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` when it was declared with other properties.
    pub(crate) fn check_exchange(&self, method: &ExchangeDeclare) -> Result<()> {
        self.lock().check_exchange(method)
    }

    /// Returns the kind of an exchange this process declared.
    pub(crate) fn exchange_kind(&self, exchange: &str) -> Option<ExchangeKind> {
        self.lock().exchanges.get(exchange).map(|known| routing_kind(&known.kind, &known.arguments))
    }

    /// Says whether this process declared an exchange that holds messages back.
    pub(crate) fn is_delayed(&self, exchange: &str) -> bool {
        self.lock().exchanges.get(exchange).is_some_and(|known| known.kind.as_str() == delay::KIND)
    }

    /// Forgets an exchange and the bindings to it.
    pub(crate) fn forget_exchange(&self, exchange: &str) {
        let mut declared = self.lock();
        declared.exchanges.remove(exchange);
        declared.ours.retain(|binding| {
            binding.source != *exchange && !(binding.to_exchange && binding.destination == *exchange)
        });
        declared.note_change(exchange);
        for facts in declared.queues.values_mut() {
            facts.bindings.retain(|(bound, _)| bound != exchange);
        }
    }

    /// Returns `x-expires` of a declaration, in milliseconds.
    pub(crate) fn expires_of(&self, method: &QueueDeclare) -> Option<u64> {
        method.arguments.get("x-expires").and_then(whole).filter(|expires| *expires > 0)
    }

    /// Notes a queue.
    pub(crate) fn declare_queue(&self, queue: &ShortStr, method: &QueueDeclare) {
        let expires = method.arguments.get("x-expires").and_then(whole).filter(|expires| *expires > 0);
        let mut declared = self.lock();
        let facts = declared.queues.entry(queue.clone()).or_default();
        facts.expires = expires;
        facts.auto_delete = method.auto_delete;
        facts.exclusive = method.exclusive;
        facts.definition = Some(method.clone().into());
    }

    /// Returns what this process declared exchanges with.
    pub(crate) fn exchange_definitions(&self) -> Vec<(ShortStr, ExchangeDefinition)> {
        self.lock().exchanges.iter().map(|(name, known)| (name.clone(), known.clone().into())).collect()
    }

    /// Returns what this process declared queues with.
    pub(crate) fn queue_definitions(&self) -> Vec<(ShortStr, QueueDefinition)> {
        let declared = self.lock();
        let queues = declared.queues.iter();
        queues.filter_map(|(name, facts)| Some((name.clone(), facts.definition.clone()?))).collect()
    }

    /// Returns what is known of a queue this process declared, bound or consumes.
    pub(crate) fn queue(&self, queue: &str) -> Option<QueueFacts> {
        self.lock().queues.get(queue).cloned()
    }

    /// Returns `x-expires` of a queue, in milliseconds.
    pub(crate) fn expires(&self, queue: &str) -> Option<u64> {
        self.lock().queues.get(queue)?.expires
    }

    /// Forgets a queue and returns what was known of it.
    pub(crate) fn forget_queue(&self, queue: &str) -> QueueFacts {
        let mut declared = self.lock();
        declared.ours.retain(|binding| binding.to_exchange || binding.destination != *queue);
        declared.queues.remove(queue).unwrap_or_default()
    }

    /// Returns what this process declared an exchange with.
    pub(crate) fn exchange_definition(&self, exchange: &str) -> Option<ExchangeDefinition> {
        self.lock().exchanges.get(exchange).cloned().map(ExchangeDefinition::from)
    }

    /// Says whether other exchanges lead to one, or it to others, as far as this process knows.
    pub(crate) fn is_linked(&self, exchange: &str) -> bool {
        let declared = self.lock();
        let alternate = |known: &ExchangeDeclare| {
            known.arguments.get("alternate-exchange").and_then(Value::as_str) == Some(exchange)
        };
        let is_end = |binding: &OurBinding| binding.to_exchange && binding.destination == *exchange;
        declared.ours.iter().any(|binding| binding.source == *exchange || is_end(binding))
            || declared.exchanges.values().any(alternate)
    }

    /// Notes a binding that Kombu's tables do not hold.
    pub(crate) fn bind_ours(&self, binding: OurBinding) {
        let mut declared = self.lock();
        if !declared.ours.contains(&binding) {
            declared.ours.push(binding);
        }
    }

    /// Forgets one.
    pub(crate) fn unbind_ours(&self, binding: &OurBinding) {
        self.lock().ours.retain(|other| other != binding);
    }

    /// Returns those of an exchange.
    pub(crate) fn ours_of(&self, exchange: &str) -> Vec<OurBinding> {
        self.lock().ours.iter().filter(|binding| binding.source == *exchange).cloned().collect()
    }

    /// Notes a binding.
    pub(crate) fn bind(&self, queue: &ShortStr, exchange: &ShortStr, routing_key: &ShortStr) {
        let binding = (exchange.clone(), routing_key.clone());
        let mut declared = self.lock();
        let facts = declared.queues.entry(queue.clone()).or_default();
        if !facts.bindings.contains(&binding) {
            facts.bindings.push(binding);
        }
    }

    /// Forgets a binding.
    pub(crate) fn unbind(&self, queue: &str, exchange: &str, routing_key: &str) {
        if let Some(facts) = self.lock().queues.get_mut(queue) {
            facts.bindings.retain(|(bound, key)| !(bound == exchange && key == routing_key));
        }
    }

    /// Notes that a change to the routes of an exchange is made: the server has said so.
    pub(crate) fn note_change(&self, exchange: &str) {
        self.lock().note_change(exchange);
    }

    /// Returns the changes made to the routes of an exchange so far.
    pub(crate) fn changes(&self, exchange: &str) -> Changes {
        let mut declared = self.lock();
        if declared.changes.len() >= MAX_CHANGES {
            // What nobody remembers has no changes to be told of.
            declared.changes.retain(|_, changes| Arc::strong_count(changes) > 1);
        }
        let all = match declared.changes.get(exchange) {
            Some(all) => Arc::clone(all),
            None => Arc::clone(declared.changes.entry(exchange.into()).or_default()),
        };
        let known = all.load(Ordering::Acquire);
        Changes { all, known }
    }

    /// Returns the exchanges that were declared, and those that something is bound to.
    pub(crate) fn bound_exchanges(&self) -> Vec<ShortStr> {
        let declared = self.lock();
        let bindings = declared.queues.values().flat_map(|facts| &facts.bindings);
        let ours = declared.ours.iter().map(|binding| &binding.source);
        let mut exchanges: Vec<ShortStr> =
            bindings.map(|(exchange, _)| exchange).chain(ours).chain(declared.exchanges.keys()).cloned().collect();
        exchanges.sort_unstable();
        exchanges.dedup();
        exchanges
    }

    /// Returns the queues bound to an exchange, with the keys.
    pub(crate) fn bindings_of(&self, exchange: &str) -> Vec<(ShortStr, ShortStr)> {
        let declared = self.lock();
        let mut found = Vec::new();
        for (queue, facts) in &declared.queues {
            let keys = facts.bindings.iter().filter(|(bound, _)| bound == exchange).map(|(_, key)| key);
            found.extend(keys.map(|key| (queue.clone(), key.clone())));
        }
        found
    }

    /// Returns the exchanges and members of bindings whose queues expire and are consumed by this process, with `x-expires` in
    /// milliseconds.
    pub(crate) fn expiring_bindings(&self, sep: &str) -> Vec<(ShortStr, String, u64)> {
        let declared = self.lock();
        let mut found = Vec::new();
        for (queue, facts) in declared.queues.iter().filter(|(_, facts)| facts.consumers > 0) {
            let Some(expires) = facts.expires else { continue };
            found.extend(facts.bindings.iter().map(|(exchange, key)| {
                let kind = declared.exchanges.get(exchange).map(|known| known.kind.clone()).unwrap_or_default();
                (exchange.clone(), binding::member(&kind, key, queue, sep), expires)
            }));
        }
        found
    }

    /// Returns the fanout exchanges a queue is bound to, with the binding keys.
    pub(crate) fn fanouts_of(&self, queue: &str) -> Vec<(ShortStr, ShortStr)> {
        let declared = self.lock();
        let is_fanout = |exchange: &ShortStr| {
            declared.exchanges.get(exchange).is_some_and(|known| known.kind == ExchangeKind::Fanout)
        };
        let bindings = declared.queues.get(queue).map(|facts| facts.bindings.as_slice()).unwrap_or_default();
        bindings.iter().filter(|(exchange, _)| is_fanout(exchange)).cloned().collect()
    }

    /// Notes a consumer.
    ///
    /// # Errors
    ///
    /// `AccessRefused` when a consumer of this process is alone on the queue, or this one wants to be and is not.
    pub(crate) fn add_consumer(&self, queue: &ShortStr, exclusive: bool) -> Result<()> {
        let mut declared = self.lock();
        let facts = declared.queues.entry(queue.clone()).or_default();
        if facts.is_exclusively_consumed || (exclusive && facts.consumers > 0) {
            let message = "another consumer has the queue, and one of them wants it exclusively";
            return Err(Error::new(ErrorKind::AccessRefused, message).in_scope(Scope::Channel).with("queue", queue));
        }
        facts.consumers += 1;
        facts.is_exclusively_consumed = exclusive;
        Ok(())
    }

    /// Forgets a consumer; says whether the queue goes with it.
    pub(crate) fn remove_consumer(&self, queue: &str) -> bool {
        let mut declared = self.lock();
        let Some(facts) = declared.queues.get_mut(queue) else { return false };
        facts.consumers = facts.consumers.saturating_sub(1);
        if facts.consumers > 0 {
            return false;
        }
        facts.is_exclusively_consumed = false;
        facts.auto_delete
    }

    fn lock(&self) -> MutexGuard<'_, Declared> {
        // Nothing panics while the lock is held; a poisoned table is as good as any.
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Declared {
    fn note_change(&self, exchange: &str) {
        if let Some(changes) = self.changes.get(exchange) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn check_exchange(&self, method: &ExchangeDeclare) -> Result<()> {
        let Some(known) = self.exchanges.get(&method.exchange) else { return Ok(()) };
        let (known, wanted) = (ExchangeDefinition::from(known.clone()), ExchangeDefinition::from(method.clone()));
        match known.difference(&wanted) {
            None => Ok(()),
            Some(property) => Err(differs("exchange", &method.exchange, property)),
        }
    }
}

/// How many exchanges' changes are counted before those nobody asks about are forgotten.
const MAX_CHANGES: usize = 8192;

/// Returns how an exchange routes: one that holds messages back says so in an argument.
pub(crate) fn routing_kind(kind: &ExchangeKind, arguments: &FieldTable) -> ExchangeKind {
    let inner = arguments.get(delay::INNER_KIND).and_then(Value::as_str).filter(|_| kind.as_str() == delay::KIND);
    inner.and_then(|inner| inner.parse().ok()).unwrap_or_else(|| kind.clone())
}

/// Reads a whole number, also from text, as Kombu takes `x-expires`.
fn whole(value: &Value) -> Option<u64> {
    match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => value.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(kind: ExchangeKind) -> ExchangeDeclare {
        ExchangeDeclare {
            exchange: "e".into(),
            kind,
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::new(),
        }
    }

    #[test]
    fn an_exchange_declared_otherwise_is_refused() {
        let topology = Topology::default();
        topology.declare_exchange(&exchange(ExchangeKind::Direct)).unwrap();
        topology.declare_exchange(&exchange(ExchangeKind::Direct)).unwrap();
        let error = topology.declare_exchange(&exchange(ExchangeKind::Topic)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
        topology.forget_exchange("e");
        topology.declare_exchange(&exchange(ExchangeKind::Topic)).unwrap();
    }

    #[test]
    fn connections_to_one_broker_share_it_while_one_lives() {
        let one = Topology::of("test-shared");
        one.declare_exchange(&exchange(ExchangeKind::Fanout)).unwrap();
        assert!(Topology::of("test-shared").exchange_kind("e").is_some());
        assert!(Topology::of("test-other").exchange_kind("e").is_none());
        drop(one);
        assert!(Topology::of("test-shared").exchange_kind("e").is_none());
    }

    #[test]
    fn an_exclusive_consumer_is_alone() {
        let topology = Topology::default();
        let queue = ShortStr::from("q");
        topology.add_consumer(&queue, true).unwrap();
        assert_eq!(topology.add_consumer(&queue, false).unwrap_err().kind(), ErrorKind::AccessRefused);
        topology.remove_consumer("q");
        topology.add_consumer(&queue, false).unwrap();
        assert_eq!(topology.add_consumer(&queue, true).unwrap_err().kind(), ErrorKind::AccessRefused);
    }
}
