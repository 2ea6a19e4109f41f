//! Kombu's JSON: what Python's `json` module and Kombu's extended types make of it, byte for byte.
//!
//! # Writing
//!
//! [`to_vec`] writes any serde type the way Kombu does: ASCII only, `", "` and `": "` between the parts, Python's text of
//! floats, `NaN` and the infinities as such, integers of any size, bytes and the types of [`value`](crate::value) as
//! `{"__type__": …, "__value__": …}`.
//!
//! # Reading
//!
//! [`from_slice`] reads into any serde type. It takes serde_json's fast path where that gives the right answer and falls back
//! to [`read`], which accepts everything Python writes and standard JSON forbids: `NaN` and the infinities, lone surrogates,
//! integers of any size, deep nesting.

mod key;
mod reader;
mod text;
mod writer;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::text::float_repr;
use self::writer::Writer;
use crate::error::Result;
use crate::value::Value;

/// How [`read_with`] and [`from_slice_with`] read.
///
/// # Example
///
/// ```
/// use kombu_core::serialization::json::{self, ReadOptions};
///
/// let options = ReadOptions { max_depth: 2, ..ReadOptions::default() };
/// assert!(json::read_with(b"[[1]]", &options).is_ok());
/// let error = json::read_with(b"[[[1]]]", &options).unwrap_err();
/// assert_eq!(error.to_string(), "json: nested deeper than the limit of 2 at byte 2");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How many lists and maps may be open at once; default 512. More than [`MAX_DEPTH`](ReadOptions::MAX_DEPTH) counts as
    /// that many, because whatever handles the value afterwards needs stack for every level. Types other than
    /// [`Value`] are made from at most 256 levels.
    pub max_depth: usize,
}

impl ReadOptions {
    /// The deepest nesting any options allow: 1000, about where Python's own reader stops.
    pub const MAX_DEPTH: usize = 1000;
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { max_depth: 512 }
    }
}

/// Reads a value from what Kombu wrote, with the default [`ReadOptions`].
///
/// # Errors
///
/// `Decode`, naming the offset in bytes and what was expected there, for everything Kombu refuses to read.
///
/// # Example
///
/// ```
/// use kombu_core::Value;
/// use kombu_core::serialization::json;
///
/// let value = json::read(br#"{"when": {"__type__": "date", "__value__": "2020-01-02"}, "share": NaN}"#)?;
/// assert!(matches!(value.as_map().and_then(|map| map.get("when")), Some(Value::Date(_))));
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn read(json: &[u8]) -> Result<Value> {
    read_with(json, &ReadOptions::default())
}

/// Reads a value from what Kombu wrote.
///
/// # Errors
///
/// As [`read`].
pub fn read_with(json: &[u8], options: &ReadOptions) -> Result<Value> {
    reader::read(json, options).map_err(|error| error.during("json"))
}

/// Reads a type of the program from what Kombu wrote, with the default [`ReadOptions`].
///
/// # Errors
///
/// `Decode` for everything Kombu refuses to read, and when the text does not have the shape of `T`.
///
/// # Example
///
/// ```
/// use kombu_core::serialization::json;
///
/// let numbers: Vec<f64> = json::from_slice(b"[1, 2.5, Infinity]")?;
/// assert_eq!(numbers, [1.0, 2.5, f64::INFINITY]);
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    from_slice_with(json, &ReadOptions::default())
}

/// Reads a type of the program from what Kombu wrote.
///
/// # Errors
///
/// As [`from_slice`].
pub fn from_slice_with<T: DeserializeOwned>(json: &[u8], options: &ReadOptions) -> Result<T> {
    if is_plain(json) && options.max_depth >= SERDE_JSON_DEPTH {
        match serde_json::from_slice(json) {
            Ok(value) => return Ok(value),
            Err(error) if error.is_data() => {
                return Err(serde::de::Error::custom(error)).map_err(|error: crate::Error| error.during("json"));
            }
            // Perhaps only what Python writes and serde_json refuses; the tolerant reader knows.
            Err(_) => {}
        }
    }
    read_with(json, options)?.deserialize_as().map_err(|error| error.during("json"))
}

/// Writes `value` as Kombu does.
///
/// # Errors
///
/// `Encode` when `value` refuses to be serialized or uses a map key that is neither text nor number, boolean or null.
///
/// # Example
///
/// ```
/// use kombu_core::serialization::json;
///
/// assert_eq!(json::to_vec(&("é", 1e22, [Some(true), None]))?, br#"["\u00e9", 1e+22, [true, null]]"#);
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    write(value, &mut out)?;
    Ok(out)
}

/// Writes `value` as Kombu does, as text; it is ASCII only.
///
/// # Errors
///
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    String::from_utf8(to_vec(value)?).map_err(serde::ser::Error::custom)
}

/// Writes `value` as Kombu does, at the end of `out`.
///
/// # Errors
///
/// As [`to_vec`]; `out` then ends with a part of the text.
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    value.serialize(&mut Writer::new(out)).map_err(|error| error.during("json"))
}

/// The nesting at which serde_json gives up.
const SERDE_JSON_DEPTH: usize = 128;

/// Tells whether serde_json's reader gives the right answer if it gives one: no extended types, no integers it would round.
fn is_plain(json: &[u8]) -> bool {
    memchr::memmem::find(json, b"\"__type__\"").is_none() && !has_long_number(json)
}

/// Tells whether there are [`LONG_NUMBER`] digits in a row anywhere, looking at few of the bytes.
fn has_long_number(json: &[u8]) -> bool {
    let mut at = LONG_NUMBER - 1;
    while let Some(byte) = json.get(at) {
        if !byte.is_ascii_digit() {
            at += LONG_NUMBER;
            continue;
        }
        let is_digit = |byte: &&u8| byte.is_ascii_digit();
        let before = json[..at].iter().rev().take(LONG_NUMBER).take_while(is_digit).count();
        let after = json[at..].iter().take(LONG_NUMBER).take_while(is_digit).count();
        if before + after >= LONG_NUMBER {
            return true;
        }
        at += after + LONG_NUMBER - 1;
    }
    false
}

/// Eighteen digits always fit 64 bits with sign; nineteen may not.
const LONG_NUMBER: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_found_wherever_they_are() {
        for before in 0..60 {
            for digits in 15..25 {
                let text = format!("{}{}{}", "x".repeat(before), "7".repeat(digits), "y".repeat(before));
                assert_eq!(has_long_number(text.as_bytes()), digits >= LONG_NUMBER, "{text}");
                let text = format!("{}{text}", "123456789012345678 ");
                assert_eq!(has_long_number(text.as_bytes()), digits >= LONG_NUMBER, "{text}");
            }
        }
        assert!(!has_long_number(b""));
    }

    #[test]
    fn raw_values_are_written_as_they_are() {
        let raw = serde_json::value::RawValue::from_string("{\"a\":1}".into()).unwrap();
        assert_eq!(to_string(&[&raw]).unwrap(), "[{\"a\":1}]");
    }

    #[test]
    fn values_inside_other_types_keep_their_kind() {
        #[derive(serde::Deserialize)]
        struct Envelope {
            headers: Vec<Value>,
        }
        let text = br#"{"headers": [1000000000000000000000000000000, {"__type__": "time", "__value__": "01:02:03"}, "\udcff"]}"#;
        let envelope: Envelope = from_slice(text).unwrap();
        assert_eq!(to_vec(&envelope.headers).unwrap(), &text[12..text.len() - 1]);
    }
}
