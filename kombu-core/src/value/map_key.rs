//! Keys of maps: text, also where other formats and types have something else.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{self, Deserialize, Deserializer, EnumAccess, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::error::Error;
use crate::serialization::json;
use crate::short_str::ShortStr;

/// A key on its way in or out of serde. Like Python's JSON it makes text of numbers, booleans and null, and like
/// serde's JSON it reads numbers and booleans from text when the type asks for them.
pub(super) struct MapKey(pub(super) ShortStr);

impl<'de> Deserialize<'de> for MapKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MapKeyVisitor)
    }
}

struct MapKeyVisitor;

impl<'de> Visitor<'de> for MapKeyVisitor {
    type Value = MapKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text as a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<MapKey, E> {
        Ok(MapKey(key.into()))
    }

    fn visit_string<E>(self, key: String) -> Result<MapKey, E> {
        Ok(MapKey(key.into()))
    }

    fn visit_bool<E: de::Error>(self, key: bool) -> Result<MapKey, E> {
        self.visit_str(if key { "true" } else { "false" })
    }

    fn visit_i64<E: de::Error>(self, key: i64) -> Result<MapKey, E> {
        self.visit_string(key.to_string())
    }

    fn visit_u64<E: de::Error>(self, key: u64) -> Result<MapKey, E> {
        self.visit_string(key.to_string())
    }

    fn visit_f64<E: de::Error>(self, key: f64) -> Result<MapKey, E> {
        self.visit_string(json::float_repr(key))
    }

    fn visit_unit<E: de::Error>(self) -> Result<MapKey, E> {
        self.visit_str("null")
    }
}

impl IntoDeserializer<'_, Error> for MapKey {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parse_number {
    ($($method:ident => $visit:ident),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_str(&self.0),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for MapKey {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.0)
    }

    parse_number! {
        deserialize_bool => visit_bool,
        deserialize_i8 => visit_i8, deserialize_i16 => visit_i16, deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64, deserialize_i128 => visit_i128,
        deserialize_u8 => visit_u8, deserialize_u16 => visit_u16, deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64, deserialize_u128 => visit_u128,
        deserialize_f32 => visit_f32, deserialize_f64 => visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for MapKey {
    type Error = Error;
    type Variant = <StringDeserializer<Error> as EnumAccess<'de>>::Variant;

    fn variant_seed<S: serde::de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Error> {
        let name: StringDeserializer<Error> = self.0.to_string().into_deserializer();
        name.variant_seed(seed)
    }
}
