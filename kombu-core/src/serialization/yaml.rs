//! YAML that PyYAML's safe loader and dumper agree with.
//!
//! Dates come back as text, because the parser does not tell a date from a quoted text that looks like one.

mod writer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Options, Tagged};

use crate::error::{Error, ErrorKind, Result};
use crate::value::{Nested, Value, ValueVisitor};

pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let value = Value::from_serialize(value).map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))?;
    writer::write(&value).map(String::into_bytes).map_err(|error| error.during("yaml"))
}

pub(super) fn read(body: &[u8]) -> Result<Value> {
    let node: Result<Node, _> = serde_saphyr::from_slice_with_options(body, options());
    node.map(Nested::into_value)
        .map_err(|error| Error::new(ErrorKind::Decode, "not readable").caused_by(error.to_string()).during("yaml"))
}

pub(super) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    read(body)?.deserialize_as()
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            // The parser takes up to 50 KiB of stack per level in a debug build.
            max_depth: 32,
            max_nodes: 1_000_000,
            max_events: 4_000_000,
            max_total_scalar_bytes: 128 * 1024 * 1024,
        },
        // PyYAML writes the texts `y` and `n` without quotes, and booleans as `true` and `false` only.
        strict_booleans: true,
        // It also writes the text `08` without quotes, and no number that begins like that.
        leading_zero_numbers_as_strings: true,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        // The tag decides here, with the text of the scalar.
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    }
}

/// A value with what its tag says about it.
struct Node(Value);

/// A value as it stands, without its tag.
struct Untagged(Value);

impl<'de> Nested<'de> for Node {
    fn into_value(self) -> Value {
        self.0
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        let Some(tag) = tag else { return Ok(Node(value)) };
        let kind = tag.strip_prefix("tag:yaml.org,2002:").or_else(|| tag.strip_prefix("!!"));
        match (kind, value) {
            (Some("binary"), Value::Text(text)) => {
                let text: String = text.split_ascii_whitespace().collect();
                let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
                Ok(Node(Value::Bytes(bytes.into())))
            }
            (Some("null" | "bool" | "int" | "float" | "str" | "seq" | "map" | "set" | "timestamp"), value) => {
                Ok(Node(value))
            }
            _ => Err(D::Error::custom(format!("unknown tag `{tag}`"))),
        }
    }
}

impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor::<Node>::new()).map(Untagged)
    }
}
