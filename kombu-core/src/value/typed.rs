//! The `{"__type__": …, "__value__": …}` objects by which Kombu's JSON carries more types than JSON has.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Date, DateTime, Decimal, Uuid, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::field_table::FieldTable;

pub(crate) const TYPE_KEY: &str = "__type__";
pub(crate) const VALUE_KEY: &str = "__value__";

pub(crate) const DATE_TIME: &str = "datetime";
pub(crate) const DATE: &str = "date";
pub(crate) const TIME: &str = "time";
pub(crate) const DECIMAL: &str = "decimal";
pub(crate) const UUID: &str = "uuid";
pub(crate) const BYTES: &str = "bytes";
pub(crate) const BASE64: &str = "base64";

const KNOWN: &[&str] = &[BASE64, BYTES, DATE, DATE_TIME, DECIMAL, TIME, UUID];

/// Python ignores the unused bits of the last character.
const TOLERANT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Returns what a table means: the typed value if it has exactly the two keys, otherwise the table itself.
pub(crate) fn decode(mut table: FieldTable) -> Result<Value> {
    if table.len() != 2 || !table.contains_key(TYPE_KEY) || !table.contains_key(VALUE_KEY) {
        return Ok(Value::Map(table));
    }
    let marker = table.remove(TYPE_KEY).unwrap_or_default();
    let value = table.remove(VALUE_KEY).unwrap_or_default();
    match marker.as_str() {
        Some(DATE_TIME) => text(DATE_TIME, value)?.parse().map(Value::DateTime).map_err(unreadable),
        Some(DATE) => date(&text(DATE, value)?).map(Value::Date),
        Some(TIME) => text(TIME, value)?.parse().map(Value::Time).map_err(unreadable),
        Some(DECIMAL) => decimal(value).map(Value::Decimal),
        Some(UUID) => uuid(value).map(Value::Uuid),
        Some(BYTES) => text(BYTES, value).map(Value::from_owned_bytes),
        Some(BASE64) => base64(&text(BASE64, value)?).map(Value::Bytes),
        Some(unknown) => Err(failure(format!("unknown {TYPE_KEY} `{unknown}`; known: {}", KNOWN.join(", ")))),
        None => Err(failure(format!("{TYPE_KEY} is {} instead of text; known: {}", marker.kind(), KNOWN.join(", ")))),
    }
}

/// Serializes `value` under its marker in formats people read, as an error in binary ones, which Kombu cannot write either.
pub(super) fn serialize<S: Serializer>(serializer: S, marker: &str, value: impl Serialize) -> Result<S::Ok, S::Error> {
    if !serializer.is_human_readable() {
        return Err(serde::ser::Error::custom(format!("this format has no {marker}; send it as text")));
    }
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry(TYPE_KEY, marker)?;
    map.serialize_entry(VALUE_KEY, &value)?;
    map.end()
}

/// Returns the marker and the text by which JSON carries `bytes`.
pub(crate) fn encode_bytes(bytes: &[u8]) -> (&'static str, std::borrow::Cow<'_, str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (BYTES, text.into()),
        Err(_) => (BASE64, STANDARD.encode(bytes).into()),
    }
}

fn text(marker: &str, value: Value) -> Result<String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(failure(format!("{VALUE_KEY} of a {marker} is {} instead of text", other.kind()))),
    }
}

/// A date may come as a full datetime, whose time is dropped.
fn date(text: &str) -> Result<Date> {
    DateTime::read(text).map(DateTime::date).ok_or_else(|| unreadable(super::iso::not_iso("a date", text)))
}

fn decimal(value: Value) -> Result<Decimal> {
    match value {
        Value::Int(number) => Ok(number.into()),
        Value::BigInt(number) => number.as_str().parse().map_err(unreadable),
        Value::Float(number) => Ok(Decimal::from_exact_f64(number)),
        Value::Decimal(number) => Ok(number),
        other => text(DECIMAL, other)?.parse().map_err(unreadable),
    }
}

/// A UUID comes as one of the keywords of Python's `uuid.UUID`; a bare text is refused there too.
fn uuid(value: Value) -> Result<Uuid> {
    let forms = value.as_map().filter(|map| map.len() == 1);
    let form = forms.and_then(|map| map.iter().next()).map(|(name, value)| (name.as_str(), value));
    match form {
        Some(("hex", Value::Text(hex))) => hex.parse().map_err(unreadable),
        Some(("int", Value::Int(number))) if *number >= 0 => Ok(Uuid::from_u128(number.unsigned_abs().into())),
        Some(("int", Value::BigInt(number))) if number.to_u128().is_some() => {
            Ok(Uuid::from_u128(number.to_u128().unwrap_or_default()))
        }
        Some(("bytes", Value::Bytes(bytes))) if bytes.len() == 16 => {
            Ok(Uuid::from_u128(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))))
        }
        _ => Err(failure(format!("{VALUE_KEY} of a uuid is not an object with `hex`, `int` or `bytes`"))),
    }
}

/// Python skips whatever is not in the alphabet.
fn base64(text: &str) -> Result<Bytes> {
    let decoded = TOLERANT_BASE64.decode(text).or_else(|_| {
        let is_base64 = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=');
        TOLERANT_BASE64.decode(text.chars().filter(is_base64).collect::<String>())
    });
    decoded.map(Bytes::from).map_err(|error| failure("not base64").caused_by(error))
}

fn failure(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Decode, message)
}

/// What is a wrong argument when a program writes it is an undecodable text when it came in a message.
fn unreadable(error: Error) -> Error {
    failure(error.to_string())
}

impl Value {
    fn from_owned_bytes(text: String) -> Self {
        Value::Bytes(text.into_bytes().into())
    }
}
