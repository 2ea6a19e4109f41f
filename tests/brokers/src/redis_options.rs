//! How a Redis server is started.

use std::ffi::OsString;
use std::net::SocketAddr;

use crate::certificate::{CertificateAuthority, Identity};
use crate::redis_server::RedisServer;
use crate::setup_error::SetupError;

/// What kind of `redis-server` to start, until [`start`](RedisOptions::start) starts it; made by [`RedisServer::options`].
///
/// By default: nothing is written to disk, no password, no Unix socket.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    pub(crate) binary: String,
    pub(crate) appendonly: bool,
    pub(crate) password: Option<String>,
    pub(crate) unixsocket: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) role: Role,
    pub(crate) args: Vec<OsString>,
}

/// How a server encrypts.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) authority: String,
    pub(crate) identity: Identity,
    pub(crate) asks_clients: bool,
}

/// What a server is among others.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// A server of its own.
    Alone,
    /// A copy of the server there.
    Replica(SocketAddr),
    /// A watchman over the server there, who acts when this many agree.
    Sentinel { master_name: String, master: SocketAddr, quorum: usize },
    /// A node of a cluster.
    Node,
}

impl RedisOptions {
    pub(crate) fn new() -> Self {
        RedisOptions {
            binary: "redis-server".to_owned(),
            appendonly: false,
            password: None,
            unixsocket: false,
            tls: None,
            role: Role::Alone,
            args: Vec::new(),
        }
    }

    /// Writes every command to disk before it is answered (`appendonly yes`, `appendfsync always`), so that the data
    /// outlive [`kill`](RedisServer::kill) and [`restart`](RedisServer::restart).
    #[must_use]
    pub fn appendonly(mut self) -> Self {
        self.appendonly = true;
        self
    }

    /// Asks every client for this password (`requirepass`).
    #[must_use]
    pub fn requirepass(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Also listens on a Unix socket in the server's own directory; see [`RedisServer::unixsocket`].
    #[must_use]
    pub fn unixsocket(mut self) -> Self {
        self.unixsocket = true;
        self
    }

    /// Also listens with TLS on another port, see [`RedisServer::tls_addr`], showing the certificate `identity`. With
    /// `asks_clients` it takes only clients with a certificate of `authority`.
    #[must_use]
    pub fn tls(mut self, authority: &CertificateAuthority, identity: &Identity, asks_clients: bool) -> Self {
        self.tls = Some(Tls { authority: authority.certificate(), identity: identity.clone(), asks_clients });
        self
    }

    /// Makes it a replica of the server at `master`.
    #[must_use]
    pub fn replica_of(mut self, master: SocketAddr) -> Self {
        self.role = Role::Replica(master);
        self
    }

    /// Makes it a sentinel (`redis-server --sentinel`) that watches the server at `master` under the name `master_name`, and
    /// holds it for down after one second without an answer; `quorum` sentinels must agree.
    #[must_use]
    pub fn sentinel(mut self, master_name: impl Into<String>, master: SocketAddr, quorum: usize) -> Self {
        self.role = Role::Sentinel { master_name: master_name.into(), master, quorum };
        self
    }

    /// Makes it a node of a cluster; [`RedisCluster`](crate::RedisCluster) brings nodes together.
    #[must_use]
    pub fn cluster_node(mut self) -> Self {
        self.role = Role::Node;
        self
    }

    /// Adds arguments to the command line, such as `["--maxmemory", "4mb"]`.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Runs another program than `redis-server`: a path, or a name to look up in `PATH`.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<String>) -> Self {
        self.binary = binary.into();
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When the program is not installed, or does not answer within 10 seconds.
    pub fn start(self) -> RedisServer {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// A [`SetupError`] when the program is not installed (it says how to install it), or does not answer within 10
    /// seconds (it shows the server's log).
    pub fn try_start(self) -> Result<RedisServer, SetupError> {
        RedisServer::start_with(self)
    }
}
