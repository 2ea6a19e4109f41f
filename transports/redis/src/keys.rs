//! Names of keys and channels: those of Kombu 5.7, byte for byte, and our own, which start with `_kombu.rs.`.

use std::fmt::Write;

use kombu_core::PriorityOrder;

use crate::options::{FanoutPrefix, RedisOptions};

/// Makes and takes apart the names of one set of [`RedisOptions`] and one database.
///
/// Every name begins with `global_keyprefix`; texts inside keys (binding members, exchange names, envelopes) never do.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Box<str>,
    sep: Box<str>,
    /// Ascending.
    steps: Box<[u8]>,
    order: PriorityOrder,
    fanout_prefix: Box<str>,
    fanout_patterns: bool,
    unacked: Box<str>,
    unacked_index: Box<str>,
    unacked_mutex: Box<str>,
}

impl Keys {
    /// Prepares the names for `options`.
    pub(crate) fn new(options: &RedisOptions) -> Self {
        let prefixed = |name: &str| format!("{}{name}", options.global_keyprefix).into_boxed_str();
        Keys {
            prefix: options.global_keyprefix.as_str().into(),
            sep: options.sep.as_str().into(),
            steps: options.priority_steps.as_slice().into(),
            order: options.priority_order,
            fanout_prefix: match &options.fanout_prefix {
                FanoutPrefix::Database => format!("/{}.", options.db).into(),
                FanoutPrefix::Empty => "".into(),
                FanoutPrefix::Text(text) => text.replace("{db}", &options.db.to_string()).into(),
            },
            fanout_patterns: options.fanout_patterns,
            unacked: prefixed(&options.unacked_key),
            unacked_index: prefixed(&options.unacked_index_key),
            unacked_mutex: prefixed(&options.unacked_mutex_key),
        }
    }

    /// Returns what separates a queue's name from its step and the fields of a binding member; 0x06 0x16 by default.
    pub(crate) fn sep(&self) -> &str {
        &self.sep
    }

    /// Returns the priority steps, ascending: `[0, 3, 6, 9]` by default. On Redis, Kombu's lower number is the more urgent one,
    /// unless the option `priority_order` turns that round.
    pub(crate) fn steps(&self) -> &[u8] {
        &self.steps
    }

    /// Returns the step whose list takes a message of `priority`: the largest step that is not above it, or the last step
    /// when all are.
    pub(crate) fn step_for(&self, priority: u8) -> u8 {
        let priority = priority.min(MAX_PRIORITY);
        let found = self.steps.iter().rev().find(|step| **step <= priority);
        found.or(self.steps.last()).copied().unwrap_or_default()
    }

    /// Returns the list that holds the messages of `queue` at `step`.
    pub(crate) fn list(&self, queue: &str, step: u8) -> String {
        let mut key = format!("{}{queue}", self.prefix);
        if step != 0 {
            // Writing to a String cannot fail.
            let _ = write!(key, "{}{step}", self.sep);
        }
        key
    }

    /// Returns the list of `queue` that takes a message of `priority`.
    pub(crate) fn list_for(&self, queue: &str, priority: u8) -> String {
        self.list(queue, self.step_for(priority))
    }

    /// Returns the lists of `queue`, one per step, in the order in which they are served.
    pub(crate) fn lists(&self, queue: &str) -> impl Iterator<Item = String> {
        let count = self.steps.len();
        (0..count).map(move |at| {
            let at = if self.order == PriorityOrder::HighFirst { count - 1 - at } else { at };
            self.list(queue, self.steps[at])
        })
    }

