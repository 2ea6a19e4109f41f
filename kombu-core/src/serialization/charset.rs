//! Text in the character sets a content encoding may name.

use crate::error::{Error, ErrorKind, Result};

/// A character set that this library knows without tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Charset {
    Utf8,
    Ascii,
    Latin1,
    Utf16 { order: Option<Order> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    Little,
    Big,
}

const KNOWN: &str = "utf-8, us-ascii, latin-1, utf-16, utf-16-le, utf-16-be";

impl Charset {
    /// Finds a character set by one of Python's names for it, in any case and with `_` for `-`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().replace(['_', ' '], "-").as_str() {
            "utf-8" | "utf8" | "u8" | "utf" => Some(Charset::Utf8),
            "us-ascii" | "ascii" | "646" => Some(Charset::Ascii),
            "latin-1" | "latin1" | "latin" | "l1" | "iso-8859-1" | "iso8859-1" | "8859" | "cp819" => {
                Some(Charset::Latin1)
            }
            "utf-16" | "utf16" | "u16" => Some(Charset::Utf16 { order: None }),
            "utf-16-le" | "utf-16le" => Some(Charset::Utf16 { order: Some(Order::Little) }),
            "utf-16-be" | "utf-16be" => Some(Charset::Utf16 { order: Some(Order::Big) }),
            _ => None,
        }
    }

    pub(super) fn encode(self, text: &str) -> Result<Vec<u8>> {
        let single_bytes = |last: u8| {
            let byte = |char: char| u8::try_from(u32::from(char)).ok().filter(|byte| *byte <= last);
            let bytes = text.chars().map(|char| byte(char).ok_or(char)).collect::<Result<_, _>>();
            bytes.map_err(|char| Error::new(ErrorKind::Encode, format!("`{char}` is not in {self:?}")))
        };
        match self {
            Charset::Utf8 => Ok(text.as_bytes().to_vec()),
            Charset::Ascii => single_bytes(0x7f),
            Charset::Latin1 => single_bytes(0xff),
            Charset::Utf16 { order: Some(Order::Big) } => Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            Charset::Utf16 { order: Some(Order::Little) } => {
                Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect())
            }
            Charset::Utf16 { order: None } => {
                Ok(std::iter::once(BYTE_ORDER_MARK).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect())
            }
        }
    }

    pub(super) fn decode(self, bytes: &[u8]) -> Result<String> {
        let failure = || Error::new(ErrorKind::Decode, format!("the body is not text in {self:?}"));
        match self {
            Charset::Utf8 => std::str::from_utf8(bytes).map(String::from).map_err(|error| failure().caused_by(error)),
            Charset::Ascii if !bytes.is_ascii() => Err(failure()),
            Charset::Ascii | Charset::Latin1 => Ok(bytes.iter().copied().map(char::from).collect()),
            Charset::Utf16 { order } => {
                let (pairs, rest) = bytes.as_chunks::<2>();
                let marked = match pairs.first() {
                    Some([0xfe, 0xff]) => Some(Order::Big),
                    Some([0xff, 0xfe]) => Some(Order::Little),
                    _ => None,
                };
                let skip = usize::from(order.is_none() && marked.is_some());
                let unit = match order.or(marked) {
                    Some(Order::Big) => u16::from_be_bytes,
                    _ => u16::from_le_bytes,
                };
                let units = pairs.iter().skip(skip).map(|pair| unit(*pair));
                let text = char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| failure())?;
                if rest.is_empty() { Ok(text) } else { Err(failure()) }
            }
        }
    }
}

const BYTE_ORDER_MARK: u16 = 0xfeff;

/// Makes the error of a character set nobody knows here.
pub(super) fn unknown(kind: ErrorKind, name: &str) -> Error {
    Error::new(kind, format!("unknown content encoding `{name}`; known: {KNOWN}, binary"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        for name in ["UTF-8", "ascii", "latin_1", "utf-16", "utf-16-le", "UTF-16BE"] {
            let charset = Charset::named(name).unwrap();
            let text = if name == "ascii" { "stre" } else { "stré" };
            assert_eq!(charset.decode(&charset.encode(text).unwrap()).unwrap(), text, "{name}");
        }
        assert_eq!(Charset::Latin1.encode("stré").unwrap(), b"str\xe9");
        assert!(Charset::Ascii.encode("é").is_err() && Charset::Latin1.encode("€").is_err());
    }

    #[test]
    fn wrong_bytes_are_refused() {
        assert!(Charset::Utf8.decode(b"\xff").is_err());
        assert!(Charset::Ascii.decode(b"\xff").is_err());
        assert!(Charset::named("utf-16").unwrap().decode(b"a").is_err());
        assert!(Charset::named("utf-16-be").unwrap().decode(b"\xd8\x00").is_err());
        assert_eq!(Charset::named("ebcdic"), None);
    }
}
