//! Values as Python's `repr` shows them, to compare with the fixtures.
#![allow(clippy::unwrap_used, reason = "part of a test")]

use kombu_core::Value;
use kombu_core::value::{DateTime, Time};

/// Returns what Python's `repr` shows for the value it would be there.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(value) => if *value { "True" } else { "False" }.into(),
        Value::Int(value) => value.to_string(),
        Value::BigInt(value) => value.to_string(),
        Value::Float(value) if value.is_finite() => kombu_core::serialization::json::to_string(value).unwrap(),
        Value::Float(value) => value.to_string().to_lowercase(),
        Value::Text(value) => text(value),
        Value::Bytes(value) => bytes(value),
        Value::List(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Map(table) => {
            let entries = table.iter().map(|(key, value)| format!("{}: {}", text(key), repr(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::DateTime(value) => date_time(*value),
        Value::Date(value) => format!("datetime.date({}, {}, {})", value.year(), value.month(), value.day()),
        Value::Time(value) => format!("datetime.time({}{})", clock(*value), zone(*value)),
        Value::Decimal(value) => format!("Decimal('{value}')"),
        Value::Uuid(value) => format!("UUID('{value}')"),
        other => panic!("no repr for {other:?}"),
    }
}

fn text(text: &str) -> String {
    let escaped = text.chars().map(|char| match char {
        '\'' | '\\' => format!("\\{char}"),
        ' '..='~' => char.to_string(),
        _ if char.is_control() && u32::from(char) < 0x100 => format!("\\x{:02x}", u32::from(char)),
        _ if char.is_whitespace() => format!("\\u{:04x}", u32::from(char)),
        _ => char.to_string(),
    });
    format!("'{}'", escaped.collect::<String>())
}

fn bytes(bytes: &[u8]) -> String {
    let escaped = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    });
    format!("b'{}'", escaped.collect::<String>())
}

fn date_time(value: DateTime) -> String {
    let (date, time) = (value.date(), value.time());
    format!("datetime.datetime({}, {}, {}, {}{})", date.year(), date.month(), date.day(), clock(time), zone(time))
}

fn clock(time: Time) -> String {
    let mut parts = vec![time.hour().to_string(), time.minute().to_string()];
    if time.second() != 0 || time.microsecond() != 0 {
        parts.push(time.second().to_string());
    }
    if time.microsecond() != 0 {
        parts.push(time.microsecond().to_string());
    }
    parts.join(", ")
}

fn zone(time: Time) -> String {
    let Some(micros) = time.utc_offset_micros() else { return String::new() };
    let seconds = micros / 1_000_000;
    let (days, seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    match (days, seconds) {
        (0, 0) => ", tzinfo=datetime.timezone.utc".into(),
        (0, _) => format!(", tzinfo=datetime.timezone(datetime.timedelta(seconds={seconds}))"),
        _ => format!(", tzinfo=datetime.timezone(datetime.timedelta(days={days}, seconds={seconds}))"),
    }
}