    /// Returns the queue that the list `key` belongs to: the name up to the last separator.
    ///
    /// What follows the separator must be one of our steps, so a separator such as `:` may occur in names of queues that
    /// do not end like a step.
    pub(crate) fn queue_of<'k>(&self, key: &'k str) -> &'k str {
        let name = key.strip_prefix(&*self.prefix).unwrap_or(key);
        match name.rsplit_once(&*self.sep) {
            Some((queue, step)) if self.steps.iter().any(|known| *known != 0 && is_decimal(step, *known)) => queue,
            _ => name,
        }
    }

    /// Returns the set that holds the bindings of `exchange`.
    pub(crate) fn binding(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix)
    }

    /// Returns the set that holds the bindings of `exchange` whose queues do not expire; as long as it exists, the table is
    /// not swept away.
    pub(crate) fn binding_permanent(&self, exchange: &str) -> String {
        format!("{}_kombu.binding_permanent.{exchange}", self.prefix)
    }

    /// Returns what [`binding`](Keys::binding) puts before the name of the exchange.
    pub(crate) fn binding_prefix(&self) -> String {
        self.binding("")
    }

    /// Returns what [`binding_permanent`](Keys::binding_permanent) puts before the name of the exchange.
    pub(crate) fn binding_permanent_prefix(&self) -> String {
        self.binding_permanent("")
    }

    /// Returns the sorted set of exchanges by the time, in milliseconds since 1970, after which their table may go.
    pub(crate) fn binding_deadlines(&self) -> String {
        format!("{}_kombu.binding_deadlines", self.prefix)
    }

    /// Returns the hash of delivered messages by tag.
    pub(crate) fn unacked(&self) -> &str {
        &self.unacked
    }

    /// Returns the sorted set of tags by the time of delivery, in seconds since 1970.
    pub(crate) fn unacked_index(&self) -> &str {
        &self.unacked_index
    }

    /// Returns the lock of the visibility sweep.
    pub(crate) fn unacked_mutex(&self) -> &str {
        &self.unacked_mutex
    }

    /// Returns the channel a fanout message with `routing_key` is published on.
    pub(crate) fn fanout_channel(&self, exchange: &str, routing_key: &str) -> String {
        let mut channel = format!("{}{}{exchange}", self.prefix, self.fanout_prefix);
        if self.fanout_patterns && !routing_key.is_empty() {
            channel.push('/');
            channel.push_str(routing_key);
        }
        channel
    }

    /// Returns the pattern a fanout consumer bound with `binding_key` subscribes to.
    ///
    /// As in Kombu, `*` and `#` both match any text, dots included, and an empty key matches only messages without key.
    /// Other characters that Redis would take for wildcards are escaped, so that they match themselves.
    pub(crate) fn fanout_pattern(&self, exchange: &str, binding_key: &str) -> String {
        let mut pattern = String::new();
        [&*self.prefix, &*self.fanout_prefix, exchange].iter().for_each(|part| push_literal(&mut pattern, part));
        if self.fanout_patterns && !binding_key.is_empty() {
            pattern.push('/');
            for (index, part) in binding_key.split(['*', '#']).enumerate() {
                pattern.push_str(if index == 0 { "" } else { "*" });
                push_literal(&mut pattern, part);
            }
        }
        pattern
    }

    /// Returns what every key begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns what the list for a message of `priority` ends with, after the name of the queue.
    pub(crate) fn list_suffix(&self, priority: u8) -> String {
        let step = self.step_for(priority);
        if step == 0 { String::new() } else { format!("{}{step}", self.sep) }
    }

    /// Returns what the lists of a queue end with, after its name, in the order in which they are served.
    pub(crate) fn list_ends(&self) -> impl Iterator<Item = String> {
        self.lists("").map(|list| list[self.prefix.len()..].to_owned())
    }

    /// Returns the number, from 1 in the order in which they are served, of the list that takes a message of `priority`.
    pub(crate) fn list_number(&self, priority: u8) -> usize {
        let step = self.step_for(priority);
        // A step that is chosen is one of them.
        let at = self.steps.iter().position(|known| *known == step).unwrap_or_default();
        if self.order == PriorityOrder::HighFirst { self.steps.len() - at } else { at + 1 }
    }

    /// Returns what of a routing or binding key decides where a broadcast message goes: nothing, without `fanout_patterns`.
    pub(crate) fn stored_key<'k>(&self, key: &'k str) -> &'k str {
        if self.fanout_patterns { key } else { "" }
    }

    /// Returns the member of [`stored`](Keys::stored) for `queue`, bound with `binding_key`.
    pub(crate) fn stored_member(&self, queue: &str, binding_key: &str) -> String {
        format!("{}{}{queue}", self.stored_key(binding_key), self.sep)
    }

    /// Returns the set of queues that get the messages of a fanout `exchange` while their consumer is away.
    pub(crate) fn stored(&self, exchange: &str) -> String {
        format!("{}_kombu.rs.stored.{exchange}", self.prefix)
    }

    /// Returns the hash of what was declared of `queue` beyond what Kombu's keys can say.
    pub(crate) fn queue_definition(&self, queue: &str) -> String {
        format!("{}_kombu.rs.queue.{queue}", self.prefix)
    }

    /// Returns the hash of what was declared of `exchange` beyond what Kombu's keys can say.
    pub(crate) fn exchange_definition(&self, exchange: &str) -> String {
        format!("{}_kombu.rs.exchange.{exchange}", self.prefix)
    }

    /// Returns the hash of how often something was declared, and how much of that the server has lost.
    pub(crate) fn history(&self) -> String {
        format!("{}_kombu.rs.history", self.prefix)
    }

    /// Returns the set of what leads to `queue` and Kombu's keys do not say.
    pub(crate) fn bound_queue(&self, queue: &str) -> String {
        format!("{}_kombu.rs.bound.queue.{queue}", self.prefix)
    }

    /// Returns the set of what leads to `exchange`.
    pub(crate) fn bound_exchange(&self, exchange: &str) -> String {
        format!("{}_kombu.rs.bound.exchange.{exchange}", self.prefix)
    }

    /// Returns the list of what was found in `queue` and is not a message.
    pub(crate) fn malformed(&self, queue: &str) -> String {
        format!("{}_kombu.rs.malformed.{queue}", self.prefix)
    }

    /// Returns what [`malformed`](Keys::malformed) puts before the name of the queue.
    pub(crate) fn malformed_prefix(&self) -> String {
        self.malformed("")
    }
}

