//! TLS over a non-blocking socket.

mod trust;

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::{Error, ErrorKind, Recovery, Result};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection};

use crate::options::TlsOptions;

/// How connections are encrypted: the options, and what was read of the files they name.
#[derive(Debug)]
pub(crate) struct Tls {
    options: TlsOptions,
    read: Mutex<Loaded>,
}

/// What was read of the files.
#[derive(Debug, Default)]
struct Loaded {
    config: Option<Arc<ClientConfig>>,
    /// Whether it is to be read again.
    is_stale: bool,
}

impl Tls {
    /// Makes one that has read nothing.
    ///
    /// # Errors
    ///
    /// Never; a build without TLS has one.
    pub(crate) fn new(options: TlsOptions) -> Result<Self> {
        Ok(Tls { options, read: Mutex::default() })
    }

    /// Says whether the certificates are read.
    pub(crate) fn is_loaded(&self) -> bool {
        let loaded = self.lock();
        loaded.config.is_some() && !loaded.is_stale
    }

    /// Reads the certificates, unless they are read. Blocks: not for the hub's thread.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a file that cannot be read or used.
    pub(crate) fn load(&self) -> Result<()> {
        if self.is_loaded() {
            return Ok(());
        }
        let config = trust::client_config(&self.options)?;
        *self.lock() = Loaded { config: Some(Arc::new(config)), is_stale: false };
        Ok(())
    }

    /// Reads the certificates again for the next connection: they may have been replaced.
    pub(crate) fn forget(&self) {
        self.lock().is_stale = true;
    }

    /// Begins a session with the server called `host`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a host that no certificate can name.
    pub(crate) fn session(&self, host: &str) -> Result<Session> {
        let config = self.lock().config.clone();
        let config = config.ok_or_else(|| Error::new(ErrorKind::Internal, "TLS is not ready"))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid(format!("`{host}` is no name of a server that TLS knows")))?;
        let mut connection =
            ClientConnection::new(config, name).map_err(|error| refused(&error).unwrap_or_else(|| broken(&error)))?;
        connection.set_buffer_limit(Some(BUFFER));
        Ok(Session { connection })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        // Nothing panics while the lock is held.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One encrypted connection, over a socket that is handed in.
#[derive(Debug)]
pub(crate) struct Session {
    connection: ClientConnection,
}

impl Session {
    /// Reads what was sent to us, from `socket` as far as that is needed.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket has no more; what broke the socket or the session.
    pub(crate) fn read(&mut self, socket: &mut (impl Read + Write), into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.connection.read_tls(socket)? == 0 {
                // The next read says whether that was a proper end.
                let _ = self.connection.process_new_packets();
                return match self.connection.reader().read(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                    read => read,
                };
            }
            let processed = self.connection.process_new_packets().map_err(io::Error::other);
            // A part of the handshake, or an alert that says what was wrong. What does not fit now goes with the next flush.
            match self.flush(socket) {
                Err(error) if processed.is_ok() && error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => processed.map(|_| ())?,
            }
        }
    }

    /// Takes bytes to send, and sends what `socket` takes.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is taken; what broke the socket.
    pub(crate) fn write(&mut self, socket: &mut (impl Read + Write), bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.connection.writer().write(bytes)?;
        if taken == 0 {
            self.flush(socket)?;
            taken = self.connection.writer().write(bytes)?;
        }
        match self.flush(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => Ok(taken),
            Err(error) => Err(error),
            Ok(()) if taken == 0 && !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            Ok(()) => Ok(taken),
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket takes no more; what broke it.
    pub(crate) fn flush(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        while self.connection.wants_write() {
            if let Err(error) = self.connection.write_tls(socket) {
                let is_broken = error.kind() != io::ErrorKind::WouldBlock;
                return Err(is_broken.then(|| self.last_words(socket)).flatten().unwrap_or(error));
            }
        }
        Ok(())
    }

    /// Returns what the other end said before it closed the socket on us: a certificate it does not accept, for one.
    fn last_words(&mut self, socket: &mut impl Read) -> Option<io::Error> {
        while self.connection.read_tls(socket).is_ok_and(|read| read > 0) {
            if let Err(error) = self.connection.process_new_packets() {
                return Some(io::Error::other(error));
            }
        }
        None
    }

    /// Says that nothing more comes, as far as the socket takes it.
    pub(crate) fn say_goodbye(&mut self, socket: &mut impl Write) {
        self.connection.send_close_notify();
        // The socket is closed next, whatever it takes.
        while self.connection.wants_write() && self.connection.write_tls(socket).is_ok_and(|written| written > 0) {}
    }
}

/// Returns the error of a server that is not trusted, or does not trust us, if that is what broke a socket.
pub(crate) fn refusal(error: &io::Error) -> Option<Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(|error| refused(error).unwrap_or_else(|| broken(error)))
}

fn refused(error: &rustls::Error) -> Option<Error> {
    let (kind, message) = match error {
        rustls::Error::InvalidCertificate(why) => {
            (ErrorKind::AccessRefused, format!("the server's certificate is not accepted: {}", certificate(why)))
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::UnknownCA,
        ) => {
            let message = "the server does not accept the client's certificate, or wants one: see the options \
                           `ssl_certfile` and `ssl_keyfile`";
            (ErrorKind::AccessRefused, format!("{message} ({error})"))
        }
        rustls::Error::InvalidMessage(_) => {
            (ErrorKind::Protocol, "the other end does not speak TLS; is it the port without?".to_owned())
        }
        _ => return None,
    };
    Some(Error::new(kind, message))
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "no trusted authority stands behind it; name yours by `ssl_ca_certs`".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name".to_owned()
        }
        other => other.to_string(),
    }
}

fn broken(error: &rustls::Error) -> Error {
    Error::new(ErrorKind::ConnectionLost, format!("TLS broke: {error}")).recoverable_by(Recovery::Reconnect)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// How many bytes wait to be encrypted or sent before a write has to wait.
const BUFFER: usize = 256 * 1024;
