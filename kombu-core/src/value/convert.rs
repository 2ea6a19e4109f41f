//! Values from the usual types of Rust.

use std::borrow::Cow;

use bytes::Bytes;

use super::{BigInt, Date, DateTime, Decimal, LoneText, Time, Uuid, Value};
use crate::field_table::FieldTable;
use crate::short_str::ShortStr;

macro_rules! from_into {
    ($($variant:ident: $($source:ty),+;)+) => {$($(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Value::$variant(value.into())
            }
        }
    )+)+};
}

from_into! {
    Bool: bool;
    Int: i8, i16, i32, i64, u8, u16, u32;
    Float: f32, f64;
    Text: &str, String, &String, char, Cow<'_, str>, Box<str>;
    LoneText: LoneText;
    Bytes: Bytes, Vec<u8>;
    Map: FieldTable;
    DateTime: DateTime;
    Date: Date;
    Time: Time;
    Decimal: Decimal;
    Uuid: Uuid;
}

macro_rules! from_wide {
    ($($source:ty => $widest:ty),+) => {$(
        impl From<$source> for Value {
            /// Makes an [`Int`](Value::Int) when 64 bits are enough, otherwise a [`BigInt`](Value::BigInt).
            fn from(value: $source) -> Self {
                match i64::try_from(value) {
                    Ok(value) => Value::Int(value),
                    Err(_) => Value::BigInt(BigInt::from(value as $widest)),
                }
            }
        }
    )+};
}

from_wide!(u64 => u128, usize => u128, u128 => u128, isize => i128, i128 => i128);

impl From<BigInt> for Value {
    /// Makes an [`Int`](Value::Int) when 64 bits are enough, otherwise a [`BigInt`](Value::BigInt).
    fn from(value: BigInt) -> Self {
        match value.as_str().parse() {
            Ok(value) => Value::Int(value),
            Err(_) => Value::BigInt(value),
        }
    }
}

impl From<()> for Value {
    fn from(_: ()) -> Self {
        Value::Null
    }
}

impl From<ShortStr> for Value {
    fn from(value: ShortStr) -> Self {
        Value::Text(value.as_str().into())
    }
}

impl From<&ShortStr> for Value {
    fn from(value: &ShortStr) -> Self {
        Value::Text(value.as_str().into())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Bytes(Bytes::copy_from_slice(value))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Value::Bytes(Bytes::copy_from_slice(value))
    }
}

impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::List(items)
    }
}

impl<V: Into<Value>, const N: usize> From<[V; N]> for Value {
    fn from(items: [V; N]) -> Self {
        items.into_iter().collect()
    }
}

impl<V: Into<Value>> FromIterator<V> for Value {
    /// Makes a list.
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_the_smallest_variant() {
        assert_eq!(Value::from(u64::MAX), Value::BigInt(BigInt::from(u128::from(u64::MAX))));
        assert_eq!(Value::from(i64::MAX as u64), Value::Int(i64::MAX));
        assert_eq!(Value::from(-1i128), Value::Int(-1));
        assert_eq!(Value::from("12".parse::<BigInt>().unwrap()), Value::Int(12));
        assert_eq!(Value::from(i128::MIN).as_i128(), Some(i128::MIN));
    }

    #[test]
    fn options_and_lists_nest() {
        let value = Value::from([Some("a"), None]);
        assert_eq!(value, Value::List(vec![Value::Text("a".into()), Value::Null]));
    }
}
