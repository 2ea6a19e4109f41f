//! Integers beyond 64 bits.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// An integer of any size, held as its decimal text.
///
/// Python's integers have no limit, and its JSON writes all their digits. This type carries them through; it does no
/// arithmetic. [`Value`](super::Value) uses it only for what does not fit 64 bits.
///
/// # Example
///
/// ```
/// use kombu_core::value::BigInt;
///
/// let big: BigInt = "1000000000000000000000000000000".parse()?;
/// assert_eq!(big.to_i128(), Some(10i128.pow(30)));
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt(Box<str>);

impl BigInt {
    /// Wraps text that is known to be canonical: an optional minus, then digits without leading zeros.
    pub(crate) fn from_canonical(text: &str) -> Self {
        BigInt(text.into())
    }

    /// Returns the decimal text: an optional minus, then digits without leading zeros.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number, if it fits 128 bits with sign.
    pub fn to_i128(&self) -> Option<i128> {
        self.0.parse().ok()
    }

    /// Returns the number, if it fits 128 bits without sign.
    pub fn to_u128(&self) -> Option<u128> {
        self.0.parse().ok()
    }

    /// Returns the nearest floating point number; infinity beyond their range.
    pub fn to_f64(&self) -> f64 {
        // Digits always parse as a float; zero is only a way to avoid a panic.
        self.0.parse().unwrap_or_default()
    }
}

impl FromStr for BigInt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (minus, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("`{text}` is not an integer")));
        }
        Ok(match digits.trim_start_matches('0') {
            "" => BigInt("0".into()),
            digits => BigInt(format!("{minus}{digits}").into()),
        })
    }
}

impl From<i128> for BigInt {
    fn from(value: i128) -> Self {
        BigInt(value.to_string().into())
    }
}

impl From<u128> for BigInt {
    fn from(value: u128) -> Self {
        BigInt(value.to_string().into())
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(!self.0.starts_with('-'), "", self.0.trim_start_matches('-'))
    }
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_canonical() {
        for (text, canonical) in [("007", "7"), ("-0", "0"), ("+12", "12"), ("-00340", "-340")] {
            assert_eq!(text.parse::<BigInt>().unwrap().as_str(), canonical);
        }
        for text in ["", "-", "1.0", "1e3", "0x1", "--1", " 1"] {
            assert_eq!(text.parse::<BigInt>().unwrap_err().kind(), ErrorKind::InvalidArgument, "{text}");
        }
    }
}
