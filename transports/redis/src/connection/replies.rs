//! Bytes in, replies out.

use kombu_core::{Error, ErrorKind};
use redis::Value;

use super::extent::Extent;

/// Reads replies from the bytes of a socket, in whatever pieces they arrive.
///
/// Where a reply ends is found without making anything of it. Most are numbers, texts and lists of those, which are read here; the
/// rest by redis-rs's parser. The one place that knows which reader does the work.
pub(crate) struct Replies {
    /// How far the reply has been followed that is not complete.
    extent: Extent,
    /// What has come of it.
    begun: Vec<u8>,
    /// Whether a whole reply was ever read: garbage before that means that the other end is no Redis at all.
    is_redis: bool,
}

impl Replies {
    /// Makes a reader at the start of a connection.
    pub(crate) fn new() -> Self {
        Replies { extent: Extent::new(), begun: Vec::new(), is_redis: false }
    }

    /// Takes `bytes` and appends every reply that is complete to `values`.
    ///
    /// # Errors
    ///
    /// `Protocol` when the bytes are not Redis's.
    pub(crate) fn handle_bytes(&mut self, mut bytes: &[u8], values: &mut Vec<Value>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let Some(end) = self.extent.follow(bytes).map_err(|()| self.garbage(bytes))? else {
                self.begun.extend_from_slice(bytes);
                return Ok(());
            };
            let (last, rest) = bytes.split_at(end);
            let value = if self.begun.is_empty() {
                read(last)
            } else {
                self.begun.extend_from_slice(last);
                read(&std::mem::take(&mut self.begun))
            };
            values.push(value.ok_or_else(|| self.garbage(bytes))?);
            self.is_redis = true;
            bytes = rest;
        }
        Ok(())
    }

    #[cold]
    fn garbage(&self, bytes: &[u8]) -> Error {
        let what = if self.is_redis {
            "the server sent something that is no Redis reply"
        } else if bytes.starts_with(b"HTTP/") {
            "the other end speaks HTTP, it is no Redis server"
        } else {
            "the other end is no Redis server"
        };
        Error::new(ErrorKind::Protocol, what)
    }
}

/// Reads the one reply that `bytes` are.
fn read(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    match read_usual(&mut rest, MAX_DEPTH) {
        Some(value) if rest.is_empty() => Some(value),
        _ => redis::parse_redis_value(bytes).ok(),
    }
}

/// Reads what most replies are made of; `None` for everything else.
fn read_usual(bytes: &mut &[u8], depth: u32) -> Option<Value> {
    let (kind, rest) = bytes.split_first()?;
    let end = memchr::memchr(b'\r', rest)?;
    let line = &rest[..end];
    let rest = rest[end..].strip_prefix(b"\r\n")?;
    match kind {
        b':' => {
            *bytes = rest;
            Some(Value::Int(number(line)?))
        }
        b'+' if line == b"OK" => {
            *bytes = rest;
            Some(Value::Okay)
        }
        b'$' | b'*' if line == b"-1" => {
            *bytes = rest;
            Some(Value::Nil)
        }
        b'$' => {
            let length = usize::try_from(number(line)?).ok()?;
            let text = rest.get(..length)?;
            *bytes = rest[length..].strip_prefix(b"\r\n")?;
            Some(Value::BulkString(text.to_vec()))
        }
        b'*' if depth > 0 => {
            let count = usize::try_from(number(line)?).ok()?;
            *bytes = rest;
            // Each item takes four bytes at least.
            let mut items = Vec::with_capacity(count.min(rest.len() / 4 + 1));
            for _ in 0..count {
                items.push(read_usual(bytes, depth - 1)?);
            }
            Some(Value::Array(items))
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Eighteen digits cannot overflow; what is longer is read by the other reader.
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Some(if is_negative { -number } else { number })
}

/// How deep lists are read here.
const MAX_DEPTH: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(bytes: &[u8], size: usize) -> Vec<Value> {
        let mut replies = Replies::new();
        let mut values = Vec::new();
        for piece in bytes.chunks(size) {
            replies.handle_bytes(piece, &mut values).unwrap();
        }
        values
    }

    #[test]
    fn replies_may_come_byte_by_byte_or_together() {
        let bytes = b"+OK\r\n:12\r\n*2\r\n$1\r\na\r\n$-1\r\n-ERR no\r\n";
        for size in [1, 2, 5, bytes.len()] {
            let values = in_pieces(bytes, size);
            assert_eq!(values.len(), 4, "in pieces of {size}");
            assert_eq!(values[..2], [Value::Okay, Value::Int(12)]);
            assert_eq!(values[2], Value::Array(vec![Value::BulkString(b"a".to_vec()), Value::Nil]));
            assert!(matches!(values[3], Value::ServerError(_)));
        }
    }

    #[test]
    fn every_reply_is_what_the_parser_of_redis_makes_of_it() {
        let replies: &[&[u8]] = &[
            b":0\r\n",
            b":-42\r\n",
            b":9223372036854775807\r\n",
            b":-9223372036854775808\r\n",
            b"+OK\r\n",
            b"+PONG\r\n",
            b"+\r\n",
            b"$0\r\n\r\n",
            b"$6\r\na\r\nb\0\xff\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*3\r\n:1\r\n*1\r\n*0\r\n$2\r\nab\r\n",
            b"*2\r\n+QUEUED\r\n-OOM no\r\n",
            b"-LOADING wait\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b",inf\r\n",
            b"(3492890328409238509324850943850943825024385\r\n",
            b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*1\r\n_\r\n",
            b"%0\r\n",
            b"~2\r\n:1\r\n:2\r\n",
            b"=7\r\ntxt:a\r\n\r\n",
            b"!9\r\nERR a b c\r\n",
            b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            b">2\r\n$10\r\ninvalidate\r\n_\r\n",
            b"|1\r\n+ttl\r\n:3600\r\n:7\r\n",
            b"*2\r\n|1\r\n+a\r\n:1\r\n:2\r\n:3\r\n",
        ];
        let all = replies.concat();
        let expected: Vec<Value> =
            replies.iter().map(|bytes| redis::parse_redis_value(bytes).expect("it is a reply")).collect();
        for size in [1, 2, 3, 7, all.len()] {
            assert_eq!(in_pieces(&all, size), expected, "in pieces of {size}");
        }
        let deep = [b"*1\r\n".repeat(40), b":1\r\n".to_vec()].concat();
        assert_eq!(in_pieces(&deep, 9), [redis::parse_redis_value(&deep).unwrap()]);
    }

    #[test]
    fn what_is_no_redis_is_said_in_one_line() {
        let error = Replies::new().handle_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("HTTP"), "{error}");
        let error = Replies::new().handle_bytes(b"SSH-2.0-OpenSSH\r\n", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no Redis server"), "{error}");
    }

    #[test]
    fn garbage_is_refused_and_not_waited_for() {
        let garbage: &[&[u8]] = &[
            b"$x\r\n",
            b"$-2\r\n",
            b"*99999999999999999999\r\n",
            b"?\r\n",
            b":1x\r\n",
            b"$1\r\nabc\r\n",
            b"*1\r\n?\r\n",
        ];
        for bytes in garbage {
            let mut replies = Replies::new();
            let mut values = Vec::new();
            replies.handle_bytes(b":1\r\n", &mut values).unwrap();
            let error = replies.handle_bytes(bytes, &mut values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{bytes:?}");
            assert_eq!(values, [Value::Int(1)]);
        }
    }
}
