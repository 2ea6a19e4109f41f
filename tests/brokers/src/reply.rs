//! What a Redis server answers.

use std::fmt;

/// An answer of a Redis server (RESP2), with bytes as they came.
///
/// The getters named after a shape panic when the answer has another one: in a test that is the failure.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: a missing key, an empty pop.
    Nil,
    /// A number.
    Int(i64),
    /// A short answer such as `OK`.
    Status(String),
    /// A value.
    Bulk(Vec<u8>),
    /// Several answers.
    Array(Vec<Reply>),
    /// A refusal, such as `WRONGTYPE …`.
    Error(String),
}

impl Reply {
    /// Returns the number.
    ///
    /// # Panics
    ///
    /// When the answer is not a number.
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("expected a number, got {other:?}"),
        }
    }

    /// Returns the value's bytes.
    ///
    /// # Panics
    ///
    /// When the answer is not a value.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Bulk(bytes) => bytes,
            other => panic!("expected a value, got {other:?}"),
        }
    }

    /// Returns the value or status as text.
    ///
    /// # Panics
    ///
    /// When the answer is neither, or not UTF-8.
    pub fn text(&self) -> &str {
        match self {
            Reply::Status(text) => text,
            Reply::Bulk(bytes) => std::str::from_utf8(bytes).expect("a value that is asked for as text is UTF-8"),
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// Returns the answers inside; none for nil.
    ///
    /// # Panics
    ///
    /// When the answer is neither an array nor nil.
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Nil => &[],
            Reply::Array(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// Returns the answers inside as texts; none for nil.
    ///
    /// # Panics
    ///
    /// When the answer is not an array of texts.
    pub fn texts(&self) -> Vec<&str> {
        self.items().iter().map(Reply::text).collect()
    }

    /// Returns whether the answer is nil.
    pub fn is_nil(&self) -> bool {
        *self == Reply::Nil
    }

    /// Returns the server's refusal, if it is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Nil => f.write_str("nil"),
            Reply::Int(number) => write!(f, "{number}"),
            Reply::Status(text) => f.write_str(text),
            Reply::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::Array(items) => f.debug_list().entries(items).finish(),
            Reply::Error(text) => write!(f, "error {text:?}"),
        }
    }
}
