//! What a Redis server gets to hear.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{process, thread};

use crate::patience::{PATIENCE, eventually};
use crate::redis_client::RedisClient;
use crate::reply::Reply;

/// One command as the server heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoredCommand {
    /// The client's address and port, or `lua` for a command that a script called.
    pub client: String,
    /// The command and its arguments.
    pub args: Vec<Vec<u8>>,
}

impl MonitoredCommand {
    /// Returns the command's name in capitals.
    pub fn name(&self) -> String {
        self.args.first().map(|name| String::from_utf8_lossy(name).to_uppercase()).unwrap_or_default()
    }

    /// Returns the command and its arguments as texts.
    pub fn texts(&self) -> Vec<String> {
        self.args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }
}

/// A recording of every command a server gets, in the server's order; made by
/// [`RedisServer::monitor`](crate::RedisServer::monitor).
///
/// The server leaves out what could show a password (`AUTH`).
#[derive(Debug)]
pub struct Monitor {
    heard: Arc<Mutex<Vec<MonitoredCommand>>>,
    marker: RedisClient,
    socket: TcpStream,
    reader: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Returns the commands heard since the last call, up to now: everything that the server had answered before this call
    /// is in it.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn take(&mut self) -> Vec<MonitoredCommand> {
        let mark = format!("kombu-monitor-{}-{}", process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
        self.marker.command(&["ECHO", &mark]);
        let mut position = None;
        let marked = eventually(PATIENCE, || {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            position = heard.iter().position(|command| command.args.get(1).is_some_and(|arg| arg == mark.as_bytes()));
            position.is_some()
        });
        let position = position.filter(|_| marked).expect("the server repeats what it hears");
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let later = heard.split_off(position + 1);
        let mut taken = std::mem::replace(&mut *heard, later);
        taken.pop();
        taken
    }

    pub(crate) fn start(mut watcher: RedisClient, marker: RedisClient) -> Self {
        let reply = watcher.command(&["MONITOR"]);
        assert_eq!(reply, Reply::Status("OK".into()), "the server lets itself be watched");
        watcher.wait_for_ever();
        let socket = watcher.socket().try_clone().expect("the system has a descriptor left");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let reader = thread::Builder::new()
            .name("redis-monitor".into())
            .spawn(move || record(watcher, &kept))
            .expect("the system has a thread left");
        Monitor { heard, marker, socket, reader: Some(reader) }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Ends the reader's wait; an error means that the server has ended it already.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn record(mut watcher: RedisClient, heard: &Mutex<Vec<MonitoredCommand>>) {
    while let Ok(reply) = watcher.recv() {
        if let Reply::Status(line) = reply
            && let Some(command) = parse(&line)
        {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        }
    }
}

// 1700000000.000000 [0 127.0.0.1:50000] "LPUSH" "a \"quoted\" word" "\x00"
fn parse(line: &str) -> Option<MonitoredCommand> {
    let (_, rest) = line.split_once(" [")?;
    let (origin, rest) = rest.split_once("] ")?;
    let client = origin.split_once(' ')?.1.to_owned();
    let mut args = Vec::new();
    let mut chars = rest.bytes();
    while let Some(byte) = chars.next() {
        if byte == b'"' {
            args.push(unquote(&mut chars)?);
        }
    }
    Some(MonitoredCommand { client, args })
}

// Reads up to the closing quote, undoing the server's escapes.
fn unquote(bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let mut arg = Vec::new();
    loop {
        match bytes.next()? {
            b'"' => return Some(arg),
            b'\\' => arg.push(match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 7,
                b'b' => 8,
                b'x' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
                other => other,
            }),
            byte => arg.push(byte),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

static MARKS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let command = parse(r#"1700000000.5 [0 127.0.0.1:50000] "LPUSH" "a \"b\" \\ [0 x] " "\x00\xff\n""#).unwrap();
        assert_eq!(command.client, "127.0.0.1:50000");
        assert_eq!(command.args, [&b"LPUSH"[..], b"a \"b\" \\ [0 x] ", b"\x00\xff\n"]);
        assert_eq!(parse(r#"1700000000.5 [3 lua] "get" "k""#).unwrap().client, "lua");
        assert_eq!(parse("OK"), None);
    }
}
