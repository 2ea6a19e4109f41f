//! Transport options, by Kombu's names.

mod address;
mod take;

use std::path::PathBuf;
use std::time::Duration;

use kombu_core::{Error, ErrorKind, FieldTable, Result, TransportConfig, Value};

use self::take::Taker;

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
    /// How long a `BRPOP` waits, for `wake = brpop`; default 1 second.
    pub(crate) polling_interval: Option<Duration>,
    /// The name given to the server with `CLIENT SETNAME`; default none.
    pub(crate) client_name: Option<String>,
    /// After how much silence a socket is checked with `PING`; default 25 seconds, `None` never.
    pub(crate) health_check_interval: Option<Duration>,
    /// How long an answer may take; default no limit.
    pub(crate) socket_timeout: Option<Duration>,
    /// How long connecting may take; default no limit of its own.
    pub(crate) socket_connect_timeout: Option<Duration>,
    /// Whether the operating system checks idle sockets; default no.
    pub(crate) socket_keepalive: bool,
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
    /// What wakes an idle consumer; default chosen by what the server allows. Ours, not Kombu's.
    pub(crate) wake: Wake,
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
}

/// A password, which never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
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
            socket_keepalive: false,
            body_encoding: BodyEncoding::Base64,
            deadletter_queue: None,
            max_message_size: Self::MAX_MESSAGE_SIZE,
            max_nesting: Self::MAX_NESTING,
            lease: seconds(30),
            wake: Wake::Auto,
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
    /// `Unsupported` for what Kombu knows and this transport does not do yet, `rediss://` among it.
    pub(crate) fn new(config: &TransportConfig) -> Result<Self> {
        let mut options = RedisOptions::default();
        options.read_table(&config.options)?;
        address::read(&mut options, &config.url, &config.options)?;
        Ok(options)
    }

    fn read_table(&mut self, table: &FieldTable) -> Result<()> {
        for name in table.keys() {
            check_name(name)?;
        }
        let options = &Taker(table);
        options.text("sep", &mut self.sep)?;
        if self.sep.is_empty() {
            return Err(invalid("sep", "is empty"));
        }
        options.text("global_keyprefix", &mut self.global_keyprefix)?;
        if let Some(steps) = options.steps("priority_steps")? {
            self.priority_steps = steps;
        }
        if let Some(prefix) = fanout_prefix(options)? {
            self.fanout_prefix = prefix;
        }
        options.flag("fanout_patterns", &mut self.fanout_patterns)?;
        options.seconds("visibility_timeout", &mut self.visibility_timeout)?;
        options.text("unacked_key", &mut self.unacked_key)?;
        options.text("unacked_index_key", &mut self.unacked_index_key)?;
        options.text("unacked_mutex_key", &mut self.unacked_mutex_key)?;
        options.seconds("unacked_mutex_expire", &mut self.unacked_mutex_expire)?;
        self.unacked_restore_limit = options.number("unacked_restore_limit")?.or(self.unacked_restore_limit);
        options.interval("unacked_restore_interval", &mut self.unacked_restore_interval)?;
        if let Some(throttle) = options.number::<u32>("unacked_restore_throttle")? {
            self.unacked_restore_throttle = throttle.max(1);
        }
        options.choice("queue_order_strategy", QUEUE_ORDERS, &mut self.queue_order_strategy)?;
        options.optional_seconds("polling_interval", &mut self.polling_interval)?;
        options.optional_text("client_name", &mut self.client_name)?;
        options.optional_seconds("health_check_interval", &mut self.health_check_interval)?;
        options.optional_seconds("socket_timeout", &mut self.socket_timeout)?;
        options.optional_seconds("socket_connect_timeout", &mut self.socket_connect_timeout)?;
        options.flag("socket_keepalive", &mut self.socket_keepalive)?;
        options.choice("body_encoding", BODY_ENCODINGS, &mut self.body_encoding)?;
        options.optional_text("deadletter_queue", &mut self.deadletter_queue)?;
        if let Some(size) = options.number::<usize>("max_message_size")? {
            self.max_message_size = size.max(1);
        }
        if let Some(depth) = options.number::<usize>("max_nesting")? {
            self.max_nesting = Some(depth)
                .filter(|depth| (MIN_NESTING..=Self::MAX_NESTING).contains(depth))
                .ok_or_else(|| invalid("max_nesting", format_args!("is not {MIN_NESTING} to {}", Self::MAX_NESTING)))?;
        }
        options.seconds("lease", &mut self.lease)?;
        options.choice("wake", WAKES, &mut self.wake)?;
        for (name, supported, why) in UNSUPPORTED {
            if let Some(value) = table.get(name).filter(|value| !value.is_null() && !supported(value)) {
                return Err(unsupported(name, value, why));
            }
        }
        Ok(())
    }
}

