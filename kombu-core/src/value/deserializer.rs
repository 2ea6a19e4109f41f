//! Values as a source of any type serde can make.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Value;
use super::map_key::MapKey;
use crate::error::{Error, ErrorKind};
use crate::serialization::json;

/// The name by which a `Value` asks its deserializer for another `Value` with all its kinds, which serde alone cannot pass.
pub(super) const NATIVE: &str = "$kombu::Value";

impl<'de> Deserializer<'de> for Value {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Int(value) => visitor.visit_i64(value),
            Value::BigInt(value) => match (value.to_i128(), value.to_u128()) {
                (_, Some(number)) if u64::try_from(number).is_ok() => visitor.visit_u64(number as u64),
                (Some(number), _) => visitor.visit_i128(number),
                (_, Some(number)) => visitor.visit_u128(number),
                _ => visitor.visit_str(value.as_str()),
            },
            Value::Float(value) => visitor.visit_f64(value),
            Value::Text(value) => visitor.visit_string(value),
            Value::LoneText(_) => Err(Error::custom("text with lone surrogates is only readable as a Value")),
            Value::Bytes(value) => visitor.visit_byte_buf(value.into()),
            Value::List(items) => {
                let mut access = SeqDeserializer::new(items.into_iter());
                let result = visitor.visit_seq(&mut access)?;
                access.end()?;
                Ok(result)
            }
            Value::Map(table) => {
                let mut access = MapDeserializer::new(table.into_iter().map(|(key, value)| (MapKey(key), value)));
                let result = visitor.visit_map(&mut access)?;
                access.end()?;
                Ok(result)
            }
            Value::DateTime(value) => visitor.visit_string(value.to_string()),
            Value::Date(value) => visitor.visit_string(value.to_string()),
            Value::Time(value) => visitor.visit_string(value.to_string()),
            Value::Decimal(value) => visitor.visit_str(value.as_str()),
            Value::Uuid(value) => visitor.visit_string(value.to_string()),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::BigInt(value) => visitor.visit_f64(value.to_f64()),
            Value::Decimal(value) => visitor.visit_f64(value.to_f64()),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::BigInt(_)
            | Value::LoneText(_)
            | Value::DateTime(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Decimal(_)
            | Value::Uuid(_)
                if name == NATIVE =>
            {
                visitor.visit_enum(Native(self))
            }
            other => visitor.visit_newtype_struct(other),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Value::Text(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Map(table) if table.len() == 1 => {
                let entries = table.into_iter().map(|(key, value)| (MapKey(key), value));
                visitor.visit_enum(serde::de::value::MapAccessDeserializer::new(MapDeserializer::new(entries)))
            }
            other => Err(Error::invalid_type(
                Unexpected::Other(other.kind()),
                &"the name of a variant, or a map of one name to its content",
            )),
        }
    }

    /// Skipping is free, and safe for any value.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit unit_struct tuple_struct map
        struct identifier
    }
}

impl IntoDeserializer<'_, Error> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A value that serde has no word for, as its kind and its text.
struct Native(Value);

impl<'de> EnumAccess<'de> for Native {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let kind: serde::de::value::StrDeserializer<'_, Error> = self.0.kind().into_deserializer();
        Ok((seed.deserialize(kind)?, self))
    }
}

impl<'de> VariantAccess<'de> for Native {
    type Error = Error;

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let text = match self.0 {
            Value::BigInt(value) => value.as_str().to_owned(),
            Value::LoneText(_) => json::to_string(&self.0)?,
            Value::DateTime(value) => value.to_string(),
            Value::Date(value) => value.to_string(),
            Value::Time(value) => value.to_string(),
            Value::Decimal(value) => value.as_str().to_owned(),
            Value::Uuid(value) => value.to_string(),
            other => return Err(Error::custom(format!("{} needs no detour", other.kind()))),
        };
        seed.deserialize(IntoDeserializer::<Error>::into_deserializer(text))
    }

    fn unit_variant(self) -> Result<(), Error> {
        Err(Error::custom("a value is no unit variant"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a value is no tuple variant"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a value is no struct variant"))
    }
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Error::new(ErrorKind::Decode, message.to_string())
    }
}
