//! Where the server is, from the URL.

use kombu_core::{BrokerUrl, Error, ErrorKind, Result, TransportConfig};

use super::names::{NO_TLS, invalid};
use super::{Address, Password, RedisOptions, SentinelOptions, TlsOptions};

/// The schemes of URLs this transport serves.
pub(crate) const SCHEMES: &[&str] = &["redis", "rediss", "valkey", "valkeys", "redis+socket", "unix", "sentinel"];

/// Reads address, database, credentials and encryption. The database of a Unix socket is the option `virtual_host`.
pub(super) fn read(options: &mut RedisOptions, config: &TransportConfig) -> Result<()> {
    let (url, table) = (&config.url, &config.options);
    let virtual_host = table.get("virtual_host").filter(|value| !value.is_null());
    let virtual_host = virtual_host.map(|value| match value.as_i64() {
        Some(number) => Ok(number.to_string()),
        None => value.as_str().map(str::to_owned).ok_or_else(|| invalid("virtual_host", "is neither number nor text")),
    });
    let virtual_host = virtual_host.transpose()?;
    let urls = || std::iter::once(url).chain(config.alternates.iter().filter(|_| url.scheme() == "sentinel"));
    let in_path = urls().map(BrokerUrl::path).find(|path| !path.trim_matches('/').is_empty());
    let of_path = in_path.or(virtual_host.as_deref()).unwrap_or_default();
    match url.scheme() {
        "redis" | "valkey" | "rediss" | "valkeys" => {
            options.address =
                Address::Tcp { host: url.host().unwrap_or(DEFAULT_HOST).to_owned(), port: port_or(url, DEFAULT_PORT) };
            options.db = database(of_path)?;
        }
        "sentinel" => {
            options.address = Address::Sentinel(Box::new(SentinelOptions::read(config)?));
            options.db = database(of_path)?;
        }
        "redis+socket" | "unix" => {
            let scheme = url.scheme();
            if in_path.is_none() || url.host().is_some() {
                let message = format!("the URL of a Unix socket is `{scheme}:///path/to/socket?virtual_host=0`");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            options.address = Address::Unix(format!("/{}", url.path()).into());
            options.db = database(virtual_host.as_deref().unwrap_or_default())?;
        }
        other => {
            let message =
                format!("the redis transport does not support `{other}://`; its schemes are {}", SCHEMES.join(", "));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    if !matches!(options.address, Address::Sentinel(_)) {
        for name in ["master_name", "min_other_sentinels", "sentinel_kwargs"] {
            if table.get(name).is_some_and(|value| !value.is_null()) {
                return Err(invalid(name, "is about Sentinel: the URL must begin with `sentinel://`"));
            }
        }
    }
    options.tls = TlsOptions::read(table, matches!(url.scheme(), "rediss" | "valkeys"))?;
    if options.tls.is_some() && matches!(options.address, Address::Unix(_)) {
        return Err(invalid("ssl", "asks for TLS on a Unix socket, which has none"));
    }
    let wants_tls = match &options.address {
        Address::Sentinel(sentinel) => options.tls.is_some() || sentinel.tls.is_some(),
        _ => options.tls.is_some(),
    };
    // Never in clear text what was asked to be encrypted.
    if wants_tls && !cfg!(feature = "tls") {
        return Err(without_tls(url));
    }
    let login = urls().find(|url| url.password().is_some()).unwrap_or(url);
    options.username = login.username().map(str::to_owned);
    options.password = login.password().map(|password| Password::new(password.to_owned()));
    Ok(())
}

/// The error of whoever wants TLS of a build that has none.
pub(super) fn without_tls(url: &BrokerUrl) -> Error {
    let message = format!("the redis transport cannot open `{}://` with TLS: {NO_TLS}", url.scheme());
    Error::new(ErrorKind::Unsupported, message)
}

/// Returns the port of `url`.
pub(super) fn port_or(url: &BrokerUrl, default: u16) -> u16 {
    url.port().unwrap_or(default)
}

fn database(path: &str) -> Result<u32> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Ok(0);
    }
    let number = Some(path).filter(|path| !path.starts_with('+')).and_then(|path| path.parse().ok());
    number.ok_or_else(|| {
        let message =
            format!("`{path}` is not the number of a Redis database; the URL looks like `redis://host:6379/0`");
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

/// The host of a URL without one.
pub(super) const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 6379;
