//! Which values the headers of a message may hold, and how many bytes they are.

use crate::field_table::FieldTable;
use crate::value::Value;

/// Which values the headers of a message may hold; core refuses the others.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderTypes {
    /// Every [`Value`].
    #[default]
    All,
    /// Those AMQP has a type for: all but integers beyond 64 bits, dates, times of day, UUIDs, and text that is not Unicode.
    Amqp,
    /// Those JSON has a type for: nothing, truth, numbers, text, lists and maps.
    Json,
}

impl HeaderTypes {
    /// Returns the kind of the first value in `table` that it does not hold, at any depth.
    pub(super) fn missing(self, table: &FieldTable) -> Option<&'static str> {
        if self == HeaderTypes::All {
            return None;
        }
        table.iter().find_map(|(_, value)| self.missing_in(value))
    }

    fn missing_in(self, value: &Value) -> Option<&'static str> {
        match value {
            Value::List(items) => items.iter().find_map(|item| self.missing_in(item)),
            Value::Map(table) => self.missing(table),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => None,
            Value::Bytes(_) | Value::DateTime(_) | Value::Decimal(_) if self == HeaderTypes::Amqp => None,
            Value::BigInt(_) | Value::LoneText(_) if self == HeaderTypes::Json => None,
            other => Some(other.kind()),
        }
    }
}

/// Returns the bytes of a table as AMQP writes it; what AMQP has no type for counts as sixteen.
pub(super) fn size(table: &FieldTable) -> u64 {
    4 + table.iter().map(|(name, value)| 1 + name.len() as u64 + value_size(value)).sum::<u64>()
}

/// A value with its type.
fn value_size(value: &Value) -> u64 {
    1 + match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(value) if i32::try_from(*value).is_ok() => 4,
        Value::Int(_) | Value::Float(_) | Value::DateTime(_) => 8,
        Value::Decimal(_) => 5,
        Value::Text(text) => 4 + text.len() as u64,
        Value::Bytes(bytes) => 4 + bytes.len() as u64,
        Value::List(items) => 4 + items.iter().map(value_size).sum::<u64>(),
        Value::Map(table) => size(table),
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn holding(value: Value) -> FieldTable {
        FieldTable::from([("fine", Value::from(1)), ("list", Value::List(vec![Value::Null, value]))])
    }

    #[test]
    fn what_a_wire_has_no_type_for_is_found_at_any_depth() {
        let big = holding(Value::BigInt("123456789012345678901234567890".parse().unwrap()));
        let bytes = holding(Value::Bytes(Bytes::from_static(b"x")));
        let nested = FieldTable::from([("map", Value::Map(bytes.clone()))]);
        assert_eq!((HeaderTypes::All.missing(&big), HeaderTypes::All.missing(&bytes)), (None, None));
        assert_eq!(HeaderTypes::Amqp.missing(&big), Some(big_kind()));
        assert_eq!(HeaderTypes::Amqp.missing(&nested), None);
        assert_eq!(HeaderTypes::Json.missing(&big), None);
        assert_eq!(HeaderTypes::Json.missing(&nested), Some(Value::Bytes(Bytes::new()).kind()));
    }

    fn big_kind() -> &'static str {
        Value::BigInt("123456789012345678901234567890".parse().unwrap()).kind()
    }

    #[test]
    fn the_bytes_are_those_of_amqp() {
        assert_eq!(size(&FieldTable::new()), 4);
        // Length of the table; length and letters of the name; type, length and letters of the text.
        assert_eq!(size(&FieldTable::from([("name", Value::from("text"))])), 4 + 1 + 4 + 1 + 4 + 4);
        assert_eq!(size(&FieldTable::from([("n", Value::from(1)), ("w", Value::from(i64::MAX))])), 4 + 2 + 5 + 2 + 9);
    }
}
