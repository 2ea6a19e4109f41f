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
pub struct Headers(Repr);

#[derive(Default)]
enum Repr {
    #[default]
    Empty,
    Table(Box<FieldTable>),
    Json {
        text: Bytes,
        table: OnceLock<Box<FieldTable>>,
    },
}

impl Headers {
    /// Returns headers without an entry.
    pub const fn empty() -> Self {
        Headers(Repr::Empty)
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
        Ok(Headers(Repr::Json { text, table: OnceLock::new() }))
    }

    /// Returns the entries.
    pub fn table(&self) -> &FieldTable {
        static EMPTY: OnceLock<FieldTable> = OnceLock::new();
        match &self.0 {
            Repr::Empty => EMPTY.get_or_init(FieldTable::default),
            Repr::Table(table) => table,
            // The text was found well-formed before it came here; a text that is not reads as no headers.
            Repr::Json { text, table } => table.get_or_init(|| Box::new(read(text).unwrap_or_default())),
        }
    }

    /// Returns the value of header `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        if matches!(self.0, Repr::Empty) { None } else { self.table().get(name) }
    }

    /// Says whether there are no headers.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Empty => true,
            _ => self.table().is_empty(),
        }
    }

    /// Returns the JSON text the headers came as, if they came as JSON and were not changed.
    pub fn json_text(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Json { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the entries for changing.
    pub fn table_mut(&mut self) -> &mut FieldTable {
        if !matches!(self.0, Repr::Table(_)) {
            self.0 = Repr::Table(Box::new(self.table().clone()));
        }
        match &mut self.0 {
            Repr::Table(table) => table,
            _ => unreachable!("made a table on the line above"),
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
        match &self.0 {
            Repr::Empty => Headers::empty(),
            Repr::Table(table) => Headers(Repr::Table(table.clone())),
            Repr::Json { text, .. } => Headers(Repr::Json { text: text.clone(), table: OnceLock::new() }),
        }
    }
}

impl From<FieldTable> for Headers {
    fn from(table: FieldTable) -> Self {
        if table.is_empty() { Headers::empty() } else { Headers(Repr::Table(Box::new(table))) }
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