fn fanout_prefix(options: &Taker<'_>) -> Result<Option<FanoutPrefix>> {
    const NAME: &str = "fanout_prefix";
    let mut text = None;
    if let Ok(Some(flag)) = options.optional_flag(NAME) {
        return Ok(Some(if flag { FanoutPrefix::Database } else { FanoutPrefix::Empty }));
    }
    options.optional_text(NAME, &mut text)?;
    match text {
        Some(text) if text.starts_with('/') && text.find('.') == Some(text.len() - 1) => {
            Ok(Some(FanoutPrefix::Text(text)))
        }
        Some(_) => {
            Err(invalid(NAME, "must be true, false, or a text that starts with `/` and has its only `.` at the end"))
        }
        None => Ok(None),
    }
}

/// Makes an error about the option `name`.
fn invalid(name: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the option `{name}` of the redis transport {what}"))
        .with("option", name)
}

fn unsupported(name: &str, value: &Value, why: &str) -> Error {
    let message = match value {
        Value::Bool(value) => format!("the redis transport does not support `{name}={value}`: {why}"),
        _ => format!("the redis transport does not support the option `{name}`: {why}"),
    };
    Error::new(ErrorKind::Unsupported, message).with("option", name)
}

fn check_name(name: &str) -> Result<()> {
    let known = || NAMES.iter().copied().chain(UNSUPPORTED.iter().map(|(name, ..)| *name));
    if known().any(|known| known == name) {
        return Ok(());
    }
    // Kombu would pass these on to its TLS library.
    if name.starts_with("ssl_") {
        return Err(unsupported(name, &Value::Null, NO_TLS));
    }
    let hint = match take::nearest(name, known()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known: {}", NAMES.join(", ")),
    };
    let message = format!("the redis transport has no option `{name}`; {hint}");
    Err(Error::new(ErrorKind::InvalidArgument, message).with("option", name))
}

const NAMES: &[&str] = &[
    "sep",
    "global_keyprefix",
    "priority_steps",
    "fanout_prefix",
    "fanout_patterns",
    "visibility_timeout",
    "unacked_key",
    "unacked_index_key",
    "unacked_mutex_key",
    "unacked_mutex_expire",
    "unacked_restore_limit",
    "unacked_restore_interval",
    "unacked_restore_throttle",
    "queue_order_strategy",
    "polling_interval",
    "client_name",
    "health_check_interval",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "body_encoding",
    "deadletter_queue",
    "max_message_size",
    "max_nesting",
    "lease",
    "wake",
    "virtual_host",
];

type Supported = fn(&Value) -> bool;

