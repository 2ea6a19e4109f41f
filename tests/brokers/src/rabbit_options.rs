//! How a RabbitMQ node is started.

use crate::certificate::{CertificateAuthority, Identity};
use crate::rabbit_server::RabbitServer;
use crate::setup_error::SetupError;

/// What kind of RabbitMQ node to start, until [`start`](RabbitOptions::start) starts it; made by
/// [`RabbitServer::options`].
///
/// By default: a TCP listener on the loopback interface, no TLS, no plugins.
#[derive(Debug, Clone)]
pub struct RabbitOptions {
    pub(crate) binary: Option<String>,
    pub(crate) tls: Option<TlsOptions>,
    pub(crate) external: bool,
    pub(crate) all_processors: bool,
    pub(crate) config: Vec<String>,
}

/// What a TLS listener needs.
#[derive(Debug, Clone)]
pub(crate) struct TlsOptions {
    pub(crate) authority: String,
    pub(crate) identity: Identity,
    pub(crate) client_required: bool,
}

impl RabbitOptions {
    pub(crate) fn new() -> Self {
        RabbitOptions { binary: None, tls: None, external: false, all_processors: false, config: Vec::new() }
    }

    /// Also listens with TLS, as `server`; certificates of clients are checked against `authority` if they show one.
    #[must_use]
    pub fn tls(mut self, authority: &CertificateAuthority, server: &Identity) -> Self {
        let (authority, identity) = (authority.certificate(), server.clone());
        self.tls = Some(TlsOptions { authority, identity, client_required: false });
        self
    }

    /// As [`tls`](RabbitOptions::tls), and refuses clients without a certificate (`fail_if_no_peer_cert`).
    #[must_use]
    pub fn tls_with_client_certificates(mut self, authority: &CertificateAuthority, server: &Identity) -> Self {
        let (authority, identity) = (authority.certificate(), server.clone());
        self.tls = Some(TlsOptions { authority, identity, client_required: true });
        self
    }

    /// Offers the mechanism `EXTERNAL`: a client's user name is the common name of its certificate.
    #[must_use]
    pub fn external(mut self) -> Self {
        self.external = true;
        self
    }

    /// Uses all of the machine's processors, as RabbitMQ does by itself, instead of one: to measure with.
    #[must_use]
    pub fn all_processors(mut self) -> Self {
        self.all_processors = true;
        self
    }

    /// Adds a setting of the application `rabbit` in Erlang's words, such as `{heartbeat, 5}`.
    #[must_use]
    pub fn config(mut self, term: impl Into<String>) -> Self {
        self.config.push(term.into());
        self
    }

    /// Runs another program than the installed `rabbitmq-server`: a path, or a name to look up in `PATH`.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<String>) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// Starts the node and waits until it has booted, which takes seconds.
    ///
    /// # Panics
    ///
    /// When a program is not installed, or the node has not booted within two minutes.
    pub fn start(self) -> RabbitServer {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the node and waits until it has booted, which takes seconds.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] when a program is not installed (it says how to install it), or the node has not booted within two
    /// minutes (it shows the node's log).
    pub fn try_start(self) -> Result<RabbitServer, SetupError> {
        RabbitServer::start_with(self)
    }
}