/// Keys of our own for queues that do more than keep messages in order.
impl Keys {
    /// Returns the hash of the arguments of queues that have a policy.
    pub(crate) fn policies(&self) -> String {
        format!("{}_kombu.rs.policies", self.prefix)
    }

    /// Returns the sorted set of queues (`q…`) and letters (`l…`) by the server's time, in milliseconds, at which they are looked at.
    pub(crate) fn due(&self) -> String {
        format!("{}_kombu.rs.due", self.prefix)
    }

    /// Returns the hash of letters: dead ones that are on their way, and messages held back, each a line of JSON and the message.
    pub(crate) fn letters(&self) -> String {
        format!("{}_kombu.rs.letters", self.prefix)
    }

    /// Returns the hash of how many messages, and how many bytes, queues with a limit in bytes held when they were last looked at.
    pub(crate) fn sizes(&self) -> String {
        format!("{}_kombu.rs.sizes", self.prefix)
    }
}

/// Keys of our own that hold who consumes and what is kept for whom.
impl Keys {
    /// Returns the sorted set of living consumers by the server's time at which their lease ends.
    pub(crate) fn consumers(&self) -> String {
        format!("{}_kombu.rs.consumers", self.prefix)
    }

    /// Returns the hash in which `consumer` leaves what it holds, the names of its inboxes and the client ids of its waiters.
    pub(crate) fn consumer(&self, consumer: &str) -> String {
        format!("{}_kombu.rs.consumer.{consumer}", self.prefix)
    }

    /// Returns the hash of the consumers of `queue`.
    pub(crate) fn consumers_of(&self, queue: &str) -> String {
        format!("{}_kombu.rs.consumers_of.{queue}", self.prefix)
    }

    /// Returns the hash that tells consumers of `queue` when something about it changes that concerns all of them.
    pub(crate) fn mark(&self, queue: &str) -> String {
        format!("{}_kombu.rs.mark.{queue}", self.prefix)
    }

    /// Returns the queue that `key` holds the [consumers](Keys::consumers_of) of, or [marks](Keys::mark).
    pub(crate) fn consumed_queue<'k>(&self, key: &'k str) -> Option<&'k str> {
        let name = key.strip_prefix(&*self.prefix)?.strip_prefix("_kombu.rs.")?;
        name.strip_prefix("mark.").or_else(|| name.strip_prefix("consumers_of."))
    }

    /// Returns the sorted set of consumers whose lease is over by the time they are looked after again.
    pub(crate) fn dead(&self) -> String {
        format!("{}_kombu.rs.dead", self.prefix)
    }

    /// Returns the list into which a waiter of `consumer` moves an element of `list`, a key of [`list`](Keys::list).
    pub(crate) fn inbox(&self, consumer: &str, list: &str) -> String {
        let list = list.strip_prefix(&*self.prefix).unwrap_or(list);
        format!("{}_kombu.rs.inbox.{consumer}.{list}", self.prefix)
    }
}

/// Returns whether `text` is `number` in decimal.
fn is_decimal(text: &str, number: u8) -> bool {
    !text.starts_with(['0', '+']) && text.parse() == Ok(number)
}

