//! Questions to a server that is not the one to work with: a sentinel. Blocks: not for the hub's thread.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kombu_core::{Error, ErrorKind, Recovery, Result};
use redis::Value;

use super::tls::{self, Session, Tls};
use super::{Replies, address, command, refusal};
use crate::options::Password;

/// A blocking connection for a few questions, all of them by one deadline.
pub(crate) struct Inquiry {
    socket: TcpStream,
    session: Option<Session>,
    replies: Replies,
    deadline: Instant,
}

impl Inquiry {
    /// Connects, encrypted if there is `tls`.
    ///
    /// # Errors
    ///
    /// `ConnectionLost` when nobody answers there by `deadline`; those of TLS.
    pub(crate) fn open(host: &str, port: u16, tls: Option<&Tls>, deadline: Instant) -> Result<Self> {
        let session = tls.map(|tls| tls.session(host)).transpose()?;
        let found = match address::literal(host, port) {
            Some(found) => found,
            None => address::resolve(host, port)?,
        };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for addr in found {
            let connected = remaining(deadline).and_then(|left| TcpStream::connect_timeout(&addr, left));
            match connected {
                Ok(socket) => return Ok(Inquiry { socket, session, replies: Replies::new(), deadline }),
                Err(error) => last = error,
            }
        }
        Err(broken(&last))
    }

    /// Says who we are, where that is asked for.
    ///
    /// # Errors
    ///
    /// `AccessRefused`.
    pub(crate) fn log_in(&mut self, username: Option<&str>, password: Option<&Password>) -> Result<()> {
        let password = password.map(Password::reveal);
        let answer = match (username, password) {
            (Some(username), password) => self.ask(&["AUTH", username, password.unwrap_or("")])?,
            (None, Some(password)) => self.ask(&["AUTH", password])?,
            (None, None) => return Ok(()),
        };
        accepted(answer).map(drop)
    }

    /// Asks one question and waits for the answer, which may be a refusal.
    ///
    /// # Errors
    ///
    /// `ConnectionLost` when the answer does not come by the deadline.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Value> {
        let mut bytes = Vec::new();
        command::command(&mut bytes, words);
        self.exchange(&bytes).map_err(|error| tls::refusal(&error).unwrap_or_else(|| broken(&error)))?
    }

    fn exchange(&mut self, mut bytes: &[u8]) -> io::Result<Result<Value>> {
        let mut values = Vec::new();
        let mut scratch = [0; 4096];
        while !bytes.is_empty() {
            self.socket.set_write_timeout(Some(remaining(self.deadline)?))?;
            let written = match &mut self.session {
                Some(session) => session.write(&mut self.socket, bytes)?,
                None => self.socket.write(bytes)?,
            };
            bytes = &bytes[written..];
        }
        loop {
            self.socket.set_read_timeout(Some(remaining(self.deadline)?))?;
            let read = match &mut self.session {
                Some(session) => session.read(&mut self.socket, &mut scratch)?,
                None => self.socket.read(&mut scratch)?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = self.replies.handle_bytes(&scratch[..read], &mut values) {
                return Ok(Err(error));
            }
            // One question, one answer.
            if let Some(value) = values.pop() {
                return Ok(Ok(value));
            }
        }
    }
}

/// Turns a refusal into an error.
///
/// # Errors
///
/// The refusal.
pub(crate) fn accepted(value: Value) -> Result<Value> {
    match value {
        Value::ServerError(error) => Err(refusal(&error)),
        value => Ok(value),
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn broken(error: &io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    };
    Error::new(ErrorKind::ConnectionLost, what).recoverable_by(Recovery::Reconnect)
}
