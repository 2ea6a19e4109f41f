//! The dynamic type of header values, arguments and payloads.

mod big_int;
mod convert;
mod date;
mod date_time;
mod decimal;
mod deserialize;
mod deserializer;
mod iso;
mod lone_text;
mod map_key;
mod serialize;
mod time;
pub(crate) mod typed;
mod uuid;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::big_int::BigInt;
pub use self::date::Date;
pub use self::date_time::DateTime;
pub use self::decimal::Decimal;
#[cfg(any(feature = "msgpack", feature = "yaml"))]
pub(crate) use self::deserialize::Nested;
#[cfg(feature = "msgpack")]
pub(crate) use self::deserialize::Plain;
#[cfg(feature = "yaml")]
pub(crate) use self::deserialize::ValueVisitor;
pub use self::lone_text::LoneText;
pub(crate) use self::serialize::{BIG_INT, LONE_TEXT};
pub use self::time::Time;
pub use self::uuid::Uuid;
use crate::error::{Error, ErrorKind, Result};
use crate::field_table::FieldTable;
use crate::serialization::json;

/// Any value a header, an argument or a payload can hold.
///
/// It serves as AMQP's *field value* and as what a body decodes to when the program names no type of its own. Every kind
/// Kombu's JSON can carry has a variant, so what Python sent is written back unchanged. [`deserialize`](Value::deserialize_as)
/// turns it into a type of the program, [`from_serialize`](Value::from_serialize) does the reverse.
///
/// # Example
///
/// ```
/// use kombu_core::{FieldTable, Value};
///
/// let value = Value::from(FieldTable::from([("retries", Value::from(3)), ("queue", Value::from("orders"))]));
/// assert_eq!(value.as_map().and_then(|map| map.get("retries")).and_then(Value::as_i64), Some(3));
///
/// #[derive(serde::Deserialize)]
/// struct Job {
///     retries: u8,
///     queue: String,
/// }
/// let job: Job = value.deserialize_as()?;
/// assert_eq!((job.retries, job.queue.as_str()), (3, "orders"));
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: Python's `None`, AMQP's void.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// An integer beyond 64 bits.
    BigInt(BigInt),
    /// A floating point number; NaN and the infinities included.
    Float(f64),
    /// Text.
    Text(String),
    /// Text of a Python program that is not valid Unicode.
    LoneText(LoneText),
    /// Bytes, shared and not copied when cloned.
    Bytes(Bytes),
    /// A list; Python's tuples arrive as lists too.
    List(Vec<Value>),
    /// A map from text to values, in order of insertion.
    Map(FieldTable),
    /// A day and a time of day, with or without offset from UTC.
    DateTime(DateTime),
    /// A day of the calendar.
    Date(Date),
    /// A time of day, with or without offset from UTC.
    Time(Time),
    /// A decimal number of any precision.
    Decimal(Decimal),
    /// A UUID.
    Uuid(Uuid),
}

/// Less than half of what overflows the stack of an ordinary thread in a debug build.
const DEEPEST_TYPE: usize = 256;

impl Value {
    /// Returns the value that serde makes of `source`, as if it had been sent and received in JSON.
    ///
    /// # Errors
    ///
    /// `Encode` when `source` refuses to be serialized or uses a map key that JSON cannot hold.
    pub fn from_serialize<T: Serialize + ?Sized>(source: &T) -> Result<Self> {
        json::read(&json::to_vec(source)?)
    }

    /// Converts the value into a type of the program.
    ///
    /// # Errors
    ///
    /// `Decode` when the value does not have the shape of `T`, and when it nests deeper than 256 levels, because `T` may need
    /// stack for every level.
    pub fn deserialize_as<T: DeserializeOwned>(self) -> Result<T> {
        if self.is_deeper_than(DEEPEST_TYPE) {
            let message = format!("nested deeper than the {DEEPEST_TYPE} levels a type may have; read it as a Value");
            return Err(Error::new(ErrorKind::Decode, message));
        }
        T::deserialize(self)
    }

    fn is_deeper_than(&self, levels: usize) -> bool {
        match self {
            Value::List(_) | Value::Map(_) if levels == 0 => true,
            Value::List(items) => items.iter().any(|item| item.is_deeper_than(levels - 1)),
            Value::Map(table) => table.values().any(|value| value.is_deeper_than(levels - 1)),
            _ => false,
        }
    }

    /// Returns what the value is, in a word for error texts: `null`, `bool`, `int`, `float`, `text`, `bytes`, `list`, `map`,
    /// `datetime`, `date`, `time`, `decimal` or `uuid`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::BigInt(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) | Value::LoneText(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::DateTime(_) => typed::DATE_TIME,
            Value::Date(_) => typed::DATE,
            Value::Time(_) => typed::TIME,
            Value::Decimal(_) => typed::DECIMAL,
            Value::Uuid(_) => typed::UUID,
        }
    }

    /// Returns true for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns the boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self { Some(*value) } else { None }
    }

    /// Returns the integer, if it is one of up to 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        if let Value::Int(value) = self { Some(*value) } else { None }
    }

    /// Returns the integer, if it is one and neither negative nor beyond 64 bits.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i128().and_then(|value| value.try_into().ok())
    }

    /// Returns the integer, if it is one of up to 128 bits.
    pub fn as_i128(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some((*value).into()),
            Value::BigInt(value) => value.to_i128(),
            _ => None,
        }
    }

    /// Returns the number, if it is a float or an integer; integers beyond 53 bits are rounded.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Int(value) => Some(*value as f64),
            Value::BigInt(value) => Some(value.to_f64()),
            _ => None,
        }
    }

    /// Returns the text, if it is text and valid Unicode.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Text(value) = self { Some(value) } else { None }
    }

    /// Returns the bytes, if it is bytes.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        if let Value::Bytes(value) = self { Some(value) } else { None }
    }

    /// Returns the items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(value) = self { Some(value) } else { None }
    }

    /// Returns the entries, if it is a map.
    pub fn as_map(&self) -> Option<&FieldTable> {
        if let Value::Map(value) = self { Some(value) } else { None }
    }

    /// Returns the entries for changing, if it is a map.
    pub fn as_map_mut(&mut self) -> Option<&mut FieldTable> {
        if let Value::Map(value) = self { Some(value) } else { None }
    }

    /// Returns the point in time, if it is one.
    pub fn as_date_time(&self) -> Option<DateTime> {
        if let Value::DateTime(value) = self { Some(*value) } else { None }
    }

    /// Returns the UUID, if it is one.
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Value::Uuid(value) = self { Some(*value) } else { None }
    }
}
