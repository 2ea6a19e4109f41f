//! Kombu's options of Redis Sentinel.

use std::time::Duration;

use kombu_core::{Error, ErrorKind, FieldTable, Result, TransportConfig, Value};

use super::address::{DEFAULT_HOST, port_or};
use super::names::{self, invalid};
use super::take::Taker;
use super::{Password, TlsOptions};

/// Where the sentinels are, and what to ask them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentinelOptions {
    /// The sentinels: all hosts of a list of URLs.
    pub(crate) hosts: Vec<(String, u16)>,
    /// The name the sentinels know the master by.
    pub(crate) master_name: String,
    /// How many other sentinels one must know of for its word to count; default 0.
    pub(crate) min_other_sentinels: u32,
    /// The user of the sentinels; default none. That of the URL is the master's.
    pub(crate) username: Option<String>,
    /// The password of the sentinels; default none.
    pub(crate) password: Option<Password>,
    /// How connections to the sentinels are encrypted; default not.
    pub(crate) tls: Option<TlsOptions>,
    /// How long one sentinel may take; default its share of the connect time-out.
    pub(crate) timeout: Option<Duration>,
}

impl SentinelOptions {
    /// Reads the sentinels of the URL and its alternates, and the options about them.
    pub(super) fn read(config: &TransportConfig) -> Result<Self> {
        let hosts = std::iter::once(&config.url).chain(&config.alternates);
        let hosts = hosts.map(|url| (url.host().unwrap_or(DEFAULT_HOST).to_owned(), port_or(url, DEFAULT_PORT)));
        let mut master_name = None;
        let options = &Taker(&config.options);
        options.optional_text("master_name", &mut master_name)?;
        let master_name = master_name.ok_or_else(|| {
            let message =
                "a `sentinel://` URL needs the option `master_name`: the name the sentinels know the master by";
            Error::new(ErrorKind::InvalidArgument, message).with("option", "master_name")
        })?;
        let empty = FieldTable::new();
        let kwargs = match config.options.get("sentinel_kwargs").filter(|value| !value.is_null()) {
            None => &empty,
            Some(Value::Map(table)) => table,
            Some(_) => return Err(invalid("sentinel_kwargs", "is no table of options")),
        };
        for name in kwargs.keys() {
            names::check_sentinel_name(name)?;
        }
        let mut sentinel = SentinelOptions {
            hosts: hosts.collect(),
            master_name,
            min_other_sentinels: options.number("min_other_sentinels")?.unwrap_or(0),
            username: None,
            password: None,
            tls: TlsOptions::read(kwargs, false)?,
            timeout: None,
        };
        let kwargs = &Taker(kwargs);
        kwargs.optional_text("username", &mut sentinel.username)?;
        let mut password = String::new();
        kwargs.secret("password", &mut password)?;
        sentinel.password = Some(password).filter(|password| !password.is_empty()).map(Password::new);
        kwargs.optional_seconds("socket_timeout", &mut sentinel.timeout)?;
        kwargs.optional_seconds("socket_connect_timeout", &mut sentinel.timeout)?;
        Ok(sentinel)
    }
}

const DEFAULT_PORT: u16 = 26379;
