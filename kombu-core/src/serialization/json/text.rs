//! Texts and floats as Python's `json` writes them.

use std::io::Write;

/// Stands for a lone surrogate in a key, with its four hexadecimal digits after it. U+10FFFE is a noncharacter, which Unicode
/// keeps free for such internal use.
pub(super) const LONE_MARK: char = '\u{10fffe}';

/// Writes `text` in quotes, ASCII only, as `json.dumps` does with `ensure_ascii`.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Writes a key of a map, whose lone surrogates are marked.
pub(super) fn write_key(out: &mut Vec<u8>, key: &str) {
    out.push(b'"');
    let mut parts = key.split(LONE_MARK);
    write_escaped(out, parts.next().unwrap_or_default());
    for part in parts {
        let lone = part.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        match lone.filter(|unit| (0xd800..0xe000).contains(unit)) {
            Some(unit) => {
                write_unit(out, unit);
                write_escaped(out, &part[4..]);
            }
            None => {
                write_escaped(out, LONE_MARK.encode_utf8(&mut [0; 4]));
                write_escaped(out, part);
            }
        }
    }
    out.push(b'"');
}

/// Returns UTF-16 units as text for a key, with lone surrogates marked.
pub(super) fn marked_key(units: &[u16]) -> String {
    let mut key = String::with_capacity(units.len() + 8);
    for part in char::decode_utf16(units.iter().copied()) {
        match part {
            Ok(char) => key.push(char),
            Err(lone) => key.push_str(&format!("{LONE_MARK}{:04x}", lone.unpaired_surrogate())),
        }
    }
    key
}

/// Writes one UTF-16 unit the way it stands inside quotes.
pub(super) fn write_unit(out: &mut Vec<u8>, unit: u16) {
    match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => write_ascii(out, byte),
        _ => write_hex(out, unit),
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !is_verbatim(byte)) {
        let (verbatim, special) = rest.split_at(at);
        out.extend_from_slice(verbatim.as_bytes());
        let mut chars = special.chars();
        if let Some(char) = chars.next() {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write_unit(out, *unit));
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn is_verbatim(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn write_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        8 => out.extend_from_slice(b"\\b"),
        12 => out.extend_from_slice(b"\\f"),
        b' '..=b'~' => out.push(byte),
        _ => write_hex(out, byte.into()),
    }
}

fn write_hex(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u16| DIGITS[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Returns Python's `repr` of a float, with JSON's names of the special ones.
pub(crate) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    with_python_exponent(format!("{value:?}"))
}

/// Returns what [`float_repr`] would for the shortest text that gives the same `f32` again.
pub(super) fn short_float_repr(value: f32) -> String {
    if value.is_finite() { with_python_exponent(format!("{value:?}")) } else { float_repr(value.into()) }
}

/// Rust's `Debug` picks the same digits and the same range for the exponent form, but writes `1e22` for `1e+22`.
fn with_python_exponent(text: String) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    // Both languages write `1e22`, not `1.0e22`.
    format!("{}e{sign}{exponent:0>2}", digits.strip_suffix(".0").unwrap_or(digits))
}

/// Writes an integer in decimal.
pub(super) fn write_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_like_pythons() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.00012345, "0.00012345"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e22, "1e+22"),
            (1e300, "1e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(float_repr(value), text);
        }
        assert_eq!(short_float_repr(0.1), "0.1");
    }

    #[test]
    fn keys_with_lone_surrogates_go_both_ways() {
        let key = marked_key(&[0x61, 0xd800, 0x62]);
        let mut out = Vec::new();
        write_key(&mut out, &key);
        assert_eq!(out, br#""a\ud800b""#);
        let mut out = Vec::new();
        write_key(&mut out, &format!("{LONE_MARK}zzzz"));
        assert_eq!(out, br#""\udbff\udffezzzz""#);
    }
}
