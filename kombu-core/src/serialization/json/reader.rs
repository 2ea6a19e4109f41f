//! The tolerant reader: all that Python's `json` writes, without recursion.

use indexmap::IndexMap;

use super::ReadOptions;
use super::text::marked_key;
use crate::error::{Error, ErrorKind, Result};
use crate::field_table::FieldTable;
use crate::short_str::ShortStr;
use crate::value::{BigInt, Value, typed};

pub(super) fn read(json: &[u8], options: &ReadOptions) -> Result<Value> {
    let text = std::str::from_utf8(json).map_err(|error| failure("not UTF-8", error.valid_up_to()))?;
    Reader { text, at: 0, max_depth: options.max_depth.min(ReadOptions::MAX_DEPTH) }.document()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
}

/// What begins where a value is expected.
enum Begun {
    Complete(Value),
    Open(Open),
}

/// A list or map whose end has not come yet.
enum Open {
    List(Vec<Value>),
    Map { entries: IndexMap<ShortStr, Value>, key: ShortStr, start: usize },
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Value> {
        let mut open = Vec::new();
        loop {
            let mut complete = match self.begin(open.len())? {
                Begun::Complete(value) => value,
                Begun::Open(container) => {
                    open.push(container);
                    continue;
                }
            };
            // A value that is complete may complete the containers around it.
            loop {
                let Some(container) = open.last_mut() else { return self.end(complete) };
                match self.add(container, complete)? {
                    Some(closed) => complete = closed,
                    None => break,
                }
                open.pop();
            }
        }
    }

    fn begin(&mut self, depth: usize) -> Result<Begun> {
        self.skip_space();
        let start = self.at;
        if !self.eat(b'[') && !self.eat(b'{') {
            return self.scalar().map(Begun::Complete);
        }
        if depth >= self.max_depth {
            return Err(failure(format!("nested deeper than the limit of {}", self.max_depth), start));
        }
        self.skip_space();
        if self.text.as_bytes()[start] == b'[' {
            let empty = self.eat(b']').then(|| Begun::Complete(Value::List(Vec::new())));
            return Ok(empty.unwrap_or(Begun::Open(Open::List(Vec::new()))));
        }
        if self.eat(b'}') {
            return Ok(Begun::Complete(Value::Map(FieldTable::new())));
        }
        Ok(Begun::Open(Open::Map { entries: IndexMap::new(), key: self.key("a key or `}`")?, start }))
    }

    /// Adds a complete value to its container and returns the container when that is its end.
    fn add(&mut self, container: &mut Open, value: Value) -> Result<Option<Value>> {
        self.skip_space();
        match container {
            Open::List(items) => {
                items.push(value);
                if self.eat(b',') {
                    Ok(None)
                } else if self.eat(b']') {
                    Ok(Some(Value::List(std::mem::take(items))))
                } else {
                    Err(self.expected("`,` or `]`"))
                }
            }
            Open::Map { entries, key, start } => {
                entries.insert(std::mem::take(key), value);
                if self.eat(b',') {
                    *key = self.key("a key")?;
                    Ok(None)
                } else if self.eat(b'}') {
                    let table = FieldTable::from_entries(std::mem::take(entries));
                    typed::decode(table).map(Some).map_err(|error| failure(error.to_string(), *start))
                } else {
                    Err(self.expected("`,` or `}`"))
                }
            }
        }
    }

    fn end(mut self, document: Value) -> Result<Value> {
        self.skip_space();
        if self.peek().is_some() { Err(self.expected("the end")) } else { Ok(document) }
    }

    fn key(&mut self, expected: &'static str) -> Result<ShortStr> {
        self.skip_space();
        if !self.eat(b'"') {
            return Err(self.expected(expected));
        }
        let key = match self.string()? {
            Text::Verbatim(text) => text.into(),
            Text::Escaped(units) => marked_key(&units).into(),
        };
        self.skip_space();
        if self.eat(b':') { Ok(key) } else { Err(self.expected("`:`")) }
    }

    fn scalar(&mut self) -> Result<Value> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(match self.string()? {
                    Text::Verbatim(text) => Value::from(text),
                    Text::Escaped(units) => Value::from_utf16(units),
                })
            }
            Some(b'0'..=b'9' | b'-') if !self.rest().starts_with("-I") => self.number(),
            _ => {
                let word = WORDS.iter().find(|(word, _)| self.rest().starts_with(word));
                let (word, value) = word.ok_or_else(|| self.expected("a value"))?;
                self.at += word.len();
                Ok(value.clone())
            }
        }
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        let mut is_float = false;
        if self.eat(b'.') {
            is_float = true;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            is_float = true;
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if is_float {
            return text.parse().map(Value::Float).map_err(|_| failure("not a number", start));
        }
        Ok(text.parse().map(Value::Int).unwrap_or_else(|_| Value::BigInt(BigInt::from_canonical(text))))
    }

    fn digits(&mut self) -> Result<()> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    /// Reads up to and including the closing quote.
    fn string(&mut self) -> Result<Text<'a>> {
        let start = self.at;
        self.verbatim()?;
        if self.eat(b'"') {
            return Ok(Text::Verbatim(&self.text[start..self.at - 1]));
        }
        let mut units: Vec<u16> = self.text[start..self.at].encode_utf16().collect();
        while !self.eat(b'"') {
            units.push(self.escape()?);
            let start = self.at;
            self.verbatim()?;
            units.extend(self.text[start..self.at].encode_utf16());
        }
        Ok(Text::Escaped(units))
    }

    /// Skips to the next quote or backslash.
    fn verbatim(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if let Some(control) = rest[..length].iter().position(|byte| *byte < b' ') {
            self.at += control;
            return Err(self.expected("no control character inside text"));
        }
        self.at += length;
        if length == rest.len() { Err(self.expected("`\"`")) } else { Ok(()) }
    }

    /// Reads a backslash and what it escapes as a UTF-16 unit.
    fn escape(&mut self) -> Result<u16> {
        self.at += 1;
        let unit = match self.peek() {
            Some(b'u') => return self.unicode_escape(),
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'b') => 8,
            Some(b'f') => 12,
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(unit.into())
    }

    fn unicode_escape(&mut self) -> Result<u16> {
        self.at += 1;
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.rest().chars().next() {
            Some(char) => format!("`{}`", char.escape_default()),
            None => "the end".into(),
        };
        failure(format!("expected {what}, found {found}"), self.at)
    }
}

/// What stood between two quotes.
enum Text<'a> {
    Verbatim(&'a str),
    Escaped(Vec<u16>),
}

const WORDS: &[(&str, Value)] = &[
    ("null", Value::Null),
    ("true", Value::Bool(true)),
    ("false", Value::Bool(false)),
    ("NaN", Value::Float(f64::NAN)),
    ("Infinity", Value::Float(f64::INFINITY)),
    ("-Infinity", Value::Float(f64::NEG_INFINITY)),
];

fn failure(message: impl std::fmt::Display, at: usize) -> Error {
    Error::new(ErrorKind::Decode, format!("{message} at byte {at}"))
}
