//! The smallest Redis client: one blocking socket, no cleverness.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::patience::PATIENCE;
use crate::reply::Reply;

/// A blocking connection to a Redis server, for tests that look at keys.
///
/// Written by hand, so that what it sees does not depend on any client library that the code under test uses. Every
/// answer must come within [`PATIENCE`], or within what [`set_patience`](RedisClient::set_patience) says.
#[derive(Debug)]
pub struct RedisClient {
    stream: BufReader<TcpStream>,
}

impl RedisClient {
    /// Connects to `addr`, with `AUTH` when there is a password.
    ///
    /// # Errors
    ///
    /// When nobody listens, or the password is refused (`PermissionDenied`).
    pub fn connect(addr: SocketAddr, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = RedisClient { stream: BufReader::new(stream) };
        if let Some(password) = password
            && let Some(refusal) = client.try_command(&["AUTH", password])?.error()
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_owned()));
        }
        Ok(client)
    }

    /// Sets how long an answer may take, for commands that block on purpose.
    ///
    /// # Panics
    ///
    /// When `patience` is zero.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.get_ref().set_read_timeout(Some(patience)).expect("the patience is not zero");
    }

    /// Sends one command and returns its answer.
    ///
    /// # Panics
    ///
    /// When the connection breaks, the answer does not come in time, or the server refuses (`WRONGTYPE …`).
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        match self.try_command(args) {
            Ok(Reply::Error(refusal)) => panic!("{} was refused: {refusal}", show(args)),
            Ok(reply) => reply,
            Err(error) => panic!("no answer to {}: {error}", show(args)),
        }
    }

    /// Sends one command and returns its answer; a refusal is a [`Reply::Error`].
    ///
    /// # Errors
    ///
    /// When the connection breaks or the answer does not come in time.
    pub fn try_command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(args)?;
        self.recv()
    }

    /// Sends one command without waiting for its answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut frame = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            frame.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            frame.extend_from_slice(arg);
            frame.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&frame)
    }

    /// Waits for the next answer: to a command sent before, or from a subscription.
    ///
    /// # Errors
    ///
    /// When the connection breaks, the answer does not come in time, or it is no RESP2 (`InvalidData`).
    pub fn recv(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed(&line))?;
        let length = || rest.parse::<i64>().map_err(|_| malformed(&line));
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Int(length()?)),
            "$" => match usize::try_from(length()?) {
                Err(_) => Ok(Reply::Nil),
                Ok(length) => self.bulk(length),
            },
            "*" => match usize::try_from(length()?) {
                Err(_) => Ok(Reply::Nil),
                Ok(count) => (0..count).map(|_| self.recv()).collect::<io::Result<_>>().map(Reply::Array),
            },
            _ => Err(malformed(&line)),
        }
    }

    pub(crate) fn wait_for_ever(&self) {
        self.socket().set_read_timeout(None).expect("the system accepts no timeout");
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    fn bulk(&mut self, length: usize) -> io::Result<Reply> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(Reply::Bulk(bytes))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a Redis answer: {line:?}"))
}

fn show<A: AsRef<[u8]>>(args: &[A]) -> String {
    args.iter().map(|arg| arg.as_ref().escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}