/// What Kombu or our own plans know and this transport does not do: the name, which values ask for nothing, and why not.
const UNSUPPORTED: &[(&str, Supported, &str)] = &[
    ("ack_emulation", |value| take::flag(value) == Some(true), "every consumed message is kept until it is settled"),
    ("retry_on_timeout", |value| take::flag(value) == Some(false), "an operation that timed out is not repeated"),
    ("socket_keepalive_options", |_| false, "set `socket_keepalive`; the system's own intervals apply"),
    ("max_connections", |_| false, "there is no connection pool to limit"),
    ("reauth_check_interval", |_| false, "credentials do not change while connected"),
    ("credential_provider", |_| false, "credentials come from the URL"),
    ("ssl", |value| take::flag(value) == Some(false), NO_TLS),
    ("topology", |value| value.as_str() == Some("kombu"), "there is only Kombu's own topology"),
    ("confirm", |_| false, "a publish is confirmed when the server has answered it"),
    ("max_hold", |_| false, "a message may be held for any time"),
    ("master_name", |_| false, NO_SENTINEL),
    ("min_other_sentinels", |_| false, NO_SENTINEL),
    ("sentinel_kwargs", |_| false, NO_SENTINEL),
    ("sentinel_fanout_compat", |_| false, NO_SENTINEL),
    ("max_retries", |_| false, RETRY_POLICY),
    ("interval_start", |_| false, RETRY_POLICY),
    ("interval_step", |_| false, RETRY_POLICY),
    ("interval_max", |_| false, RETRY_POLICY),
    ("connect_retries_timeout", |_| false, RETRY_POLICY),
];

const NO_TLS: &str = "it is built without TLS";
const NO_SENTINEL: &str = "Sentinel is not supported";
const RETRY_POLICY: &str = "set the retry policy of the connection";

const QUEUE_ORDERS: &[(&str, QueueOrder)] =
    &[("round_robin", QueueOrder::RoundRobin), ("priority", QueueOrder::Priority), ("sorted", QueueOrder::Sorted)];
const BODY_ENCODINGS: &[(&str, BodyEncoding)] = &[("base64", BodyEncoding::Base64), ("utf-8", BodyEncoding::Utf8)];
const WAKES: &[(&str, Wake)] =
    &[("auto", Wake::Auto), ("blmove", Wake::Blmove), ("brpop", Wake::Brpop), ("tracking", Wake::Tracking)];

