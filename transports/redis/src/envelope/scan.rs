//! Finds the members of JSON objects without making anything of their values.
//!
//! Accepts what Python's `json` writes and reads, which is more than standard JSON: `NaN` and the infinities, lone
//! surrogates, integers of any size. Does not recurse.

use std::borrow::Cow;

use kombu_core::serialization::json;
use kombu_core::{Error, ErrorKind, Result, ShortStr, Value};

/// A place in a JSON text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    max_depth: usize,
    /// For every open list or map inside the value being skipped, what closes it.
    open: Vec<u8>,
}

/// The text of one JSON value, found well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a>(&'a str);

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `bytes`.
    pub(super) fn new(bytes: &'a [u8], max_depth: usize) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|error| failure("not UTF-8", error.valid_up_to()))?;
        Ok(Scanner { text, at: 0, depth: 0, max_depth, open: Vec::new() })
    }

    /// Says whether a value that begins with `byte` is next.
    pub(super) fn is_next(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.peek() == Some(byte)
    }

    /// Returns the offset in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the text from `start` to here.
    pub(super) fn since(&self, start: usize) -> Raw<'a> {
        Raw(&self.text[start..self.at])
    }

    /// Goes through an object, calling `each` with the name of each member; it must consume the value with
    /// [`value`](Scanner::value) or [`members`](Scanner::members).
    ///
    /// The name is the text between the quotes, escapes and all. Of members with the same name the last counts, as in
    /// Python.
    pub(super) fn members(&mut self, mut each: impl FnMut(&mut Self, &'a str) -> Result<()>) -> Result<()> {
        self.begin(b'{', "`{`")?;
        if self.end(b'}') {
            return Ok(());
        }
        loop {
            let name = self.member_name()?;
            each(self, name)?;
            self.skip_space();
            if self.eat(b',') {
                continue;
            }
            if self.end(b'}') {
                return Ok(());
            }
            return Err(self.expected("`,` or `}`"));
        }
    }

    /// Goes through a list, calling `each` with the number of each item; it must consume the value.
    pub(super) fn items(&mut self, mut each: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        self.begin(b'[', "`[`")?;
        if self.end(b']') {
            return Ok(());
        }
        for index in 0.. {
            each(self, index)?;
            self.skip_space();
            if self.end(b']') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
        Ok(())
    }

    /// Checks that nothing follows.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected("the end")) }
    }

    /// Skips one value and returns its text.
    pub(super) fn value(&mut self) -> Result<Raw<'a>> {
        self.skip_space();
        let start = self.at;
        loop {
            // A value begins here.
            self.skip_space();
            match self.peek() {
                Some(b'"') => self.string()?,
                Some(b'{') => {
                    self.nest(b'}')?;
                    self.skip_space();
                    if self.peek() != Some(b'}') {
                        self.member_name()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.nest(b']')?;
                    self.skip_space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value, or an opening bracket, ended here.
            loop {
                let Some(close) = self.open.last().copied() else { return Ok(self.since(start)) };
                self.skip_space();
                if self.eat(close) {
                    self.open.pop();
                    continue;
                }
                if !self.eat(b',') {
                    return Err(self.expected(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }));
                }
                if close == b'}' {
                    self.member_name()?;
                }
                break;
            }
        }
    }

    fn begin(&mut self, byte: u8, expected: &str) -> Result<()> {
        self.skip_space();
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.check_depth()?;
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn end(&mut self, byte: u8) -> bool {
        let ended = self.eat(byte);
        self.depth -= usize::from(ended);
        ended
    }

    fn nest(&mut self, close: u8) -> Result<()> {
        self.check_depth()?;
        self.open.push(close);
        self.at += 1;
        Ok(())
    }

    fn check_depth(&self) -> Result<()> {
        if self.depth + self.open.len() < self.max_depth {
            return Ok(());
        }
        Err(failure(format_args!("nested deeper than the limit of {}", self.max_depth), self.at))
    }

    fn member_name(&mut self) -> Result<&'a str> {
        self.skip_space();
        let start = self.at + 1;
        if self.peek() != Some(b'"') {
            return Err(self.expected("the name of a member"));
        }
        self.string()?;
        let name = &self.text[start..self.at - 1];
        self.skip_space();
        if self.eat(b':') { Ok(name) } else { Err(self.expected("`:`")) }
    }

    fn string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let length = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            // No early exit, so that it compiles to vector instructions.
            if rest[..length].iter().fold(false, |found, byte| found | (*byte < b' ')) {
                self.at += rest.iter().take_while(|byte| **byte >= b' ').count();
                return Err(self.expected("no control character inside text"));
            }
            self.at += length + 1;
            match rest.get(length) {
                Some(b'"') => return Ok(()),
                Some(_) => self.escape()?,
                None => {
                    self.at = self.text.len();
                    return Err(self.expected("`\"`"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<()> {
        let length = match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.expected("`u` and four hexadecimal digits"));
                }
                5
            }
            _ => return Err(self.expected("an escape")),
        };
        self.at += length;
        Ok(())
    }

    fn scalar(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let word = match rest {
            [b'0'..=b'9', ..] => return self.number(),
            [b't', ..] => "true",
            [b'f', ..] => "false",
            [b'n', ..] => "null",
            [b'N', ..] => "NaN",
            [b'I', ..] => "Infinity",
            [b'-', b'I', ..] => "-Infinity",
            [b'-', ..] => return self.number(),
            _ => return Err(self.expected("a value")),
        };
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let count = self.text.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[cold]
    fn expected(&self, what: &str) -> Error {
        // The place may be inside a character only after an error was found, never before.
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(char) => format!("`{}`", char.escape_default()),
            None => "the end".into(),
        };
        failure(format_args!("expected {what}, found {found}"), self.at)
    }
}

impl<'a> Raw<'a> {
    /// Returns the text.
    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// Says whether it is `null`.
    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Returns the value's text, if it is text and valid Unicode.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        match json::read(self.0.as_bytes()) {
            Ok(Value::Text(text)) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    /// Returns the number, if it is a whole one that fits.
    pub(super) fn whole<T: std::str::FromStr>(self) -> Option<T> {
        self.0.parse().ok()
    }

    /// Reads the value, typed values included.
    pub(super) fn decode(self) -> Result<Value> {
        json::read(self.0.as_bytes())
    }

    /// Returns what kind of value it is, for error texts.
    pub(super) fn kind(self) -> &'static str {
        match self.0.as_bytes().first() {
            Some(b'"') => "text",
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        }
    }
}

