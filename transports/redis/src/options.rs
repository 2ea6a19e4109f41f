//! Transport options, by Kombu's names.

mod address;
mod names;
mod sentinel;
mod table;
mod take;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use kombu_core::{PriorityOrder, Result, TransportConfig};

pub(crate) use self::address::SCHEMES;
pub(crate) use self::sentinel::SentinelOptions;
pub(crate) use self::tls::TlsOptions;
#[cfg(any(feature = "tls", test))]
pub(crate) use self::tls::Verify;

/// The options of this transport, read and checked.
///
/// The names and defaults are Kombu's; times are in seconds, as numbers or as text. What Kombu does not know is said so.
#[derive(Clone, Debug)]
pub(crate) struct RedisOptions {
    /// Where the server is.
    pub(crate) address: Address,
    /// The number of the database; default 0.
    pub(crate) db: u32,
    /// The user of `AUTH`; default none.
    pub(crate) username: Option<String>,
    /// The password of `AUTH`; default none.
    pub(crate) password: Option<Password>,
    /// What separates a queue's name from its priority step and the fields of a binding; default 0x06 0x16.
    pub(crate) sep: String,
    /// What every key and channel begins with; default nothing.
    pub(crate) global_keyprefix: String,
    /// Which priorities have a list of their own, ascending; default 0, 3, 6, 9.
    pub(crate) priority_steps: Vec<u8>,
    /// What the channels of fanout exchanges begin with; default `/<db>.`.
    pub(crate) fanout_prefix: FanoutPrefix,
    /// Whether a fanout channel carries the routing key; default yes.
    pub(crate) fanout_patterns: bool,
    /// Whether queues bound to fanout exchanges keep messages while nobody consumes; default no. Ours, not Kombu's.
    pub(crate) fanout_stored: bool,
    /// How long a message of a client that gives no life sign may stay unsettled; default 3600 seconds.
    pub(crate) visibility_timeout: Duration,
    /// The hash of unsettled messages; default `unacked`.
    pub(crate) unacked_key: String,
    /// The sorted set of unsettled messages by time; default `unacked_index`.
    pub(crate) unacked_index_key: String,
    /// The lock of the visibility sweep; default `unacked_mutex`.
    pub(crate) unacked_mutex_key: String,
    /// How long that lock holds; default 300 seconds.
    pub(crate) unacked_mutex_expire: Duration,
    /// How many messages one visibility sweep restores; default no limit.
    pub(crate) unacked_restore_limit: Option<u32>,
    /// How often the visibility sweep is considered; default 10 seconds.
    pub(crate) unacked_restore_interval: Duration,
    /// Every how manieth time it is done; default 10.
    pub(crate) unacked_restore_throttle: u32,
    /// In which order the queues of a consumer are read; default round robin.
    pub(crate) queue_order_strategy: QueueOrder,
    /// How long what wakes a consumer waits at once, `BLMOVE` or `BRPOP`; default 20 seconds, where Kombu has 1.
    pub(crate) polling_interval: Option<Duration>,
    /// The name given to the server with `CLIENT SETNAME`; default none.
    pub(crate) client_name: Option<String>,
    /// After how much silence a socket is checked with `PING`; default 25 seconds, `None` never.
    pub(crate) health_check_interval: Option<Duration>,
    /// How long an answer may take; default no limit.
    pub(crate) socket_timeout: Option<Duration>,
    /// How long connecting may take; default no limit of its own.
    pub(crate) socket_connect_timeout: Option<Duration>,
    /// Whether and how the operating system checks idle sockets; default not.
    pub(crate) keepalive: Keepalive,
    /// How the connection is encrypted; default not.
    pub(crate) tls: Option<TlsOptions>,
    /// When a publish counts as confirmed; default once the server has answered. Ours, not Kombu's.
    pub(crate) confirm: ConfirmBy,
    /// Which end of the priorities is served first; default the lower numbers, as in Kombu. Ours, not Kombu's.
    pub(crate) priority_order: PriorityOrder,
    /// How bodies are written; default base64.
    pub(crate) body_encoding: BodyEncoding,
    /// The queue for what a direct exchange cannot route; default none.
    pub(crate) deadletter_queue: Option<String>,
    /// The largest envelope that is read, in bytes; default 128 MiB. Ours, not Kombu's.
    pub(crate) max_message_size: usize,
    /// How deep lists and maps of an envelope may nest; default and limit 512. Ours, not Kombu's.
    pub(crate) max_nesting: usize,
    /// How long a consumer may go without a life sign; default 30 seconds. Ours, not Kombu's.
    pub(crate) lease: Duration,
    /// How long a message may be held before it is given to others; default any time. Ours, not Kombu's.
    pub(crate) max_hold: Option<Duration>,
    /// What wakes an idle consumer; default chosen by what the server allows. Ours, not Kombu's.
    pub(crate) wake: Wake,
    /// What says which exchanges and queues there are; default Kombu's keys. Ours, not Kombu's.
    pub(crate) topology: KeptIn,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP port.
    Tcp {
        /// Its name or IP address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// Where sentinels say.
    Sentinel(Box<SentinelOptions>),
}

/// How the operating system checks idle sockets: the options `socket_keepalive` and `socket_keepalive_options`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keepalive {
    /// Whether it does; default no.
    pub(crate) is_on: bool,
    /// After how much silence; default the system's.
    pub(crate) idle: Option<Duration>,
    /// How long it waits for an answer; default the system's.
    pub(crate) interval: Option<Duration>,
    /// How often it asks; default the system's.
    pub(crate) retries: Option<u32>,
}

