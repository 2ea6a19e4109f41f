//! What declarations said, as Redis keeps it: a hash for each exchange and queue that is more than Kombu's keys can hold.
//!
//! | hash | fields |
//! |---|---|
//! | of a queue | `durable`, `exclusive`, `auto_delete`: 0 or 1; `arguments`: JSON |
//! | of an exchange | `type`: AMQP's name; `durable`, `auto_delete`, `internal`: 0 or 1; `arguments`: JSON |
//!
//! Arguments are written in order of name, so that equal ones are equal texts.

use kombu_core::serialization::json;
use kombu_core::{Error, ErrorKind, ExchangeKind, FieldTable, Result, Value as Argument};
use kombu_virtual::{ExchangeDefinition, QueueDefinition};
use redis::Value;

use crate::policies::LIFE;

/// Names and values of a hash.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// A definition that is kept in a hash.
pub(crate) trait Definition: Sized {
    /// What it defines.
    const WHAT: &'static str;
    /// The names of the fields, in the order of [`to_fields`](Definition::to_fields).
    const FIELDS: &'static [&'static str];

    /// Says whether Kombu's keys cannot hold it: whoever meets the queue or exchange has to know it all the same.
    fn is_ours(&self) -> bool;

    /// Returns what is written.
    ///
    /// # Errors
    ///
    /// `Encode` for arguments that JSON cannot hold.
    fn to_fields(&self) -> Result<Fields>;

    /// Reads the values of the [fields](Definition::FIELDS).
    ///
    /// # Errors
    ///
    /// `Decode` for what nobody here wrote.
    fn read(values: &[Option<&[u8]>]) -> Result<Self>;

    /// Returns the first property or argument in which two definitions differ.
    fn difference(&self, other: &Self) -> Option<&'static str>;
}

impl Definition for QueueDefinition {
    const WHAT: &'static str = "queue";
    const FIELDS: &'static [&'static str] = &["durable", "exclusive", "auto_delete", "arguments"];

    fn is_ours(&self) -> bool {
        let is_ours = |name: &str| name == SINGLE_ACTIVE || LIFE.contains(&name);
        self.arguments.iter().any(|(name, value)| is_ours(name) && !value.is_null())
    }

    fn to_fields(&self) -> Result<Fields> {
        Ok(vec![
            ("durable", flag(self.durable)),
            ("exclusive", flag(self.exclusive)),
            ("auto_delete", flag(self.auto_delete)),
            ("arguments", arguments_text(&self.arguments)?),
        ])
    }

    fn read(values: &[Option<&[u8]>]) -> Result<Self> {
        let [durable, exclusive, auto_delete, arguments] = values else { return Err(unreadable("fields")) };
        let mut definition = QueueDefinition::default();
        definition.durable = read_flag(*durable);
        definition.exclusive = read_flag(*exclusive);
        definition.auto_delete = read_flag(*auto_delete);
        definition.arguments = read_arguments(*arguments)?;
        Ok(definition)
    }

    fn difference(&self, other: &Self) -> Option<&'static str> {
        self.difference(other)
    }
}

impl Definition for ExchangeDefinition {
    const WHAT: &'static str = "exchange";
    const FIELDS: &'static [&'static str] = &["type", "durable", "auto_delete", "internal", "arguments"];

    fn is_ours(&self) -> bool {
        let is_kombus = matches!(self.kind, ExchangeKind::Direct | ExchangeKind::Topic | ExchangeKind::Fanout);
        !is_kombus || self.internal || self.arguments.get("alternate-exchange").is_some_and(|value| !value.is_null())
    }

    fn to_fields(&self) -> Result<Fields> {
        Ok(vec![
            ("type", self.kind.as_str().to_owned()),
            ("durable", flag(self.durable)),
            ("auto_delete", flag(self.auto_delete)),
            ("internal", flag(self.internal)),
            ("arguments", arguments_text(&self.arguments)?),
        ])
    }

    fn read(values: &[Option<&[u8]>]) -> Result<Self> {
        let [kind, durable, auto_delete, internal, arguments] = values else { return Err(unreadable("fields")) };
        let kind = kind.and_then(|kind| std::str::from_utf8(kind).ok()).ok_or_else(|| unreadable("type"))?;
        let mut definition = ExchangeDefinition::default();
        definition.kind = kind.parse()?;
        definition.durable = read_flag(*durable);
        definition.auto_delete = read_flag(*auto_delete);
        definition.internal = read_flag(*internal);
        definition.arguments = read_arguments(*arguments)?;
        Ok(definition)
    }

    fn difference(&self, other: &Self) -> Option<&'static str> {
        self.difference(other)
    }
}

