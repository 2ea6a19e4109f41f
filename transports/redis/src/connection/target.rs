//! Where a connection goes, and as whom.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::{BrokerUrl, Result};

use super::Cluster;
use super::sentinel::Sentinels;
use super::tls::Tls;
use crate::options::{Address, Keepalive, Password, RedisOptions};

/// Everything needed to make a connection. `Debug` shows no password.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where the server is.
    pub(crate) address: Address,
    /// How the connection is encrypted; none is not.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Who knows where the master is.
    pub(crate) sentinels: Option<Arc<Sentinels>>,
    /// The cluster the server may be a node of; without one, it must not be.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// The user; none is Redis's `default`.
    pub(crate) username: Option<String>,
    /// The password.
    pub(crate) password: Option<Password>,
    /// The database.
    pub(crate) database: u32,
    /// What `CLIENT SETNAME` says.
    pub(crate) client_name: Option<String>,
    /// How long one attempt may take.
    pub(crate) connect_timeout: Duration,
    /// How long a server may be silent while it owes an answer; `None` is for ever.
    pub(crate) patience: Option<Duration>,
    /// Whether and how the system probes an idle TCP connection.
    pub(crate) keepalive: Keepalive,
    /// The broker for error texts, without password.
    pub(crate) label: String,
}

impl Target {
    /// Reads the target out of the options.
    ///
    /// # Errors
    ///
    /// `Unsupported` for TLS in a build without.
    pub(crate) fn new(options: &RedisOptions, url: &BrokerUrl) -> Result<Self> {
        let sentinels = match &options.address {
            Address::Sentinel(sentinels) => Some(Arc::new(Sentinels::new((**sentinels).clone())?)),
            _ => None,
        };
        Ok(Target {
            tls: options.tls.clone().map(Tls::new).transpose()?.map(Arc::new),
            sentinels,
            cluster: Cluster::of_prefix(&options.global_keyprefix).map(Arc::new),
            address: options.address.clone(),
            username: options.username.clone(),
            password: options.password.clone(),
            database: options.db,
            client_name: options.client_name.clone(),
            connect_timeout: options.socket_connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            patience: options.socket_timeout.or(options.health_check_interval),
            keepalive: options.keepalive.clone(),
            label: url.to_string(),
        })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("broker", &self.label).field("database", &self.database).finish_non_exhaustive()
    }
}

/// How long an attempt may take unless `socket_connect_timeout` says otherwise; Kombu's connections have five seconds, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
