//! Values as a source for any serde format.

use serde::Serialize;
use serde::ser::{Error as _, SerializeTupleStruct, Serializer};

use super::{BigInt, Date, DateTime, Decimal, LoneText, Time, Uuid, Value, typed};
use crate::error::{Error, ErrorKind};

/// The name under which an integer beyond 128 bits offers its digits; Kombu's JSON writes them as a number.
pub(crate) const BIG_INT: &str = "$kombu::BigInt";

/// The name under which text with lone surrogates offers its UTF-16 units; Kombu's JSON writes them as text.
pub(crate) const LONE_TEXT: &str = "$kombu::LoneText";

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::BigInt(value) => value.serialize(serializer),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::LoneText(value) => value.serialize(serializer),
            Value::Bytes(value) => serializer.serialize_bytes(value),
            Value::List(value) => value.serialize(serializer),
            Value::Map(value) => value.serialize(serializer),
            Value::DateTime(value) => value.serialize(serializer),
            Value::Date(value) => value.serialize(serializer),
            Value::Time(value) => value.serialize(serializer),
            Value::Decimal(value) => value.serialize(serializer),
            Value::Uuid(value) => value.serialize(serializer),
        }
    }
}

impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.as_str();
        if let Ok(number) = text.parse() {
            serializer.serialize_i64(number)
        } else if let Ok(number) = text.parse() {
            serializer.serialize_u64(number)
        } else if !serializer.is_human_readable() {
            Err(S::Error::custom("this format has no integer beyond 64 bits; send it as text"))
        } else if let Some(number) = self.to_i128() {
            serializer.serialize_i128(number)
        } else if let Some(number) = self.to_u128() {
            serializer.serialize_u128(number)
        } else {
            serializer.serialize_newtype_struct(BIG_INT, text)
        }
    }
}

impl Serialize for LoneText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return Err(S::Error::custom("text with lone surrogates has no UTF-8 form"));
        }
        let mut units = serializer.serialize_tuple_struct(LONE_TEXT, self.as_utf16().len())?;
        for unit in self.as_utf16() {
            units.serialize_field(unit)?;
        }
        units.end()
    }
}

macro_rules! serialize_text {
    ($($source:ty => $marker:expr),+) => {$(
        impl Serialize for $source {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                typed::serialize(serializer, $marker, AsText(self))
            }
        }
    )+};
}

serialize_text!(DateTime => typed::DATE_TIME, Date => typed::DATE, Time => typed::TIME, Decimal => typed::DECIMAL);

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Hex {
            hex: String,
        }
        typed::serialize(serializer, typed::UUID, Hex { hex: self.to_hex() })
    }
}

struct AsText<'a, T>(&'a T);

impl<T: std::fmt::Display> Serialize for AsText<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Error::new(ErrorKind::Encode, message.to_string())
    }
}
