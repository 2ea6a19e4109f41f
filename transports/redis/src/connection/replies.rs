//! Bytes in, replies out.

use std::io::{self, Read};

use kombu_core::{Error, ErrorKind};
use redis::{Parser, Value};

/// Reads replies from the bytes of a socket, in whatever pieces they arrive.
///
/// The one place that knows which reader does the work.
pub(crate) struct Replies {
    parser: Parser,
    /// Whether a whole reply was ever read: garbage before that means that the other end is no Redis at all.
    is_redis: bool,
}

impl Replies {
    /// Makes a reader at the start of a connection.
    pub(crate) fn new() -> Self {
        Replies { parser: Parser::new(), is_redis: false }
    }

    /// Takes `bytes` and appends every reply that is complete to `values`.
    ///
    /// # Errors
    ///
    /// `Protocol` when the bytes are not Redis's.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8], values: &mut Vec<Value>) -> Result<(), Error> {
        let mut rest = Rest(bytes);
        loop {
            match self.parser.parse_value(&mut rest) {
                Ok(value) => {
                    self.is_redis = true;
                    values.push(value);
                }
                Err(error) if error.is_timeout() => return Ok(()),
                Err(_) => return Err(self.garbage(bytes)),
            }
        }
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

/// A reader that would block, rather than end, when its bytes are used up.
struct Rest<'a>(&'a [u8]);

impl Read for Rest<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_may_come_byte_by_byte_or_together() {
        let bytes = b"+OK\r\n:12\r\n*2\r\n$1\r\na\r\n$-1\r\n-ERR no\r\n";
        for size in [1, 2, 5, bytes.len()] {
            let mut replies = Replies::new();
            let mut values = Vec::new();
            for piece in bytes.chunks(size) {
                replies.handle_bytes(piece, &mut values).unwrap();
            }
            assert_eq!(values.len(), 4, "in pieces of {size}");
            assert_eq!(values[..2], [Value::Okay, Value::Int(12)]);
            assert_eq!(values[2], Value::Array(vec![Value::BulkString(b"a".to_vec()), Value::Nil]));
            assert!(matches!(values[3], Value::ServerError(_)));
        }
    }

    #[test]
    fn what_is_no_redis_is_said_in_one_line() {
        let error = Replies::new().handle_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("HTTP"), "{error}");
        let error = Replies::new().handle_bytes(b"SSH-2.0-OpenSSH\r\n", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no Redis server"), "{error}");
    }
}
