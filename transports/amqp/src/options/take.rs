//! Typed values out of a table of options. Options of a URL's query come as text, so text is read as what is wanted.

use std::str::FromStr;

use kombu_core::{FieldTable, Result, Value};

use super::invalid;

/// A table of options to take values from; an absent or null option is `None`.
pub(super) struct Taker<'a>(pub(super) &'a FieldTable);

impl<'a> Taker<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Takes a text; empty text is none.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| invalid(name, is_not("text", value)))?;
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    /// Takes yes or no.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let flag = match value.as_str().map(|text| text.trim().to_ascii_lowercase()) {
            Some(text) => match text.as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            None => value.as_bool().or_else(|| value.as_i64().map(|number| number != 0)),
        };
        flag.map(Some).ok_or_else(|| invalid(name, is_not("true or false", value)))
    }

    /// Takes a whole number that is not negative.
    pub(super) fn number<T: FromStr + TryFrom<u64>>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => value.as_u64().and_then(|number| number.try_into().ok()),
        };
        number.map(Some).ok_or_else(|| invalid(name, is_not("a whole number in range", value)))
    }
}

fn is_not(what: &str, value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("is {text:?}, which is not {what}"),
        None => format!("is of kind {}, which is not {what}", value.kind()),
    }
}
