//! Headers and arguments as AMQP's field tables, with the field types pyamqp writes.

use std::time::{Duration, SystemTime};

use kombu_core::value::{DateTime, Decimal};
use kombu_core::{Error, ErrorKind, FieldTable, Result, ShortStr, Value};
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable as Table, LongString, ShortString};

/// Returns `table` as it goes over the wire.
///
/// # Errors
///
/// `Encode`, naming the entry, for what AMQP has no type for.
pub(super) fn write(table: &FieldTable) -> Result<Table> {
    let mut written = Table::default();
    for (name, value) in table {
        let value = write_value(value).map_err(|error| error.with("name", name))?;
        written.insert(short(name, "a name in a table")?, value);
    }
    Ok(written)
}

/// Returns how many bytes `table` takes on the wire, its own length included.
pub(super) fn size(table: &FieldTable) -> usize {
    4 + table.iter().map(|(name, value)| 1 + name.as_str().len() + value_size(value)).sum::<usize>()
}

/// A value with its type.
fn value_size(value: &Value) -> usize {
    1 + match value {
        Value::Bool(_) => 1,
        Value::Int(value) => {
            if i32::try_from(*value).is_ok() {
                4
            } else {
                8
            }
        }
        Value::Float(_) | Value::DateTime(_) => 8,
        Value::Decimal(_) => 5,
        Value::Text(text) => 4 + text.len(),
        Value::Bytes(bytes) => 4 + bytes.len(),
        Value::List(items) => 4 + items.iter().map(value_size).sum::<usize>(),
        Value::Map(table) => size(table),
        // The rest is nothing, or refused.
        _ => 0,
    }
}

/// Returns `text` as an AMQP short string.
///
/// # Errors
///
/// `InvalidArgument`, naming `what`, when it is longer than 255 bytes.
pub(super) fn short(text: &str, what: &'static str) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_| {
        let message = format!("{what} is {} bytes long; AMQP allows {}", text.len(), ShortStr::MAX_LEN);
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

fn write_value(value: &Value) -> Result<AMQPValue> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Int(value) => match i32::try_from(*value) {
            Ok(small) => AMQPValue::LongInt(small),
            Err(_) => AMQPValue::LongLongInt(*value),
        },
        Value::Float(value) => AMQPValue::Double(*value),
        Value::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Bytes(bytes) => AMQPValue::ByteArray(ByteArray::from(bytes.to_vec())),
        Value::List(items) => {
            AMQPValue::FieldArray(FieldArray::from(items.iter().map(write_value).collect::<Result<Vec<_>>>()?))
        }
        Value::Map(table) => AMQPValue::FieldTable(write(table)?),
        Value::DateTime(time) => AMQPValue::Timestamp(seconds(*time)?),
        Value::Decimal(decimal) => AMQPValue::DecimalValue(write_decimal(decimal)?),
        other => {
            let message = format!("AMQP has no type for a value of kind `{}`; send it as text", other.kind());
            return Err(Error::new(ErrorKind::Encode, message));
        }
    })
}

/// Whole seconds since 1970; a time without offset counts as UTC, as in pyamqp.
fn seconds(time: DateTime) -> Result<u64> {
    let point = time.to_system_time().or_else(|| format!("{time}+00:00").parse::<DateTime>().ok()?.to_system_time());
    point
        .and_then(|point| point.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map(|since| since.as_secs())
        .ok_or_else(|| Error::new(ErrorKind::Encode, format!("{time} is before 1970; AMQP's times begin there")))
}

/// AMQP's decimal: the digits as a signed 32-bit number, and how many of them follow the point.
fn write_decimal(decimal: &Decimal) -> Result<DecimalValue> {
    let text = decimal.as_str();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}");
    match (u8::try_from(fraction.len()), digits.parse::<i32>()) {
        (Ok(scale), Ok(value)) => Ok(DecimalValue { scale, value: value.cast_unsigned() }),
        _ => Err(Error::new(ErrorKind::Encode, format!("the decimal {text} does not fit AMQP's 32 bits"))),
    }
}

/// Returns what came over the wire.
pub(super) fn read(table: &Table) -> FieldTable {
    table.into_iter().map(|(name, value)| (ShortStr::from(name.as_str()), read_value(value))).collect()
}

