//! Python texts that are not valid Unicode.

use std::fmt;

/// Text of a Python program that holds a surrogate without its partner, and so is not valid Unicode.
///
/// Python makes such texts of file names with stray bytes, among others, and its JSON carries them as `\udcff`. They are
/// written back to JSON as they came; other formats cannot hold them.
///
/// # Example
///
/// ```
/// use kombu_core::Value;
///
/// let value = Value::from_utf16(vec![0x61, 0xdcff]);
/// let Value::LoneText(text) = value else { panic!("not lone: {value:?}") };
/// assert_eq!(text.to_string_lossy(), "a\u{fffd}");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LoneText(Box<[u16]>);

impl LoneText {
    /// Returns the text as UTF-16 code units; at least one is a surrogate without its partner.
    pub fn as_utf16(&self) -> &[u16] {
        &self.0
    }

    /// Returns the text with each lone surrogate replaced by U+FFFD.
    pub fn to_string_lossy(&self) -> String {
        String::from_utf16_lossy(&self.0)
    }
}

impl super::Value {
    /// Returns the text of these UTF-16 code units: [`Text`](super::Value::Text) when they are valid, otherwise
    /// [`LoneText`](super::Value::LoneText).
    pub fn from_utf16(units: Vec<u16>) -> Self {
        match String::from_utf16(&units) {
            Ok(text) => super::Value::Text(text),
            Err(_) => super::Value::LoneText(LoneText(units.into())),
        }
    }
}

impl fmt::Debug for LoneText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for part in char::decode_utf16(self.0.iter().copied()) {
            match part {
                Ok(char) => write!(f, "{}", char.escape_debug())?,
                Err(lone) => write!(f, "\\u{{{:x}}}", lone.unpaired_surrogate())?,
            }
        }
        f.write_str("\"")
    }
}
