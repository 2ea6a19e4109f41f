//! What Kombu's tables cannot hold of an exchange: its kind and arguments, bindings with arguments, and bindings to other exchanges.
//!
//! The hash of an exchange has a field for each such binding: `queue [<queue>, <key>, {<arguments>}]`, or `exchange` instead.

use kombu_core::serialization::json;
use kombu_core::{ExchangeKind, FieldTable, Headers, Result, ShortStr, Value as Argument};
use kombu_virtual::{ExchangeDefinition, HeaderMatch, topic};

use crate::definition::{Definition, sorted};

/// What the hash of an exchange says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// What it was declared with, if that is kept.
    pub(crate) definition: Option<ExchangeDefinition>,
    bindings: Vec<Binding>,
    malformed: Vec<String>,
}

/// A binding that Kombu's table does not hold.
#[derive(Clone, Debug)]
struct Binding {
    to_exchange: bool,
    destination: ShortStr,
    key: ShortStr,
    wanted: HeaderMatch,
}

/// Where an exchange sends a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) queues: Vec<ShortStr>,
    pub(crate) exchanges: Vec<ShortStr>,
}

impl Record {
    /// Reads names and values of the hash. What cannot be read routes nothing.
    pub(crate) fn parse(fields: &[(String, String)]) -> Self {
        let mut record = Record::default();
        let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes());
        if value("type").is_some() {
            let values: Vec<_> = ExchangeDefinition::FIELDS.iter().map(|name| value(name)).collect();
            match ExchangeDefinition::read(&values) {
                Ok(definition) => record.definition = Some(definition),
                Err(error) => record.malformed.push(error.to_string()),
            }
        }
        for (field, _) in fields.iter().filter(|(field, _)| field.contains(' ')) {
            match Binding::parse(field) {
                Some(binding) => record.bindings.push(binding),
                None => record.malformed.push(field.clone()),
            }
        }
        record
    }

    /// Returns what could not be read.
    pub(crate) fn malformed(&self) -> &[String] {
        &self.malformed
    }

    /// Says whether nothing is kept of the exchange.
    pub(crate) fn is_empty(&self) -> bool {
        self.definition.is_none() && self.bindings.is_empty()
    }

    /// Says whether a message may go elsewhere than Kombu's table and the exchange's kind say.
    pub(crate) fn is_special(&self) -> bool {
        !self.bindings.is_empty() || self.definition.as_ref().is_some_and(Definition::is_ours)
    }

    /// Returns where messages go that match no binding.
    pub(crate) fn alternate(&self) -> Option<&str> {
        self.definition.as_ref()?.arguments.get("alternate-exchange").and_then(Argument::as_str)
    }

    /// Adds where a message goes through an exchange of `kind`, by these bindings.
    pub(crate) fn reach(&self, kind: &ExchangeKind, routing_key: &str, headers: &Headers, found: &mut Reached) {
        for binding in &self.bindings {
            let matches = match kind {
                ExchangeKind::Fanout => true,
                ExchangeKind::Headers => binding.wanted.matches(headers),
                ExchangeKind::Topic => topic::matches(&binding.key, routing_key),
                _ => *binding.key == *routing_key,
            };
            if matches {
                let list = if binding.to_exchange { &mut found.exchanges } else { &mut found.queues };
                list.push(binding.destination.clone());
            }
        }
    }
}

impl Binding {
    fn parse(field: &str) -> Option<Self> {
        let (what, json) = field.split_once(' ')?;
        let to_exchange = match what {
            "queue" => false,
            "exchange" => true,
            _ => return None,
        };
        let Argument::List(parts) = json::read(json.as_bytes()).ok()? else { return None };
        let [Argument::Text(destination), Argument::Text(key), Argument::Map(arguments)] = &parts[..] else {
            return None;
        };
        let wanted = HeaderMatch::of(arguments).ok()?;
        Some(Binding { to_exchange, destination: destination.as_str().into(), key: key.as_str().into(), wanted })
    }
}

/// Returns the field in which a binding is kept.
///
/// # Errors
///
/// `PreconditionFailed` when the arguments cannot be matched by, `Encode` when JSON cannot hold them.
pub(crate) fn field(to_exchange: bool, destination: &str, key: &str, arguments: &FieldTable) -> Result<String> {
    HeaderMatch::of(arguments)?;
    let parts =
        Argument::List(vec![Argument::from(destination), Argument::from(key), Argument::Map(sorted(arguments))]);
    let json = json::to_vec(&parts)?;
    // JSON as Kombu writes it is ASCII.
    Ok(format!("{} {}", if to_exchange { "exchange" } else { "queue" }, String::from_utf8_lossy(&json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[&str]) -> Record {
        let fields: Vec<_> = fields.iter().map(|field| ((*field).to_owned(), String::new())).collect();
        Record::parse(&fields)
    }

    #[test]
    fn bindings_are_read_as_they_were_written() {
        let arguments = FieldTable::from([("x-match", Argument::from("any")), ("a", 1.into()), ("é", "ü".into())]);
        let queue = field(false, "q \"1\"", "", &arguments).unwrap();
        let exchange = field(true, "x", "a.*", &FieldTable::new()).unwrap();
        let record = record(&[&queue, &exchange]);
        assert!(record.malformed().is_empty() && record.is_special() && record.definition.is_none());
        let headers = |value: i64| Headers::from(FieldTable::from([("a", value)]));
        let reach = |kind: ExchangeKind, key: &str, headers: &Headers| {
            let mut found = Reached::default();
            record.reach(&kind, key, headers, &mut found);
            found
        };
        let both = reach(ExchangeKind::Headers, "", &headers(1));
        assert_eq!((both.queues, both.exchanges), (vec!["q \"1\"".into()], vec!["x".into()]));
        assert_eq!(reach(ExchangeKind::Headers, "", &headers(2)).queues, Vec::<ShortStr>::new());
        assert_eq!(reach(ExchangeKind::Topic, "a.b", &headers(2)).exchanges, ["x"]);
        assert_eq!(reach(ExchangeKind::Direct, "a.b", &headers(2)), Reached::default());
        assert_eq!(reach(ExchangeKind::Fanout, "k", &headers(2)).queues.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_routes_nothing() {
        let record = record(&["queue", "queue []", "queue [\"q\", \"k\", {\"x-match\": \"most\"}]", "else [1]"]);
        assert_eq!(record.malformed().len(), 3);
        assert!(record.is_empty());
        assert!(field(false, "q", "", &FieldTable::from([("x-match", "most")])).is_err());
    }
}
