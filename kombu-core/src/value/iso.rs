//! A cursor over the ISO 8601 texts that Python's `isoformat` writes.

use crate::error::{Error, ErrorKind};

pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor(text.as_bytes())
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        self.take_if(|found| found == byte).is_some()
    }

    pub(super) fn take_if(&mut self, accept: impl Fn(u8) -> bool) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        accept(first).then(|| self.0 = rest)?;
        Some(first)
    }

    /// Takes `count` digits, or nothing when there are fewer.
    pub(super) fn number(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    /// Takes the digits after a decimal point as millionths; digits beyond the sixth are dropped, as Python does.
    pub(super) fn millionths(&mut self) -> Option<u32> {
        let mut millionths = self.number(1)? * 100_000;
        let mut unit = 10_000;
        while let Some(digit) = self.take_if(|byte| byte.is_ascii_digit()) {
            millionths += u32::from(digit - b'0') * unit;
            unit /= 10;
        }
        Some(millionths)
    }
}

pub(super) fn not_iso(what: &'static str, text: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("`{text}` is not {what} in ISO 8601"))
}
