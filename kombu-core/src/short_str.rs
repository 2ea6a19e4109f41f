//! The text type of names and keys.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::error::{Error, Result};

/// A name or key: an immutable string that is cheap to clone, with texts up to 23 bytes stored in place.
///
/// Named after AMQP's *short string* (AMQP 0-9-1 §4.2.5.3), the type of exchange names, queue names, routing keys and most
/// properties. AMQP limits it to [`MAX_LEN`](ShortStr::MAX_LEN) bytes; because other brokers do not, the limit is checked by
/// [`checked`](ShortStr::checked) where a name enters the library, not by the conversions.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShortStr(SmolStr);

impl ShortStr {
    /// The longest text AMQP allows, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Wraps a literal without copying it.
    pub const fn from_static(text: &'static str) -> Self {
        ShortStr(SmolStr::new_static(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text unchanged if it fits AMQP's limit.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, naming `what`, when the text is longer than [`MAX_LEN`](ShortStr::MAX_LEN) bytes.
    pub fn checked(self, what: &'static str) -> Result<Self> {
        if self.0.len() > Self::MAX_LEN { Err(Error::name_too_long(what, self.0.len())) } else { Ok(self) }
    }
}

impl Deref for ShortStr {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ShortStr {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ShortStr {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShortStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for ShortStr {
    fn from(text: &str) -> Self {
        ShortStr(SmolStr::new(text))
    }
}

impl From<String> for ShortStr {
    fn from(text: String) -> Self {
        ShortStr(SmolStr::from(text))
    }
}

impl From<&String> for ShortStr {
    fn from(text: &String) -> Self {
        ShortStr(SmolStr::new(text))
    }
}

impl From<&ShortStr> for ShortStr {
    fn from(text: &ShortStr) -> Self {
        text.clone()
    }
}

impl PartialEq<str> for ShortStr {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ShortStr {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
