//! Stands in for MessagePack when the feature `msgpack` is off.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::value::Value;

pub(super) fn to_vec<T: Serialize + ?Sized>(_: &T) -> Result<Vec<u8>> {
    Err(missing())
}

pub(super) fn read(_: &[u8]) -> Result<Value> {
    Err(missing())
}

pub(super) fn from_slice<T: DeserializeOwned>(_: &[u8]) -> Result<T> {
    Err(missing())
}

fn missing() -> Error {
    Error::new(ErrorKind::Unsupported, "msgpack is not compiled in; enable the feature `msgpack`")
}
