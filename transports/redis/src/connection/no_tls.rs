//! What stands for TLS in a build without: nothing that could be made.

use std::io::{self, Read, Write};

use kombu_core::{Error, ErrorKind, Result};

use crate::options::TlsOptions;

/// How connections are encrypted: none is.
#[derive(Debug)]
pub(crate) enum Tls {}

impl Tls {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// `Unsupported`, always.
    pub(crate) fn new(_options: TlsOptions) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "the redis transport is built without TLS"))
    }

    pub(crate) fn is_loaded(&self) -> bool {
        match *self {}
    }

    pub(crate) fn load(&self) -> Result<()> {
        match *self {}
    }

    pub(crate) fn forget(&self) {
        match *self {}
    }

    pub(crate) fn session(&self, _host: &str) -> Result<Session> {
        match *self {}
    }
}

/// One encrypted connection: there is none.
#[derive(Debug)]
pub(crate) enum Session {}

impl Session {
    pub(crate) fn read(&mut self, _socket: &mut (impl Read + Write), _into: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn write(&mut self, _socket: &mut (impl Read + Write), _bytes: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn flush(&mut self, _socket: &mut (impl Read + Write)) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn say_goodbye(&mut self, _socket: &mut impl Write) {
        match *self {}
    }
}

pub(crate) fn refusal(_error: &io::Error) -> Option<Error> {
    None
}