fn read_value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => Value::Bool(*value),
        AMQPValue::ShortShortInt(value) => Value::Int(i64::from(*value)),
        AMQPValue::ShortShortUInt(value) => Value::Int(i64::from(*value)),
        AMQPValue::ShortInt(value) => Value::Int(i64::from(*value)),
        AMQPValue::ShortUInt(value) => Value::Int(i64::from(*value)),
        AMQPValue::LongInt(value) => Value::Int(i64::from(*value)),
        AMQPValue::LongUInt(value) => Value::Int(i64::from(*value)),
        AMQPValue::LongLongInt(value) => Value::Int(*value),
        AMQPValue::Float(value) => Value::Float(f64::from(*value)),
        AMQPValue::Double(value) => Value::Float(*value),
        AMQPValue::DecimalValue(value) => read_decimal(*value),
        AMQPValue::ShortString(text) => Value::Text(text.to_string()),
        AMQPValue::LongString(text) => read_text(text.as_bytes()),
        AMQPValue::FieldArray(items) => Value::List(items.as_slice().iter().map(read_value).collect()),
        AMQPValue::Timestamp(seconds) => read_time(*seconds),
        AMQPValue::FieldTable(table) => Value::Map(read(table)),
        AMQPValue::ByteArray(bytes) => Value::Bytes(bytes.as_slice().to_vec().into()),
        AMQPValue::Void => Value::Null,
    }
}

/// A long string is text to almost everybody; one that is not UTF-8 is bytes.
fn read_text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Bytes(bytes.to_vec().into()),
    }
}

/// A time beyond the year 9999, which no `DateTime` holds, stays the number it is.
fn read_time(seconds: u64) -> Value {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .and_then(|point| DateTime::try_from(point).ok())
        .map_or_else(|| i64::try_from(seconds).map_or(Value::Null, Value::Int), Value::DateTime)
}

fn read_decimal(value: DecimalValue) -> Value {
    let number = value.value.cast_signed();
    let scale = usize::from(value.scale);
    let digits = format!("{:0width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    let text = format!("{sign}{whole}{point}{fraction}");
    text.parse().map_or(Value::Text(text), Value::Decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back() {
        let inner = FieldTable::from([("a", Value::from(1)), ("b", Value::Null)]);
        let table = FieldTable::from([
            ("null", Value::Null),
            ("bool", Value::from(true)),
            ("small", Value::from(-7)),
            ("large", Value::from(i64::MIN)),
            ("float", Value::from(0.5)),
            ("text", Value::from("größe")),
            ("bytes", Value::Bytes(vec![0, 255].into())),
            ("list", Value::List(vec![Value::from(1), Value::from("x")])),
            ("map", Value::Map(inner)),
            ("time", Value::DateTime("2020-01-02T03:04:05+00:00".parse().unwrap())),
            ("decimal", Value::Decimal("-0.05".parse().unwrap())),
            ("whole", Value::Decimal("1200".parse().unwrap())),
        ]);
        assert_eq!(read(&write(&table).unwrap()), table);
    }

    #[test]
    fn what_amqp_cannot_hold_is_named() {
        for (value, word) in [
            (Value::Uuid(kombu_core::value::Uuid::random()), "uuid"),
            (Value::Decimal("1E+3".parse().unwrap()), "1E+3"),
            (Value::Decimal("99999999999".parse().unwrap()), "99999999999"),
            (Value::DateTime("1969-01-01T00:00:00+00:00".parse().unwrap()), "1969"),
        ] {
            let error = write(&FieldTable::from([("key", value)])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Encode);
            assert!(error.to_string().contains(word) && error.to_string().contains("name=key"), "{error}");
        }
        let long = "x".repeat(256);
        assert_eq!(write(&FieldTable::from([(long, 1)])).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn integers_have_the_types_pyamqp_writes() {
        assert_eq!(write_value(&Value::from(60_000)).unwrap(), AMQPValue::LongInt(60_000));
        assert_eq!(write_value(&Value::from(1_i64 << 40)).unwrap(), AMQPValue::LongLongInt(1 << 40));
    }
}