/// Appends text to a glob pattern so that it matches itself.
fn push_literal(pattern: &mut String, text: &str) {
    for char in text.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
}

/// Kombu chooses the list as if no priority were above this.
const MAX_PRIORITY: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl FnOnce(&mut RedisOptions)) -> Keys {
        let mut options = RedisOptions::default();
        change(&mut options);
        Keys::new(&options)
    }

    #[test]
    fn a_priority_takes_the_largest_step_below() {
        let default = keys(|_| ());
        let steps: Vec<u8> = (0..=12).map(|priority| default.step_for(priority)).collect();
        assert_eq!(steps, [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9, 9]);
        let odd = keys(|options| options.priority_steps = vec![3, 6]);
        assert_eq!([0, 3, 5, 6, 9].map(|priority| odd.step_for(priority)), [6, 3, 3, 6, 6]);
        assert_eq!(odd.list_for("q", 3), "q\u{6}\u{16}3");
    }

    #[test]
    fn lists_are_numbered_as_they_are_served() {
        for order in [PriorityOrder::LowFirst, PriorityOrder::HighFirst] {
            let keys = keys(|options| {
                options.priority_order = order;
                options.global_keyprefix = "p:".into();
            });
            let ends: Vec<String> = keys.list_ends().collect();
            for priority in 0..10 {
                let list = format!("p:q{}", ends[keys.list_number(priority) - 1]);
                assert_eq!(list, keys.list_for("q", priority), "{order:?}");
            }
        }
    }

    #[test]
    fn the_queue_of_a_list_is_found() {
        let keys = keys(|options| {
            options.sep = ":".into();
            options.global_keyprefix = "pfx:".into();
        });
        for (key, queue) in [("pfx:q", "q"), ("pfx:q:3", "q"), ("pfx:a:b", "a:b"), ("pfx:a:b:9", "a:b")] {
            assert_eq!(keys.queue_of(key), queue, "{key}");
        }
        for key in ["pfx:q:4", "pfx:q:03", "pfx:q:+3", "pfx:q:0", "pfx::"] {
            assert_eq!(keys.queue_of(key), &key[4..], "{key}");
        }
        for queue in ["", "a", "a:b"] {
            assert!(keys.lists(queue).all(|list| keys.queue_of(&list) == queue), "{queue}");
        }
    }

    #[test]
    fn only_stars_and_hashes_are_wildcards() {
        let keys = keys(|_| ());
        assert_eq!(keys.fanout_pattern("fx", ""), "/0.fx");
        assert_eq!(keys.fanout_pattern("fx", "a.#.*"), "/0.fx/a.*.*");
        assert_eq!(keys.fanout_pattern("f*", "a?[b]\\"), "/0.f\\*/a\\?\\[b\\]\\\\");
    }

    #[test]
    fn what_concerns_consumers_is_known_by_its_key() {
        let keys = keys(|options| options.global_keyprefix = "p:".into());
        assert_eq!(keys.consumed_queue(&keys.mark("a.b")), Some("a.b"));
        assert_eq!(keys.consumed_queue(&keys.consumers_of("a.b")), Some("a.b"));
        assert_eq!(keys.consumed_queue(&keys.consumers()), None);
        assert_eq!(keys.consumed_queue("_kombu.rs.mark.a"), None);
    }

    #[test]
    fn names_of_our_own_start_alike() {
        let keys = keys(|options| options.global_keyprefix = "p:".into());
        let list = keys.list("q", 3);
        for (name, rest) in [
            (keys.malformed("q"), "malformed.q"),
            (keys.consumers(), "consumers"),
            (keys.consumer("c"), "consumer.c"),
            (keys.dead(), "dead"),
            (keys.consumers_of("q"), "consumers_of.q"),
            (keys.mark("q"), "mark.q"),
            (keys.inbox("c", &list), "inbox.c.q\u{6}\u{16}3"),
            (keys.stored("x"), "stored.x"),
            (keys.queue_definition("q"), "queue.q"),
            (keys.bound_queue("q"), "bound.queue.q"),
            (keys.bound_exchange("x"), "bound.exchange.x"),
            (keys.exchange_definition("x"), "exchange.x"),
            (keys.policies(), "policies"),
            (keys.due(), "due"),
            (keys.letters(), "letters"),
            (keys.sizes(), "sizes"),
        ] {
            assert_eq!(name, format!("p:_kombu.rs.{rest}"));
        }
    }
}
