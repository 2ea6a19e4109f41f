//! Values and their parts from any self-describing serde format.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, de};

use super::deserializer::NATIVE;
use super::map_key::MapKey;
use super::{BigInt, Date, DateTime, Decimal, Time, Uuid, Value, typed};
use crate::field_table::FieldTable;
use crate::serialization::json;

/// What a format makes of the values inside lists and maps, and of the maps themselves.
pub(crate) trait Nested<'de>: Deserialize<'de> {
    fn into_value(self) -> Value;

    fn close(table: FieldTable) -> crate::error::Result<Value> {
        Ok(Value::Map(table))
    }
}

/// In formats people read, `{"__type__", "__value__"}` maps are what they mean.
impl<'de> Nested<'de> for Value {
    fn into_value(self) -> Value {
        self
    }

    fn close(table: FieldTable) -> crate::error::Result<Value> {
        typed::decode(table)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_newtype_struct(NATIVE, Doorway(ValueVisitor::<Value>::new()))
        } else {
            Plain::deserialize(deserializer).map(Nested::into_value)
        }
    }
}

/// A value whose maps are only maps, whatever their keys.
pub(crate) struct Plain(Value);

impl<'de> Nested<'de> for Plain {
    fn into_value(self) -> Value {
        self.0
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NATIVE, Doorway(ValueVisitor::<Plain>::new())).map(Plain)
    }
}

/// Answers a [`Value`] that is the deserializer itself with its own variants, and every other with `deserialize_any`.
struct Doorway<N>(ValueVisitor<N>);

impl<'de, N: Nested<'de>> Visitor<'de> for Doorway<N> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (kind, variant) = access.variant::<String>()?;
        let text = variant.newtype_variant::<String>()?;
        native(&kind, &text).map_err(A::Error::custom)
    }
}

/// The inverse of what the deserializer of a [`Value`] offers under [`NATIVE`].
fn native(kind: &str, text: &str) -> crate::error::Result<Value> {
    match kind {
        typed::DATE_TIME => text.parse().map(Value::DateTime),
        typed::DATE => text.parse().map(Value::Date),
        typed::TIME => text.parse().map(Value::Time),
        typed::DECIMAL => text.parse().map(Value::Decimal),
        typed::UUID => text.parse().map(Value::Uuid),
        "int" => text.parse().map(Value::BigInt),
        _ => json::read(text.as_bytes()),
    }
}

/// Makes a value of whatever a deserializer offers.
pub(crate) struct ValueVisitor<N>(PhantomData<N>);

impl<N> ValueVisitor<N> {
    pub(crate) fn new() -> Self {
        ValueVisitor(PhantomData)
    }
}

impl<'de, N: Nested<'de>> Visitor<'de> for ValueVisitor<N> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        N::deserialize(deserializer).map(N::into_value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        // What the sender says about the length is believed only so far.
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or_default().min(1024));
        while let Some(item) = access.next_element::<N>()? {
            items.push(item.into_value());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut table = FieldTable::new();
        while let Some(MapKey(key)) = access.next_key()? {
            table.insert(key, access.next_value::<N>()?.into_value());
        }
        N::close(table).map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for FieldTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Map(table) => Ok(table),
            other => Err(unexpected(&other, "a map")),
        }
    }
}

macro_rules! deserialize_part {
    ($($variant:ident, $expected:literal, $($also:pat => $made:expr),*;)+) => {$(
        impl<'de> Deserialize<'de> for $variant {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match Value::deserialize(deserializer)? {
                    Value::$variant(value) => Ok(value),
                    Value::Text(text) => text.parse().map_err(D::Error::custom),
                    $($also => Ok($made),)*
                    other => Err(unexpected(&other, $expected)),
                }
            }
        }
    )+};
}

deserialize_part! {
    DateTime, "a datetime", ;
    Date, "a date", ;
    Time, "a time", ;
    Uuid, "a uuid", ;
    Decimal, "a decimal", Value::Int(number) => number.into();
    BigInt, "an integer", Value::Int(number) => i128::from(number).into();
}

fn unexpected<E: de::Error>(found: &Value, expected: &str) -> E {
    E::invalid_type(de::Unexpected::Other(found.kind()), &expected)
}
