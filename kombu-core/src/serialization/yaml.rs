//! YAML that PyYAML's safe loader and dumper agree with.
//!
//! Dates come back as text, because the parser does not tell a date from a quoted text that looks like one.

mod writer;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer};

use crate::error::{Error, ErrorKind, Result};
use crate::value::{Value, ValueSeed};

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let value = Value::from_serialize(value).map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))?;
    writer::write(&value).map(String::into_bytes).map_err(|error| error.during("yaml"))
}

pub(super) fn read(body: &[u8]) -> Result<Value> {
    from_slice(body).map(|Plain(value)| value)
}

pub(super) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_saphyr::from_slice(body)
        .map_err(|error| Error::new(ErrorKind::Decode, "not readable").caused_by(error.to_string()).during("yaml"))
}

/// A value whose maps are only maps, whatever their keys: the extended types belong to JSON.
struct Plain(Value);

impl<'de> serde::Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        ValueSeed { typed: false }.deserialize(deserializer).map(Plain)
    }
}
