//! UUIDs.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A UUID of any version: Python's `uuid.UUID`.
///
/// # Example
///
/// ```
/// use kombu_core::value::Uuid;
///
/// let id: Uuid = "12345678-1234-5678-1234-567812345678".parse()?;
/// assert_eq!(id.to_hex(), "12345678123456781234567812345678");
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(uuid::Uuid);

impl Uuid {
    /// Makes a random UUID (version 4).
    pub fn random() -> Self {
        Uuid(uuid::Uuid::new_v4())
    }

    /// Makes the UUID of these bytes, most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Uuid(uuid::Uuid::from_bytes(bytes))
    }

    /// Makes the UUID of this number.
    pub const fn from_u128(number: u128) -> Self {
        Uuid(uuid::Uuid::from_u128(number))
    }

    /// Returns the bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns the number.
    pub const fn as_u128(&self) -> u128 {
        self.0.as_u128()
    }

    /// Returns the 32 lowercase hexadecimal digits without dashes.
    pub fn to_hex(&self) -> String {
        self.0.as_simple().to_string()
    }
}

impl FromStr for Uuid {
    type Err = Error;

    /// Reads 32 hexadecimal digits with or without dashes, braces and the prefix `urn:uuid:`.
    fn from_str(text: &str) -> Result<Self> {
        uuid::Uuid::try_parse(text)
            .map(Uuid)
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("`{text}` is not a UUID")))
    }
}

impl fmt::Display for Uuid {
    /// Writes the 36 characters with dashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
