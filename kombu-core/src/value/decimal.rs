//! Decimal numbers of any precision.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A decimal number as text: Python's `decimal.Decimal`.
///
/// The text is kept as it is, because `1.50` and `1.5` differ to a Python program. Two values are equal when their texts are.
///
/// # Example
///
/// ```
/// use kombu_core::value::Decimal;
///
/// let price: Decimal = "1.50".parse()?;
/// assert_eq!(price.as_str(), "1.50");
/// assert_eq!(price.to_f64(), 1.5);
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    /// Returns the text, such as `1.50`, `1E+3`, `-Infinity` or `NaN`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the nearest floating point number; infinity beyond their range.
    pub fn to_f64(&self) -> f64 {
        // Only the NaNs that carry a payload or signal (`NaN12`, `sNaN`) are no float to Rust.
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Returns the exact value of a float, digit by digit, as Python's `Decimal(float)`.
    pub(super) fn from_exact_f64(value: f64) -> Self {
        if !value.is_finite() {
            let text = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            return Decimal(text.into());
        }
        // No double has more than 1074 digits after the point.
        let text = format!("{value:.1074}");
        Decimal(text.trim_end_matches('0').trim_end_matches('.').into())
    }
}

impl FromStr for Decimal {
    type Err = Error;

    /// Reads what Python's `Decimal` reads, but for underscores and surrounding space.
    fn from_str(text: &str) -> Result<Self> {
        if is_finite_number(text) || is_special(text) {
            Ok(Decimal(text.into()))
        } else {
            Err(Error::new(ErrorKind::InvalidArgument, format!("`{text}` is not a decimal number")))
        }
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Decimal(value.to_string().into())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_finite_number(text: &str) -> bool {
    let (number, exponent) = match unsigned(text).split_once(['e', 'E']) {
        Some((number, exponent)) => (number, unsigned(exponent)),
        None => (unsigned(text), "0"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && is_digits(exponent)
        && !exponent.is_empty()
}

fn is_special(text: &str) -> bool {
    let text = unsigned(text).to_ascii_lowercase();
    let payload = text.strip_prefix("snan").or_else(|| text.strip_prefix("nan"));
    text == "inf" || text == "infinity" || payload.is_some_and(is_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_texts_are_kept() {
        for text in ["1.50", "1E+3", "-0", "NaN", "sNaN12", "-Infinity", ".5", "5.", "0E-7", "1e5"] {
            assert_eq!(text.parse::<Decimal>().unwrap().as_str(), text);
        }
        for text in ["", ".", "1.2.3", "e5", "1e", "1e+", "--1", "nanx", "1_000", " 1"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn floats_become_their_exact_value() {
        let exact = |value| Decimal::from_exact_f64(value).to_string();
        assert_eq!(exact(1.5), "1.5");
        assert_eq!(exact(0.1), "0.1000000000000000055511151231257827021181583404541015625");
        assert_eq!(exact(1e22), "10000000000000000000000");
        assert_eq!(exact(f64::NEG_INFINITY), "-Infinity");
    }
}
