//! The style of PyYAML's safe dump: blocks, sorted keys, ASCII only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, ErrorKind, Result};
use crate::field_table::FieldTable;
use crate::serialization::json::float_repr;
use crate::short_str::ShortStr;
use crate::value::Value;

pub(super) fn write(value: &Value) -> Result<String> {
    let mut out = String::with_capacity(128);
    write_node(&mut out, value, 0)?;
    out.push('\n');
    Ok(out)
}

/// Writes a node that begins where the text ends now, in column `indent`.
fn write_node(out: &mut String, value: &Value, indent: usize) -> Result<()> {
    match value {
        Value::List(items) if !items.is_empty() => write_list(out, items, indent),
        Value::Map(table) if !table.is_empty() => write_map(out, table, indent),
        scalar => write_scalar(out, scalar),
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize) -> Result<()> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            new_line(out, indent);
        }
        out.push_str("- ");
        write_node(out, item, indent + 2)?;
    }
    Ok(())
}

fn write_map(out: &mut String, table: &FieldTable, indent: usize) -> Result<()> {
    let mut entries: Vec<(&ShortStr, &Value)> = table.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            new_line(out, indent);
        }
        let is_long = key.len() > LONGEST_SIMPLE_KEY;
        if is_long {
            out.push_str("? ");
        }
        write_text(out, key);
        if is_long {
            new_line(out, indent);
        }
        out.push(':');
        match value {
            Value::List(items) if !items.is_empty() => {
                new_line(out, indent);
                write_list(out, items, indent)?;
            }
            Value::Map(table) if !table.is_empty() => {
                new_line(out, indent + 2);
                write_map(out, table, indent + 2)?;
            }
            scalar => {
                out.push(' ');
                write_scalar(out, scalar)?;
            }
        }
    }
    Ok(())
}

/// A key that is followed by its colon has at most 1024 characters; PyYAML stops at 128.
const LONGEST_SIMPLE_KEY: usize = 128;

fn write_scalar(out: &mut String, value: &Value) -> Result<()> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::BigInt(value) => out.push_str(value.as_str()),
        Value::Float(value) => out.push_str(&float_text(*value)),
        Value::Text(value) => write_text(out, value),
        Value::Bytes(value) => {
            out.push_str("!!binary \"");
            STANDARD.encode_string(value, out);
            out.push('"');
        }
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
        Value::DateTime(value) => out.push_str(&value.to_string().replace('T', " ")),
        Value::Date(value) => out.push_str(&value.to_string()),
        Value::LoneText(_) => return Err(Error::new(ErrorKind::Encode, "text with lone surrogates has no UTF-8 form")),
        other => {
            let message = format!("this format has no {}; send it as text", other.kind());
            return Err(Error::new(ErrorKind::Encode, message));
        }
    }
    Ok(())
}

/// YAML 1.1 wants a point in every float.
fn float_text(value: f64) -> String {
    match float_repr(value) {
        text if value.is_nan() || value.is_infinite() => text.replace("NaN", ".nan").replace("Infinity", ".inf"),
        text if !text.contains('.') => text.replacen('e', ".0e", 1),
        text => text,
    }
}

fn new_line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

fn write_text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(char),
            _ => out.push_str(&match u32::from(char) {
                code @ 0..=0xff => format!("\\x{code:02X}"),
                code @ 0x100..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
        }
    }
    out.push('"');
}

/// Tells whether a text needs no quotes: words that neither YAML 1.1 nor 1.2 takes for something else.
fn is_plain(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
    };
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.split(' ').all(is_word)
        && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text))
}

const RESERVED: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
