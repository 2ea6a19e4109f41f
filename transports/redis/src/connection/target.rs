//! Where a connection goes, and as whom.

use std::fmt;
use std::time::Duration;

use kombu_core::BrokerUrl;

use crate::options::{Address, Password, RedisOptions};

/// Everything needed to make a connection. `Debug` shows no password.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where the server is.
    pub(crate) address: Address,
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
    /// Whether the system probes an idle TCP connection.
    pub(crate) keepalive: bool,
    /// The broker for error texts, without password.
    pub(crate) label: String,
}

impl Target {
    /// Reads the target out of the options.
    pub(crate) fn new(options: &RedisOptions, url: &BrokerUrl) -> Self {
        Target {
            address: options.address.clone(),
            username: options.username.clone(),
            password: options.password.clone(),
            database: options.db,
            client_name: options.client_name.clone(),
            connect_timeout: options.socket_connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            patience: options.socket_timeout.or(options.health_check_interval),
            keepalive: options.socket_keepalive,
            label: url.to_string(),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("broker", &self.label).field("database", &self.database).finish_non_exhaustive()
    }
}

/// How long an attempt may take unless `socket_connect_timeout` says otherwise; Kombu's connections have five seconds, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
