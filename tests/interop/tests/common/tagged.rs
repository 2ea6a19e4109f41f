//! Values in the JSON of `python/values.py`, which loses nothing of their types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kombu::{FieldTable, Value};
use serde_json::{Value as JsonValue, json};

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// What the Python end would report for this value.
pub fn to_tagged(value: &Value) -> JsonValue {
    let tagged = |kind: &str, text: String| json!({"$type": kind, "$value": text});
    match value {
        Value::Null => JsonValue::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::BigInt(value) => tagged("int", value.to_string()),
        Value::Float(value) if value.is_finite() => json!(value),
        Value::Float(value) if value.is_nan() => tagged("float", "nan".into()),
        Value::Float(value) => tagged("float", if *value > 0.0 { "inf".into() } else { "-inf".into() }),
        Value::Text(value) => json!(value),
        Value::LoneText(value) => tagged("surrogates", base64(&surrogatepass(value.as_utf16()))),
        Value::Bytes(value) => tagged("bytes", base64(value)),
        Value::List(items) => items.iter().map(to_tagged).collect(),
        Value::Map(table) => table_to_tagged(table),
        Value::DateTime(value) => tagged("datetime", value.to_string()),
        Value::Date(value) => tagged("date", value.to_string()),
        Value::Time(value) => tagged("time", value.to_string()),
        Value::Decimal(value) => tagged("Decimal", value.to_string()),
        Value::Uuid(value) => tagged("UUID", value.to_string()),
        other => panic!("no form for {other:?}"),
    }
}

pub fn table_to_tagged(table: &FieldTable) -> JsonValue {
    JsonValue::Object(table.iter().map(|(key, value)| (key.to_string(), to_tagged(value))).collect())
}

/// The value that the Python end would read from this.
pub fn from_tagged(json: &JsonValue) -> Value {
    match json {
        JsonValue::Null => Value::Null,
        JsonValue::Bool(value) => Value::Bool(*value),
        JsonValue::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Float(number),
            (None, None) => panic!("no number: {number}"),
        },
        JsonValue::String(text) => Value::Text(text.clone()),
        JsonValue::Array(items) => Value::List(items.iter().map(from_tagged).collect()),
        JsonValue::Object(fields) => match (fields.get("$type"), fields.get("$value")) {
            (Some(kind), Some(value)) => typed(kind.as_str().unwrap(), value),
            _ => Value::Map(table_from_tagged(json)),
        },
    }
}

pub fn table_from_tagged(json: &JsonValue) -> FieldTable {
    json.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), from_tagged(value))).collect()
}

fn typed(kind: &str, value: &JsonValue) -> Value {
    if kind == "tuple" {
        return from_tagged(value);
    }
    let text = value.as_str().unwrap();
    match kind {
        "int" => Value::BigInt(text.parse().unwrap()),
        "float" => Value::Float(text.parse().unwrap()),
        "surrogates" => Value::from_utf16(from_surrogatepass(&from_base64(text))),
        "bytes" => Value::Bytes(from_base64(text).into()),
        "datetime" => Value::DateTime(text.parse().unwrap()),
        "date" => Value::Date(text.parse().unwrap()),
        "time" => Value::Time(text.parse().unwrap()),
        "Decimal" => Value::Decimal(text.parse().unwrap()),
        "UUID" => Value::Uuid(text.parse().unwrap()),
        other => panic!("no value for {other}"),
    }
}

/// UTF-8 in which lone surrogates are encoded too, as Python's error handler of that name does.
fn surrogatepass(units: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for decoded in char::decode_utf16(units.iter().copied()) {
        match decoded {
            Ok(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                let low = |shift: u16| 0x80 | ((unit >> shift) & 0x3f) as u8;
                bytes.extend_from_slice(&[0xe0 | (unit >> 12) as u8, low(6), low(0)]);
            }
        }
    }
    bytes
}

fn from_surrogatepass(bytes: &[u8]) -> Vec<u16> {
    let mut units = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let length = match first {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let (char, behind) = rest.split_at(length);
        match std::str::from_utf8(char) {
            Ok(text) => units.extend(text.encode_utf16()),
            Err(_) => {
                let six = |byte: u8| u16::from(byte & 0x3f);
                units.push((u16::from(char[0] & 0xf) << 12) | (six(char[1]) << 6) | six(char[2]));
            }
        }
        rest = behind;
    }
    units
}
