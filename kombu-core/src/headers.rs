//! The headers of a message, read when they are first looked at.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::FieldTable;
use crate::Value;
use crate::error::Result;
use crate::serialization::json;

/// The application's headers of a message: a [`FieldTable`] that costs nothing until it is looked at.
///
/// A transport that receives headers as JSON hands over the text with [`from_json`](Headers::from_json); it is read at the
/// first look.
#[derive(Default)]
pub struct Headers(Option<Box<Repr>>);

enum Repr {
    Table(FieldTable),
    Json { text: Bytes, table: OnceLock<FieldTable> },
}

impl Headers {
    /// Returns headers without an entry.
    pub const fn empty() -> Self {
        Headers(None)
    }

    /// Wraps the text of a JSON object that a JSON reader has found well-formed.
    ///
    /// Text that holds one of Kombu's typed values is read at once, so that an unknown type is found before the message is
    /// delivered; all other text is read at the first look.
    ///
    /// # Errors
    ///
    /// `Decode` when a typed value cannot be read or the text is not an object.
    pub fn from_json(text: Bytes) -> Result<Self> {
        if text.as_ref() == b"{}" || text.as_ref() == b"null" {
            return Ok(Headers::empty());
        }
        if memchr::memmem::find(&text, b"\"__type__\"").is_some() || text.first() != Some(&b'{') {
            return Ok(Headers::from(read(&text)?));
        }
        Ok(Headers(Some(Box::new(Repr::Json { text, table: OnceLock::new() }))))
    }

    /// Returns the entries.
    pub fn table(&self) -> &FieldTable {
        static EMPTY: OnceLock<FieldTable> = OnceLock::new();
        match self.0.as_deref() {
            None => EMPTY.get_or_init(FieldTable::default),
            Some(Repr::Table(table)) => table,
            // The text was found well-formed before it came here; a text that is not reads as no headers.
            Some(Repr::Json { text, table }) => table.get_or_init(|| read(text).unwrap_or_default()),
        }
    }

    /// Returns the value of header `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        if self.0.is_none() { None } else { self.table().get(name) }
    }

    /// Says whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_none() || self.table().is_empty()
    }

    /// Returns the JSON text the headers came as, if they came as JSON and were not changed.
    pub fn json_text(&self) -> Option<&Bytes> {
        match self.0.as_deref() {
            Some(Repr::Json { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// Removes all entries.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.0.is_some() {
            self.0 = None;
        }
    }

    /// Returns the entries for changing.
    pub fn table_mut(&mut self) -> &mut FieldTable {
        if !matches!(self.0.as_deref(), Some(Repr::Table(_))) {
            self.0 = Some(Box::new(Repr::Table(self.table().clone())));
        }
        match self.0.as_deref_mut() {
            Some(Repr::Table(table)) => table,
            _ => unreachable!("made a table on the lines above"),
        }
    }
}

fn read(text: &[u8]) -> Result<FieldTable> {
    use crate::error::{Error, ErrorKind};
    match json::read(text)? {
        Value::Map(table) => Ok(table),
        Value::Null => Ok(FieldTable::default()),
        other => Err(Error::new(ErrorKind::Decode, format!("headers are {} instead of an object", other.kind()))),
    }
}

impl Clone for Headers {
    fn clone(&self) -> Self {
        Headers(self.0.as_deref().map(|headers| {
            Box::new(match headers {
                Repr::Table(table) => Repr::Table(table.clone()),
                Repr::Json { text, .. } => Repr::Json { text: text.clone(), table: OnceLock::new() },
            })
        }))
    }
}

impl From<FieldTable> for Headers {
    fn from(table: FieldTable) -> Self {
        if table.is_empty() { Headers::empty() } else { Headers(Some(Box::new(Repr::Table(table)))) }
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.table() == other.table()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.table(), f)
    }
}
