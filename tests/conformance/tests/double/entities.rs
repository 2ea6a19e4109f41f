//! The queues and exchanges of a story, their arguments, and what messages and bindings say.

use kombu_core::method::QueueDeclare;
use kombu_core::{ExchangeKind, FieldTable, ShortStr, Value};

/// Routing keys and patterns; those of bindings to a headers exchange mean arguments.
pub(crate) const KEYS: [&str; 6] = ["a", "a.b", "*.b", "#", "a.#", ""];
pub(crate) const KINDS: [ExchangeKind; 4] =
    [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Fanout, ExchangeKind::Headers];

/// Channels that declare, consume, fetch and settle. The last is on a connection of its own.
pub(crate) const LANES: usize = 3;

/// One of each kind, and one that goes with its last binding.
pub(crate) const EXCHANGES: usize = 5;
const AUTO_DELETE_EXCHANGE: usize = 4;

pub(crate) const QUEUES: usize = 10;

/// The first of the queues are bound to exchanges. Dead letters of two queues never meet in a third: in which order they came is
/// nobody's promise. Nor does one go round: from the third death on RabbitMQ 3.10 turns the order of the earlier ones about each
/// time, which later versions do not.
pub(crate) const ROUTED: usize = 4;
const LIMITED: usize = 1;
const REJECTING: usize = 2;
const URGENT: usize = 3;
const LIMITED_GRAVE: usize = 4;
const PASSING: usize = 5;
const FULL: usize = 6;
const AUTO_DELETE: usize = 7;
const EXCLUSIVE: usize = 8;
const LAST_GRAVE: usize = 9;

/// Longer than a story takes.
pub(crate) const LATE: i64 = 3_600_000;

/// Names in a story.
pub(crate) struct Names(pub(crate) String);

impl Names {
    pub(crate) fn queue(&self, number: usize) -> ShortStr {
        format!("{}-q{number}", self.0).into()
    }

    pub(crate) fn exchange(&self, number: usize) -> ShortStr {
        format!("{}-x{number}", self.0).into()
    }

    /// The name without what differs from story to story.
    pub(crate) fn plain(&self, name: &str) -> String {
        name.strip_prefix(&self.0).unwrap_or(name).to_owned()
    }

    /// The declaration of `queue` that says what is otherwise said of `like`.
    pub(crate) fn declaration(&self, queue: usize, like: usize) -> QueueDeclare {
        QueueDeclare {
            queue: self.queue(queue),
            durable: true,
            exclusive: like == EXCLUSIVE,
            auto_delete: like == AUTO_DELETE,
            arguments: self.queue_arguments(like),
            ..QueueDeclare::default()
        }
    }

    fn queue_arguments(&self, number: usize) -> FieldTable {
        let letters_to = |grave: usize| {
            [
                ("x-dead-letter-exchange", Value::from("")),
                ("x-dead-letter-routing-key", Value::from(self.queue(grave).as_str())),
            ]
        };
        let limit = |count: i64| ("x-max-length", Value::from(count));
        match number {
            LIMITED => FieldTable::from_iter(letters_to(LIMITED_GRAVE).into_iter().chain([limit(3)])),
            REJECTING => FieldTable::from(letters_to(PASSING)),
            URGENT => FieldTable::from([("x-max-priority", 5)]),
            LIMITED_GRAVE => FieldTable::from([("x-message-ttl", LATE)]),
            // What comes in goes on at once, unless a consumer waits for it.
            PASSING => {
                let ttl = ("x-message-ttl", Value::from(0));
                FieldTable::from_iter(letters_to(LAST_GRAVE).into_iter().chain([ttl]))
            }
            FULL => FieldTable::from_iter([limit(2), ("x-overflow", Value::from("reject-publish"))]),
            _ => FieldTable::new(),
        }
    }

    /// What the topic exchange cannot route goes to the fanout one.
    pub(crate) fn exchange_arguments(&self, number: usize) -> FieldTable {
        match number {
            1 => FieldTable::from([("alternate-exchange", self.exchange(2).as_str())]),
            _ => FieldTable::new(),
        }
    }
}

pub(crate) fn is_auto_delete_exchange(number: usize) -> bool {
    number == AUTO_DELETE_EXCHANGE
}

/// What bindings to the headers exchange ask for, by key.
pub(crate) fn binding_arguments(source: usize, key: usize) -> FieldTable {
    if source != 3 {
        return FieldTable::new();
    }
    let matching = |how: &str| ("x-match", Value::from(how));
    match key {
        0 => FieldTable::from([matching("all"), ("h", Value::from(1))]),
        1 => FieldTable::from([matching("any"), ("h", Value::from("1")), ("t", Value::from(true))]),
        2 => FieldTable::from([("h", Value::Null)]),
        3 => FieldTable::from([matching("all")]),
        4 => FieldTable::from([matching("any")]),
        _ => FieldTable::new(),
    }
}

/// What a message says of itself: the number, the text, both or nothing.
pub(crate) fn message_headers(priority: u8) -> FieldTable {
    match priority {
        0 | 1 => FieldTable::from([("h", Value::from(1))]),
        2 => FieldTable::from([("h", Value::from("1"))]),
        3 => FieldTable::from([("h", Value::from(1)), ("t", Value::from(true))]),
        _ => FieldTable::new(),
    }
}