/// A password, which never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    /// Keeps a password.
    pub(crate) fn new(password: String) -> Self {
        Password(password)
    }

    /// Returns the password.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("**")
    }
}

/// What the channels of fanout exchanges begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FanoutPrefix {
    /// `/<db>.`
    Database,
    /// Nothing.
    Empty,
    /// This text, with `{db}` replaced.
    Text(String),
}

/// In which order the queues of a consumer are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueOrder {
    /// The queue just served goes to the end.
    RoundRobin,
    /// As they were consumed from.
    Priority,
    /// By name.
    Sorted,
}

/// Who must have a message before its publish is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfirmBy {
    /// The server.
    Server,
    /// So many of its replicas: `WAIT`.
    Replicas(u32),
    /// Its disk: `WAITAOF`.
    Disk,
}

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    /// In base64.
    Base64,
    /// As text where they are text.
    Utf8,
}

/// What wakes an idle consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// What fits the server and its permissions.
    Auto,
    /// A blocked `BLMOVE` per list.
    Blmove,
    /// Kombu's blocked `BRPOP`.
    Brpop,
    /// `CLIENT TRACKING`.
    Tracking,
}

/// What says which exchanges and queues there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptIn {
    /// Kombu's keys, which know no empty queue and no exchange without bindings; ours hold only what those cannot.
    Kombu,
    /// A registry of ours, in which everything that was declared is.
    Registry,
}

impl Default for RedisOptions {
    /// Returns Kombu's defaults, for database 0 of a server on this machine.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        RedisOptions {
            address: Address::Tcp { host: "127.0.0.1".into(), port: 6379 },
            db: 0,
            username: None,
            password: None,
            sep: "\u{6}\u{16}".into(),
            global_keyprefix: String::new(),
            priority_steps: vec![0, 3, 6, 9],
            fanout_prefix: FanoutPrefix::Database,
            fanout_patterns: true,
            fanout_stored: false,
            visibility_timeout: seconds(3600),
            unacked_key: "unacked".into(),
            unacked_index_key: "unacked_index".into(),
            unacked_mutex_key: "unacked_mutex".into(),
            unacked_mutex_expire: seconds(300),
            unacked_restore_limit: None,
            unacked_restore_interval: seconds(10),
            unacked_restore_throttle: 10,
            queue_order_strategy: QueueOrder::RoundRobin,
            polling_interval: None,
            client_name: None,
            health_check_interval: Some(seconds(25)),
            socket_timeout: None,
            socket_connect_timeout: None,
            keepalive: Keepalive::default(),
            tls: None,
            confirm: ConfirmBy::Server,
            priority_order: PriorityOrder::LowFirst,
            body_encoding: BodyEncoding::Base64,
            deadletter_queue: None,
            max_message_size: Self::MAX_MESSAGE_SIZE,
            max_nesting: Self::MAX_NESTING,
            lease: seconds(30),
            max_hold: None,
            wake: Wake::Auto,
            topology: KeptIn::Kombu,
        }
    }
}

impl RedisOptions {
    /// The default of `max_message_size`.
    pub(crate) const MAX_MESSAGE_SIZE: usize = 128 << 20;

    /// The default and limit of `max_nesting`: headers are read by a reader with this limit.
    pub(crate) const MAX_NESTING: usize = 512;

    /// Reads URL and options.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an unknown name, naming the nearest known one, and for a value that cannot be used;
    /// `Unsupported` for what Kombu knows and this transport does not do, and for TLS in a build without.
    pub(crate) fn new(config: &TransportConfig) -> Result<Self> {
        let mut options = RedisOptions::default();
        let mut config = config.clone();
        if config.url.scheme() == "sentinel" {
            // The URLs are the hosts of one address: what one of them says holds for all.
            let queries = config.alternates.iter().flat_map(|url| url.query());
            for (name, value) in queries {
                if !config.options.contains_key(name) {
                    config.options.insert(name.as_str(), value.as_str());
                }
            }
        }
        options.read_table(&config.options)?;
        address::read(&mut options, &config)?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests;