/// Returns the name of a member from the text between its quotes.
pub(super) fn unescape_name(name: &str) -> Result<ShortStr> {
    if !name.contains('\\') {
        return Ok(name.into());
    }
    // As a key, so that lone surrogates are kept the way tables keep them.
    let object = json::read(format!("{{\"{name}\":null}}").as_bytes())?;
    Ok(object.as_map().and_then(|map| map.keys().next().cloned()).unwrap_or_default())
}

#[cold]
fn failure(what: impl std::fmt::Display, at: usize) -> Error {
    Error::new(ErrorKind::Decode, format!("{what} at byte {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &[u8]) -> Result<()> {
        let mut scanner = Scanner::new(text, 512)?;
        scanner.value()?;
        scanner.finish()
    }

    /// Both readers must agree: headers are scanned here and read there, at a time when nobody can be told of an error.
    #[test]
    fn it_accepts_what_the_reader_of_values_accepts() {
        let texts = [
            "{}",
            "[]",
            "[[]]",
            "[1,]",
            "[,1]",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "1",
            "-1",
            "01",
            "-",
            "1.",
            ".5",
            "1.5e",
            "1e5",
            "1E+5",
            "1e-5",
            "-0",
            "-0.0",
            "NaN",
            "-NaN",
            "Infinity",
            "-Infinity",
            "nan",
            "tru",
            "true",
            "null",
            "\"\"",
            "\"",
            "\"\\\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"\t\"",
            "\"\u{7f}é\u{10ffff}\"",
            " [ 1 , { } ] ",
            "[1 2]",
            "[1}",
            "{\"a\":[}]",
            "",
            " ",
            "1 1",
            "\u{feff}1",
            "\u{a0}1",
            "123456789012345678901234567890",
            "\"\\/\"",
            "[\"\\u00e9\\",
            "{\"a\":{\"b\":[{\"c\":null}]}}",
            "[\u{b}]",
            "1_000",
            "+1",
            "0x1",
            "[1e400, -1e400]",
        ];
        for text in texts {
            assert_eq!(scan(text.as_bytes()).is_ok(), json::read(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (text, words) in [
            ("{\"a\": 1 \"b\"}", "expected `,` or `}`, found `\\\"` at byte 8"),
            ("[1, ", "expected a value, found the end at byte 4"),
            ("\"a\nb\"", "found `\\n` at byte 2"),
            ("\"abc", "expected `\"`, found the end at byte 4"),
        ] {
            let error = scan(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = scan(b"\"\xff\"").unwrap_err();
        assert!(error.to_string().contains("not UTF-8 at byte 1"), "{error}");
    }

    #[test]
    fn depth_is_limited_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(scan(nested(512).as_bytes()).is_ok());
        assert!(scan(nested(513).as_bytes()).is_err());
        let error = scan("[".repeat(1_000_000).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("limit of 512"), "{error}");
    }
}
