//! Which options there are, and what is said about the others.

use kombu_core::{Error, ErrorKind, Result, Value};

use super::take;

/// Makes an error about the option `name`.
pub(super) fn invalid(name: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the option `{name}` of the redis transport {what}"))
        .with("option", name)
}

/// Makes an error about an option that is known and not done.
pub(super) fn unsupported(name: &str, value: &Value, why: &str) -> Error {
    let message = match value {
        Value::Bool(value) => format!("the redis transport does not support `{name}={value}`: {why}"),
        _ => format!("the redis transport does not support the option `{name}`: {why}"),
    };
    Error::new(ErrorKind::Unsupported, message).with("option", name)
}

/// Says whether there is an option `name`.
///
/// # Errors
///
/// `InvalidArgument`, with the nearest known name.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.starts_with("ssl_") {
        return check_tls_name(name, name);
    }
    let known = NAMES.iter().copied().chain(UNSUPPORTED.iter().map(|(name, ..)| *name));
    check(name, name, known, NAMES)
}

/// Says whether there is an option `name` about TLS; `shown` is what an error calls it.
///
/// # Errors
///
/// As for [`check_name`], and `Unsupported` for what Python's library has and this does not.
pub(super) fn check_tls_name(name: &str, shown: &str) -> Result<()> {
    if let Some((_, why)) = TLS_UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name) {
        return Err(unsupported(shown, &Value::Null, why));
    }
    check(name, shown, TLS_NAMES.iter().copied(), TLS_NAMES)
}

/// Says whether there is an option `name` about connections to sentinels.
///
/// # Errors
///
/// As for [`check_name`].
pub(super) fn check_sentinel_name(name: &str) -> Result<()> {
    let shown = format!("sentinel_kwargs.{name}");
    match name.starts_with("ssl_") {
        true => check_tls_name(name, &shown),
        false => check(name, &shown, SENTINEL_NAMES.iter().copied(), SENTINEL_NAMES),
    }
}

fn check(
    name: &str,
    shown: &str,
    mut known: impl Iterator<Item = &'static str> + Clone,
    listed: &[&str],
) -> Result<()> {
    if known.clone().any(|known| known == name) {
        return Ok(());
    }
    let hint = match take::nearest(name, &mut known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known: {}", listed.join(", ")),
    };
    let message = format!("the redis transport has no option `{shown}`; {hint}");
    Err(Error::new(ErrorKind::InvalidArgument, message).with("option", shown))
}

pub(super) const NAMES: &[&str] = &[
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
    "socket_keepalive_options",
    "retry_on_timeout",
    "max_connections",
    "reauth_check_interval",
    "ssl",
    "master_name",
    "min_other_sentinels",
    "sentinel_kwargs",
    "body_encoding",
    "deadletter_queue",
    "max_message_size",
    "max_nesting",
    "lease",
    "max_hold",
    "wake",
    "confirm",
    "priority_order",
    "fanout_stored",
    "topology",
    "virtual_host",
];

pub(super) type Supported = fn(&Value) -> bool;

/// What Kombu or our own plans know and this transport does not do: the name, which values ask for nothing, and why not.
pub(super) const UNSUPPORTED: &[(&str, Supported, &str)] = &[
    ("ack_emulation", |value| take::flag(value) == Some(true), "a message would be lost with the process that took it"),
    ("credential_provider", |_| false, "credentials come from the URL"),
    ("sentinel_fanout_compat", |value| take::flag(value) == Some(false), "Kombu before 5.4 is not spoken to"),
    ("retry", |_| false, RETRY_POLICY),
    ("retry_on_error", |_| false, RETRY_POLICY),
    ("max_retries", |_| false, RETRY_POLICY),
    ("interval_start", |_| false, RETRY_POLICY),
    ("interval_step", |_| false, RETRY_POLICY),
    ("interval_max", |_| false, RETRY_POLICY),
    ("connect_retries_timeout", |_| false, RETRY_POLICY),
];

/// What is said about TLS in a build without it.
pub(super) const NO_TLS: &str = "it is built without TLS; build `kombu` with the feature `redis-tls`";
const RETRY_POLICY: &str = "set the retry policy of the connection";

const TLS_NAMES: &[&str] = &[
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_ca_data",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_min_version",
    "ssl_password",
];

/// What Python's library knows of TLS and this transport does not do, and why not.
const TLS_UNSUPPORTED: &[(&str, &str)] = &[
    ("ssl_ciphers", "only ciphers that are safe are offered"),
    ("ssl_validate_ocsp", "revocation is not looked up"),
    ("ssl_validate_ocsp_stapled", "revocation is not looked up"),
    ("ssl_ocsp_context", "revocation is not looked up"),
    ("ssl_ocsp_expected_cert", "revocation is not looked up"),
    ("ssl_include_verify_flags", "verification follows the standard"),
    ("ssl_exclude_verify_flags", "verification follows the standard"),
];

const SENTINEL_NAMES: &[&str] = &["username", "password", "socket_timeout", "socket_connect_timeout", "ssl"];
