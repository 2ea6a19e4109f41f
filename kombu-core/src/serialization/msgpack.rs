//! MessagePack as Kombu writes it: text and bytes kept apart, structs as maps, no extension types.

use std::io::Read;

use rmp_serde::decode::Deserializer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::value::{Nested, Plain, Value};

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value)
        .map_err(|error| Error::new(ErrorKind::Encode, "not writable").caused_by(error).during("msgpack"))
}

/// Text that is not UTF-8 arrives as bytes, and maps are only maps, whatever their keys.
pub(super) fn read(body: &[u8]) -> Result<Value> {
    from_slice(body).map(Plain::into_value)
}

pub(super) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut deserializer = Deserializer::new(body);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer).map_err(|error| failure("not readable").caused_by(error))?;
    match deserializer.get_mut().read(&mut [0]) {
        Ok(0) => Ok(value),
        _ => Err(failure("more bytes after the end")),
    }
}

/// How deep lists and maps may nest, for the sake of the stack.
const MAX_DEPTH: usize = 256;

fn failure(message: &'static str) -> Error {
    Error::new(ErrorKind::Decode, message).during("msgpack")
}
