//! Typed values out of a table of options. Options of a URL's query come as text, so text is read as what is wanted.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kombu_core::{FieldTable, Result, Value};

use super::names::invalid;

/// A table of options to take values from; an absent or null option leaves the default.
pub(super) struct Taker<'a>(pub(super) &'a FieldTable);

impl<'a> Taker<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub(super) fn text(&self, name: &str, into: &mut String) -> Result<()> {
        if let Some(value) = self.value(name) {
            *into = value.as_str().ok_or_else(|| invalid(name, is_not("text", value)))?.to_owned();
        }
        Ok(())
    }

    /// Takes a text that may be left out; empty text is none.
    pub(super) fn optional_text(&self, name: &str, into: &mut Option<String>) -> Result<()> {
        let mut text = String::new();
        self.text(name, &mut text)?;
        if !text.is_empty() {
            *into = Some(text);
        }
        Ok(())
    }

    /// Takes a text that no error may show.
    pub(super) fn secret(&self, name: &str, into: &mut String) -> Result<()> {
        if let Some(value) = self.value(name) {
            *into = value.as_str().ok_or_else(|| invalid(name, "is no text"))?.to_owned();
        }
        Ok(())
    }

    /// Takes the name of a file or directory; empty text is none.
    pub(super) fn path(&self, name: &str) -> Result<Option<PathBuf>> {
        let mut text = None;
        self.optional_text(name, &mut text)?;
        Ok(text.map(PathBuf::from))
    }

    /// Takes yes or no.
    pub(super) fn flag(&self, name: &str, into: &mut bool) -> Result<()> {
        *into = self.optional_flag(name)?.unwrap_or(*into);
        Ok(())
    }

    /// Takes yes or no, if there is an answer.
    pub(super) fn optional_flag(&self, name: &str) -> Result<Option<bool>> {
        let read = |value: &Value| flag(value).ok_or_else(|| invalid(name, is_not("true or false", value)));
        self.value(name).map(read).transpose()
    }

    /// Takes a span of time in seconds.
    pub(super) fn seconds(&self, name: &str, into: &mut Duration) -> Result<()> {
        if let Some(value) = self.value(name) {
            let seconds = self.float(name, value)?;
            if seconds < 0.0 {
                return Err(invalid(name, format_args!("is {seconds}, and must not be negative")));
            }
            *into = Duration::try_from_secs_f64(seconds)
                .map_err(|_| invalid(name, is_not("a number of seconds", value)))?;
        }
        Ok(())
    }

    /// Takes a span of time in seconds where zero or less means the default, as Kombu has it.
    pub(super) fn interval(&self, name: &str, into: &mut Duration) -> Result<()> {
        match self.value(name) {
            Some(value) if self.float(name, value)? <= 0.0 => Ok(()),
            _ => self.seconds(name, into),
        }
    }

    /// Takes a span of time in seconds where zero means never.
    pub(super) fn optional_seconds(&self, name: &str, into: &mut Option<Duration>) -> Result<()> {
        if self.value(name).is_some() {
            let mut span = Duration::ZERO;
            self.seconds(name, &mut span)?;
            *into = Some(span).filter(|span| !span.is_zero());
        }
        Ok(())
    }

    fn float(&self, name: &str, value: &Value) -> Result<f64> {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.filter(|number| number.is_finite()).ok_or_else(|| invalid(name, is_not("a number of seconds", value)))
    }

    /// Takes a whole number that is not negative.
    pub(super) fn number<T: FromStr + TryFrom<u64>>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => value.as_u64().and_then(|number| number.try_into().ok()),
        };
        number.map(Some).ok_or_else(|| invalid(name, is_not("a whole number that is not negative", value)))
    }

    /// Takes ascending priority steps, as a list or as text separated by commas.
    pub(super) fn steps(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let steps: Option<Vec<u8>> = match value {
            Value::List(items) => items.iter().map(|item| u8::try_from(item.as_i64()?).ok()).collect(),
            Value::Text(text) => {
                let text = text.trim().trim_start_matches('[').trim_end_matches(']');
                text.split(',').map(|step| step.trim().parse().ok()).collect()
            }
            _ => None,
        };
        match steps.filter(|steps| steps.iter().all(|step| *step <= 9)) {
            None => Err(invalid(name, is_not("a list of numbers 0 to 9", value))),
            Some(steps) if steps.is_empty() => Err(invalid(name, "is empty")),
            Some(steps) if !steps.is_sorted_by(|left, right| left < right) => Err(invalid(name, "is not ascending")),
            Some(steps) => Ok(Some(steps)),
        }
    }

    /// Takes one of several words.
    pub(super) fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)], into: &mut T) -> Result<()> {
        let Some(value) = self.value(name) else { return Ok(()) };
        let found = words.iter().find(|(word, _)| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word)));
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        *into = found.ok_or_else(|| invalid(name, is_not(&format!("one of {}", known.join(", ")), value)))?.1;
        Ok(())
    }
}

/// Reads yes or no.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Says what a value is instead of what is wanted.
pub(super) fn is_not(wanted: &str, value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("is `{text}` instead of {wanted}"),
        None => match value {
            Value::Bool(value) => format!("is {value} instead of {wanted}"),
            Value::Int(value) => format!("is {value}, an int, instead of {wanted}"),
            Value::Float(value) => format!("is {value}, a float, instead of {wanted}"),
            _ => format!("is a {} instead of {wanted}", value.kind()),
        },
    }
}

/// Returns the known name that `name` is probably a slip of.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.map(|known| (distance(name, known), known));
    scored.min().filter(|(distance, known)| *distance <= 1 + known.len() / 4).map(|(_, known)| known)
}

/// Returns how many letters must be added, removed or changed to make one word of the other.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, to) in right.bytes().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
