//! Transport options, by Kombu's names.

mod take;
mod tls;

use kombu_core::{BrokerUrl, Error, ErrorKind, Result, TransportConfig};

use self::take::Taker;
pub(crate) use self::tls::TlsOptions;

/// The options of this transport, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct AmqpOptions {
    /// The broker's name or address; default `localhost`.
    pub(crate) host: String,
    /// Its port; default 5672, with TLS 5671.
    pub(crate) port: u16,
    /// The virtual host; default `/`.
    pub(crate) virtual_host: String,
    /// The user; default `guest`.
    pub(crate) username: String,
    /// The password; default `guest`.
    pub(crate) password: Password,
    /// How to log in; default `PLAIN`.
    pub(crate) login_method: LoginMethod,
    /// After how many seconds without a sign of life the connection is suspected, after twice as many given up; default what
    /// the broker proposes, 60 for RabbitMQ.
    pub(crate) heartbeat: Option<u16>,
    /// The largest frame in bytes; default 131072. The buffers of a busy connection grow to 64 of them.
    pub(crate) frame_max: u32,
    /// The most channels of a connection; default what the broker allows.
    pub(crate) channel_max: Option<u16>,
    /// What RabbitMQ's tools show; default none. Ours, not Kombu's.
    pub(crate) connection_name: Option<String>,
    /// Whether one broker connection serves consuming and publishing; default no. Ours, not Kombu's.
    pub(crate) single_connection: bool,
    /// How to encrypt; `None` is clear text.
    pub(crate) tls: Option<TlsOptions>,
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginMethod {
    Plain,
    AmqPlain,
    /// By the client's certificate.
    External,
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

impl AmqpOptions {
    /// Reads URL and options.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an unknown name, naming the nearest known one, and for a value that cannot be used; `Unsupported`
    /// for what this transport or this build of it does not do, TLS among it.
    pub(crate) fn new(config: &TransportConfig) -> Result<Self> {
        Self::read(config, cfg!(feature = "tls"))
    }

    fn read(config: &TransportConfig, has_tls: bool) -> Result<Self> {
        let (url, table) = (&config.url, &config.options);
        for name in table.keys() {
            check_name(name)?;
        }
        let options = &Taker(table);
        let tls = tls::read(url.scheme() == "amqps", options, has_tls)?;
        let mut read = AmqpOptions {
            host: url.host().unwrap_or("localhost").to_owned(),
            port: url.port().unwrap_or(if tls.is_some() { 5671 } else { 5672 }),
            virtual_host: "/".to_owned(),
            username: url.username().unwrap_or("guest").to_owned(),
            password: Password(url.password().unwrap_or("guest").to_owned()),
            login_method: LoginMethod::Plain,
            heartbeat: options.number::<u16>("heartbeat")?.filter(|seconds| *seconds > 0),
            frame_max: options.number::<u32>("frame_max")?.unwrap_or(FRAME_MAX),
            channel_max: options.number::<u16>("channel_max")?.filter(|most| *most > 0),
            connection_name: options.optional_text("connection_name")?,
            single_connection: options.flag("single_connection")?.unwrap_or(false),
            tls,
        };
        if !(FRAME_MIN..=FRAME_LIMIT).contains(&read.frame_max) {
            return Err(invalid("frame_max", format_args!("is not {FRAME_MIN} to {FRAME_LIMIT} bytes")));
        }
        if let Some(host) = virtual_host(url, options)? {
            read.virtual_host = host;
        }
        if let Some(method) = options.optional_text("login_method")? {
            read.login_method = login_method(&method)?;
        }
        if options.flag("confirm_publish")? == Some(false) {
            return Err(unsupported("confirm_publish", "every publish is confirmed; leave the option out"));
        }
        Ok(read)
    }
}

/// The URL's virtual host wins, as in Kombu.
fn virtual_host(url: &BrokerUrl, options: &Taker<'_>) -> Result<Option<String>> {
    let named = options.optional_text("virtual_host")?;
    Ok(if url.path().is_empty() { named } else { Some(url.path().to_owned()) })
}

fn login_method(text: &str) -> Result<LoginMethod> {
    match text.to_ascii_uppercase().as_str() {
        "PLAIN" => Ok(LoginMethod::Plain),
        "AMQPLAIN" => Ok(LoginMethod::AmqPlain),
        "EXTERNAL" => Ok(LoginMethod::External),
        _ => Err(invalid("login_method", format_args!("is `{text}`; known: PLAIN, AMQPLAIN, EXTERNAL"))),
    }
}

/// Makes an error about the option `name`.
fn invalid(name: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the option `{name}` of the amqp transport {what}"))
        .with("option", name)
}

fn unsupported(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the amqp transport does not support this `{name}`: {why}"))
        .with("option", name)
}

fn check_name(name: &str) -> Result<()> {
    if NAMES.contains(&name) || tls::NAMES.contains(&name) {
        return Ok(());
    }
    let known: Vec<&str> = NAMES.iter().chain(tls::NAMES).copied().collect();
    let hint = match kombu_core::registry::nearest(name, &known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    let message = format!("the amqp transport has no option `{name}`; {hint}");
    Err(Error::new(ErrorKind::InvalidArgument, message).with("option", name))
}

const NAMES: &[&str] = &[
    "heartbeat",
    "frame_max",
    "channel_max",
    "login_method",
    "virtual_host",
    "confirm_publish",
    "connection_name",
    "single_connection",
];

/// RabbitMQ's own and other clients': all headers of a message go into one frame, and what a publisher with larger frames sent
/// could not be read. Naming it at all keeps an idle connection small: lapin's buffers, 32 frames for each direction, are then
/// made at once, and take memory only as they are filled.
const FRAME_MAX: u32 = 131_072;
/// AMQP's smallest `frame_max`.
const FRAME_MIN: u32 = 4_096;
const FRAME_LIMIT: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kombu_core::{FieldTable, SystemClock};

    use super::*;

    fn read(url: &str) -> Result<AmqpOptions> {
        read_in_a_build(url, true)
    }

    fn read_in_a_build(url: &str, has_tls: bool) -> Result<AmqpOptions> {
        let url: BrokerUrl = url.parse()?;
        let options: FieldTable = url.query().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let config = TransportConfig { url, alternates: Vec::new(), options, clock: Arc::new(SystemClock) };
        AmqpOptions::read(&config, has_tls)
    }

    #[test]
    fn urls_mean_what_they_mean_to_kombu() {
        let plain = read("amqp://").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.virtual_host.as_str()), ("localhost", 5672, "/"));
        assert_eq!((plain.username.as_str(), plain.password.reveal()), ("guest", "guest"));
        for (url, vhost) in [
            ("amqp://h", "/"),
            ("amqp://h/", "/"),
            ("amqp://h//", "/"),
            ("amqp://h/%2F", "/"),
            ("amqp://h/foo", "foo"),
            ("amqp://h//foo", "/foo"),
            ("amqp://h/%2Ffoo", "/foo"),
            ("amqp://h/v/h", "v/h"),
            ("amqp://h/v%2Fh", "v/h"),
            ("amqp://h/?virtual_host=other", "other"),
            ("amqp://h/mine?virtual_host=other", "mine"),
        ] {
            assert_eq!(read(url).unwrap().virtual_host, vhost, "{url}");
        }
        let full = read("amqp://me:p%40ss@[::1]:5673/x?heartbeat=7&login_method=AMQPLAIN").unwrap();
        assert_eq!((full.host.as_str(), full.port, full.heartbeat), ("::1", 5673, Some(7)));
        assert_eq!((full.password.reveal(), full.login_method), ("p@ss", LoginMethod::AmqPlain));
        assert!(!format!("{full:?}").contains("p@ss"));
    }

    #[test]
    fn a_wrong_option_is_named_with_the_nearest() {
        let error = read("amqp://h/?hartbeat=1").unwrap_err();
        assert!(error.to_string().contains("`heartbeat`"), "{error}");
        for url in ["amqp://h/?heartbeat=soon", "amqp://h/?frame_max=1", "amqp://h/?login_method=GUESS"] {
            assert_eq!(read(url).unwrap_err().kind(), ErrorKind::InvalidArgument, "{url}");
        }
        assert_eq!(read("amqp://h/?confirm_publish=false").unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn without_tls_it_is_refused_and_never_clear_text() {
        for url in ["amqps://h", "amqp://h/?ssl=true", "amqp://h/?ca_certs=/x"] {
            let error = read_in_a_build(url, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
            assert!(error.to_string().contains("feature `amqp-tls`"), "{error}");
        }
    }

    #[test]
    fn tls_is_read() {
        let options = read("amqps://h/?ca_certs=/ca&ssl_certfile=/c&keyfile=/k").unwrap();
        let tls = options.tls.unwrap();
        assert_eq!((options.port, tls.ca_certs.as_deref()), (5671, Some("/ca")));
        assert_eq!((tls.certfile.as_deref(), tls.keyfile.as_deref()), (Some("/c"), Some("/k")));
        assert_eq!(read("amqps://h/?cert_reqs=none").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(read("amqps://h/?certfile=/c").unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
