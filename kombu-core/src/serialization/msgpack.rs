//! MessagePack as Kombu writes it: text and bytes kept apart, structs as maps, no extension types.

use std::io::Read;

use rmp_serde::decode::Deserializer;
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

use crate::error::{Error, ErrorKind, Result};
use crate::value::{Value, ValueSeed};

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value)
        .map_err(|error| Error::new(ErrorKind::Encode, "not writable").caused_by(error).during("msgpack"))
}

pub(super) fn read(body: &[u8]) -> Result<Value> {
    read_seed(ValueSeed { typed: false }, body)
}

pub(super) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    read_seed(std::marker::PhantomData, body)
}

fn read_seed<S: for<'de> DeserializeSeed<'de, Value = T>, T>(seed: S, body: &[u8]) -> Result<T> {
    let mut deserializer = Deserializer::new(body);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = seed.deserialize(&mut deserializer).map_err(|error| failure("not readable").caused_by(error))?;
    let mut rest = [0];
    match deserializer.get_mut().read(&mut rest) {
        Ok(0) => Ok(value),
        _ => Err(failure("more bytes after the end")),
    }
}

/// How deep lists and maps may nest; msgpack for Python stops at 512 or 1024.
const MAX_DEPTH: usize = 512;

fn failure(message: &'static str) -> Error {
    Error::new(ErrorKind::Decode, message).during("msgpack")
}
