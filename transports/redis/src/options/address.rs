//! Where the server is, from the URL.

use kombu_core::{BrokerUrl, Error, ErrorKind, FieldTable, Result};

use super::{Address, NO_SENTINEL, NO_TLS, Password, RedisOptions, invalid};

/// Reads address, database and credentials of `url`. The database of a Unix socket is the option `virtual_host`.
pub(super) fn read(options: &mut RedisOptions, url: &BrokerUrl, table: &FieldTable) -> Result<()> {
    let virtual_host = table.get("virtual_host").map(|value| match value.as_i64() {
        Some(number) => Ok(number.to_string()),
        None => value.as_str().map(str::to_owned).ok_or_else(|| invalid("virtual_host", "is neither number nor text")),
    });
    let virtual_host = virtual_host.transpose()?;
    match url.scheme() {
        "redis" => {
            options.address = Address::Tcp {
                host: url.host().unwrap_or(DEFAULT_HOST).to_owned(),
                port: url.port().unwrap_or(DEFAULT_PORT),
            };
            let path = Some(url.path()).filter(|path| !path.trim_matches('/').is_empty());
            options.db = database(path.or(virtual_host.as_deref()).unwrap_or_default())?;
        }
        "redis+socket" => {
            if url.path().is_empty() || url.host().is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "the URL of a Unix socket is `redis+socket:///path/to/socket?virtual_host=0`",
                ));
            }
            options.address = Address::Unix(format!("/{}", url.path()).into());
            options.db = database(virtual_host.as_deref().unwrap_or_default())?;
        }
        "sentinel" => return Err(unsupported(url, NO_SENTINEL)),
        // Never in clear text what was asked to be encrypted.
        "rediss" => return Err(unsupported(url, NO_TLS)),
        _ => return Err(unsupported(url, "its schemes are `redis` and `redis+socket`")),
    }
    options.username = url.username().map(str::to_owned);
    options.password = url.password().map(|password| Password(password.to_owned()));
    Ok(())
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

fn unsupported(url: &BrokerUrl, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the redis transport does not support `{}://`: {why}", url.scheme()))
}

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 6379;
