//! A TCP or Unix socket under one name, encrypted or not.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::tls::Session;
use crate::options::Keepalive;

/// A non-blocking socket, encrypted or not.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    session: Option<Session>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Begins to connect to `addr`; done when the socket is writable and [`is_connected`](Stream::is_connected). With a
    /// session everything is encrypted.
    pub(crate) fn connect_tcp(addr: SocketAddr, session: Option<Session>) -> io::Result<Self> {
        Ok(Stream { socket: Socket::Tcp(TcpStream::connect(addr)?), session })
    }

    /// Begins to connect to the socket at `path`.
    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Stream { socket: Socket::Unix(UnixStream::connect(path)?), session: None })
    }

    /// Says whether the connection stands: not yet is `false`.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let (error, peer) = match &self.socket {
            Socket::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Socket::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(true),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }

    /// Sends small writes at once, and lets the system probe an idle connection as `keepalive` says.
    pub(crate) fn tune(&self, keepalive: &Keepalive) {
        let Socket::Tcp(stream) = &self.socket else { return };
        // A system that refuses these still carries the bytes.
        let _ = stream.set_nodelay(true);
        let socket = socket2::SockRef::from(stream);
        if !keepalive.is_on {
            let _ = socket.set_keepalive(false);
            return;
        }
        let mut probes = socket2::TcpKeepalive::new();
        if let Some(idle) = keepalive.idle {
            probes = probes.with_time(idle);
        }
        #[cfg(not(any(target_os = "openbsd", target_os = "redox", target_os = "solaris", target_os = "haiku")))]
        {
            if let Some(interval) = keepalive.interval {
                probes = probes.with_interval(interval);
            }
            #[cfg(not(windows))]
            if let Some(retries) = keepalive.retries {
                probes = probes.with_retries(retries);
            }
        }
        let _ = socket.set_keepalive(true);
        let _ = socket.set_tcp_keepalive(&probes);
    }

    /// Says whether a read of `count` bytes, where `room` would have fitted, has left nothing behind: then the hub says when more comes.
    pub(crate) fn is_emptied(&self, count: usize, room: usize) -> bool {
        // So epoll(7) has it; other systems wait for the read that would block.
        cfg!(any(target_os = "linux", target_os = "android")) && self.session.is_none() && count < room
    }

    /// Writes what was taken and does not lie in the socket yet.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket takes no more; what broke it.
    pub(crate) fn flush_taken(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.flush(&mut self.socket),
            None => Ok(()),
        }
    }

    /// Tells the other end that nothing more comes, where it can be told.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(session) = &mut self.session {
            session.say_goodbye(&mut self.socket);
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.read(&mut self.socket, into),
            None => self.socket.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.write(&mut self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_taken()
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(into),
            Socket::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.register(registry, token, interests),
            Socket::Unix(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.reregister(registry, token, interests),
            Socket::Unix(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.deregister(registry),
            Socket::Unix(stream) => stream.deregister(registry),
        }
    }
}