/// Reads a definition out of the answer to `HMGET` of its [fields](Definition::FIELDS); `None` when there is none.
///
/// # Errors
///
/// As for [`Definition::read`], and `Protocol` for an answer of another shape.
pub(crate) fn read<D: Definition>(answer: &Value) -> Result<Option<D>> {
    let Value::Array(items) = answer else { return Err(crate::connection::unexpected("HMGET", answer)) };
    let values: Vec<Option<&[u8]>> = items.iter().map(text).collect();
    match values.first() {
        Some(Some(_)) => D::read(&values).map(Some),
        _ => Ok(None),
    }
}

/// Writes arguments as JSON, in order of name.
///
/// # Errors
///
/// `Encode` for what JSON cannot hold.
pub(crate) fn arguments_text(arguments: &FieldTable) -> Result<String> {
    let given = sorted(arguments).into_iter().filter(|(_, value)| !value.is_null());
    // JSON as Kombu writes it is ASCII.
    Ok(String::from_utf8_lossy(&json::to_vec(&given.collect::<FieldTable>())?).into_owned())
}

/// Returns arguments in order of name.
pub(crate) fn sorted(arguments: &FieldTable) -> FieldTable {
    let mut entries: Vec<_> = arguments.iter().collect();
    entries.sort_unstable_by(|left, right| left.0.cmp(right.0));
    entries.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Returns names and values of a hash, as a server says them.
pub(crate) fn pairs(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| text(value).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    match answer {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (text(name), text(value))).collect(),
        Value::Array(items) => items.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        _ => Vec::new(),
    }
}

fn read_arguments(text: Option<&[u8]>) -> Result<FieldTable> {
    match json::read(text.unwrap_or(b"{}"))? {
        Argument::Map(arguments) => Ok(arguments),
        _ => Err(unreadable("arguments")),
    }
}

fn flag(flag: bool) -> String {
    if flag { "1".into() } else { "0".into() }
}

fn read_flag(text: Option<&[u8]>) -> bool {
    text == Some(b"1")
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

#[cold]
fn unreadable(field: &'static str) -> Error {
    Error::new(ErrorKind::Decode, "what is kept of a declaration cannot be read").with("field", field)
}

/// The argument of queues, beside those about the [life](LIFE) of messages, that Kombu does not know.
const SINGLE_ACTIVE: &str = "x-single-active-consumer";

#[cfg(test)]
mod tests {
    use super::*;

    fn again<D: Definition>(definition: &D) -> D {
        let fields = definition.to_fields().unwrap();
        assert!(fields.iter().map(|(name, _)| *name).eq(D::FIELDS.iter().copied()));
        let values = fields.into_iter().map(|(_, value)| Value::BulkString(value.into_bytes())).collect();
        read(&Value::Array(values)).unwrap().unwrap()
    }

    #[test]
    fn definitions_are_read_as_they_were_written() {
        let mut queue = QueueDefinition::default();
        assert_eq!(again(&queue), queue);
        queue.durable = true;
        queue.auto_delete = true;
        queue.arguments = FieldTable::from([("x-max-length", Argument::from(7)), ("note", "é".into())]);
        assert_eq!(again(&queue), queue);
        let mut exchange = ExchangeDefinition::default();
        exchange.kind = ExchangeKind::Other("x-delayed-message".into());
        exchange.internal = true;
        exchange.arguments = FieldTable::from([("alternate-exchange", "y")]);
        assert_eq!(again(&exchange), exchange);
        let nothing = Value::Array(vec![Value::Nil; 4]);
        assert_eq!(read::<QueueDefinition>(&nothing).unwrap(), None);
    }

    #[test]
    fn what_nobody_here_wrote_is_an_error() {
        let bad = |items: &[&str]| Value::Array(items.iter().map(|item| Value::BulkString((*item).into())).collect());
        assert!(read::<QueueDefinition>(&bad(&["1", "0", "0", "[]"])).is_err());
        assert!(read::<QueueDefinition>(&bad(&["1", "0", "0", "{"])).is_err());
        assert!(read::<ExchangeDefinition>(&bad(&["", "0", "0", "0", "{}"])).is_err());
        assert!(read::<QueueDefinition>(&Value::Int(1)).is_err());
    }

    #[test]
    fn kombus_keys_hold_what_kombu_knows() {
        let mut queue = QueueDefinition::default();
        queue.arguments = FieldTable::from([("x-expires", Argument::from(7)), ("x-max-priority", 9.into())]);
        queue.arguments.insert("x-max-length", Argument::Null);
        assert!(!queue.is_ours());
        queue.arguments.insert("x-max-length", 0);
        assert!(queue.is_ours());
        let mut exchange = ExchangeDefinition::default();
        assert!(!exchange.is_ours());
        exchange.kind = ExchangeKind::Headers;
        assert!(exchange.is_ours());
    }

    #[test]
    fn the_order_of_arguments_does_not_matter() {
        let one = FieldTable::from([("b", 1), ("a", 2)]);
        let other = FieldTable::from([("a", 2), ("b", 1)]);
        assert_eq!(arguments_text(&one).unwrap(), arguments_text(&other).unwrap());
    }
}