/// An envelope with properties and delivery info, and something in the headers.
const MIN_NESTING: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kombu_core::SystemClock;

    use super::*;

    fn read(url: &str, table: FieldTable) -> Result<RedisOptions> {
        let url: kombu_core::BrokerUrl = url.parse()?;
        let mut options: FieldTable = url.query().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        options.extend(table);
        RedisOptions::new(&TransportConfig { url, options, clock: Arc::new(SystemClock) })
    }

    fn read_one(name: &str, value: impl Into<Value>) -> Result<RedisOptions> {
        read("redis://", FieldTable::from([(name, value.into())]))
    }

    #[test]
    fn values_come_as_numbers_or_text() {
        for value in [Value::from(2.5), Value::from("2.5")] {
            assert_eq!(read_one("visibility_timeout", value).unwrap().visibility_timeout, Duration::from_millis(2500));
        }
        for value in [Value::from([0, 5]), Value::from("0,5"), Value::from("[0, 5]")] {
            assert_eq!(read_one("priority_steps", value).unwrap().priority_steps, [0, 5]);
        }
        let options = read("redis://?client_name=me&fanout_patterns=false&socket_timeout=3&lease=1", FieldTable::new());
        let options = options.unwrap();
        assert_eq!(options.client_name.as_deref(), Some("me"));
        assert!(!options.fanout_patterns);
        assert_eq!((options.socket_timeout, options.lease), (Some(Duration::from_secs(3)), Duration::from_secs(1)));
    }

    #[test]
    fn kombus_odd_values_mean_what_they_do_there() {
        assert_eq!(read_one("unacked_restore_interval", -1).unwrap().unacked_restore_interval, Duration::from_secs(10));
        assert_eq!(read_one("unacked_restore_throttle", 0).unwrap().unacked_restore_throttle, 1);
        assert_eq!(read_one("health_check_interval", 0).unwrap().health_check_interval, None);
        assert_eq!(read_one("socket_timeout", Value::Null).unwrap().socket_timeout, None);
        assert_eq!(read_one("fanout_prefix", false).unwrap().fanout_prefix, FanoutPrefix::Empty);
        assert_eq!(read_one("fanout_prefix", "true").unwrap().fanout_prefix, FanoutPrefix::Database);
        assert_eq!(read_one("fanout_prefix", "/mine.").unwrap().fanout_prefix, FanoutPrefix::Text("/mine.".into()));
        assert!(read_one("ack_emulation", true).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value, words) in [
            ("sep", Value::from(""), "`sep`"),
            ("sep", Value::from(5), "int"),
            ("priority_steps", Value::from([3, 0]), "ascending"),
            ("priority_steps", Value::from(Vec::<Value>::new()), "empty"),
            ("priority_steps", Value::from([0, 10]), "0 to 9"),
            ("visibility_timeout", Value::from(-1), "negative"),
            ("visibility_timeout", Value::from("soon"), "seconds"),
            ("fanout_prefix", Value::from("mine"), "starts with `/`"),
            ("fanout_prefix", Value::from("/a.b."), "only `.`"),
            ("queue_order_strategy", Value::from("random"), "round_robin, priority, sorted"),
            ("max_nesting", Value::from(5000), "512"),
            ("unacked_restore_limit", Value::from(-3), "unacked_restore_limit"),
        ] {
            let error = read_one(name, value).unwrap_err();
            assert_eq!((error.kind(), error.context("option")), (ErrorKind::InvalidArgument, Some(name)));
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let error = read_one("visibilty_timeout", 5).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("did you mean `visibility_timeout`?"), "{error}");
        let error = read_one("qwertyuiop", 5).unwrap_err();
        assert!(error.to_string().contains("known: sep, "), "{error}");
        assert!(read("redis://h?db=1", FieldTable::new()).is_err());
    }

    #[test]
    fn what_is_known_and_not_done_is_unsupported() {
        for (name, value) in [
            ("ack_emulation", Value::from(false)),
            ("retry_on_timeout", Value::from(true)),
            ("max_connections", Value::from(5)),
            ("master_name", Value::from("m")),
            ("ssl", Value::from(true)),
            ("ssl_cert_reqs", Value::from("none")),
            ("topology", Value::from("registry")),
        ] {
            let error = read_one(name, value).unwrap_err();
            assert_eq!((error.kind(), error.context("option")), (ErrorKind::Unsupported, Some(name)), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn urls_say_where() {
        let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
        for (url, address, db) in [
            ("redis://", tcp("127.0.0.1", 6379), 0),
            ("redis://h/", tcp("h", 6379), 0),
            ("redis://h//", tcp("h", 6379), 0),
            ("redis://h:7000/3", tcp("h", 7000), 3),
            ("redis://h//3", tcp("h", 6379), 3),
            ("redis://[::1]:1/2", tcp("::1", 1), 2),
            ("redis+socket:///run/r.sock", Address::Unix("/run/r.sock".into()), 0),
            ("redis+socket:///run/r.sock?virtual_host=2", Address::Unix("/run/r.sock".into()), 2),
            ("redis+socket:///run/r.sock?virtual_host=/2", Address::Unix("/run/r.sock".into()), 2),
        ] {
            let options = read(url, FieldTable::new()).unwrap();
            assert_eq!((options.address, options.db), (address, db), "{url}");
        }
        let options = read("redis://me:s%40crt@h", FieldTable::new()).unwrap();
        assert_eq!(options.username.as_deref(), Some("me"));
        assert_eq!(options.password.as_ref().map(Password::reveal), Some("s@crt"));
        assert!(!format!("{options:?}").contains("s@crt"));
    }

    #[test]
    fn urls_that_lead_nowhere_are_refused() {
        for (url, kind, words) in [
            ("redis://h/abc", ErrorKind::InvalidArgument, "`abc`"),
            ("redis://h/-1", ErrorKind::InvalidArgument, "`-1`"),
            ("redis+socket://", ErrorKind::InvalidArgument, "redis+socket:///"),
            ("redis+socket://h/x", ErrorKind::InvalidArgument, "redis+socket:///"),
            ("rediss://h", ErrorKind::Unsupported, "without TLS"),
            ("rediss://h?ssl_cert_reqs=none", ErrorKind::Unsupported, "without TLS"),
            ("sentinel://h", ErrorKind::Unsupported, "Sentinel"),
        ] {
            let error = read(url, FieldTable::new()).unwrap_err();
            assert_eq!(error.kind(), kind, "{url}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
