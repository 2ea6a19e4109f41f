//! Broker URLs.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// Where a broker is, and as whom to connect: `scheme://user:password@host:port/path?option=value`.
///
/// All parts are percent-decoded. `Display` and `Debug` mask the password.
///
/// ```
/// use kombu_core::BrokerUrl;
///
/// let url: BrokerUrl = "redis://me:s%2Fecret@example.org:6380/3".parse()?;
/// assert_eq!(url.host(), Some("example.org"));
/// assert_eq!(url.password(), Some("s/ecret"));
/// assert_eq!(url.path(), "3");
/// assert_eq!(url.to_string(), "redis://me:**@example.org:6380/3");
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    scheme: String,
    username: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: String,
    query: Vec<(String, String)>,
}

impl BrokerUrl {
    /// Returns the scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the user name.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Returns the password.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Returns the host name or address; an IPv6 address without its brackets.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the path without its first slash: virtual host, database or file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the options of the query, in order.
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// Splits a `;`-separated list of URLs, as Kombu takes for failover.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for the first part that is no URL, or when there is none.
    pub fn parse_list(text: &str) -> Result<Vec<BrokerUrl>> {
        let urls = text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<Vec<_>>>()?;
        if urls.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the broker URL is empty; for example `memory://`"));
        }
        Ok(urls)
    }
}

/// Stands for the host where there is none.
const NO_HOST: &str = "no-host";

/// An error about a URL. The text of the URL is not part of it, for it may hold a password in an unexpected place.
fn invalid(scheme: &str, what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the broker URL `{scheme}://…` {what}"))
}

impl FromStr for BrokerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the broker URL has no scheme; it looks like `redis://host:6379/0` or `memory://`",
            ));
        };
        let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_');
        if scheme.is_empty() || !scheme.chars().all(well_formed) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the scheme of the broker URL is not a word"));
        }
        // A socket's URL has a user but no host, `redis+socket://user:password@/path`, which the URL standard has no form for.
        let authority_end = scheme.len() + 3 + rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = text.split_at(authority_end);
        let has_no_host = authority.ends_with('@');
        let standard = if has_no_host { format!("{authority}{NO_HOST}{tail}") } else { text.to_owned() };
        let parsed =
            url::Url::parse(&standard).map_err(|error| invalid(scheme, format_args!("cannot be read: {error}")))?;
        if parsed.fragment().is_some() {
            return Err(invalid(scheme, "holds a `#`; inside a password or name write it as %23"));
        }
        let decode = |what: &str, part: &str| {
            percent_decode(part)
                .ok_or_else(|| invalid(scheme, format_args!("has a {what} that is not UTF-8 after decoding %")))
        };
        let optional = |what: &str, part: Option<&str>| match part {
            Some(part) if !part.is_empty() => decode(what, part).map(Some),
            _ => Ok(None),
        };
        let host = match parsed.host() {
            _ if has_no_host => None,
            Some(url::Host::Ipv6(address)) => Some(address.to_string()),
            _ => optional("host", parsed.host_str())?,
        };
        let path = parsed.path();
        Ok(BrokerUrl {
            scheme: scheme.to_ascii_lowercase(),
            username: optional("user name", Some(parsed.username()))?,
            password: optional("password", parsed.password())?,
            host,
            port: parsed.port(),
            path: decode("path", path.strip_prefix('/').unwrap_or(path))?,
            query: parsed.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let pair = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.filter(|_| bytes[index] == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if self.username.is_some() || self.password.is_some() {
            f.write_str(self.username.as_deref().unwrap_or(""))?;
            if self.password.is_some() {
                f.write_str(":**")?;
            }
            f.write_str("@")?;
        }
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]")?,
            Some(host) => f.write_str(host)?,
            None => {}
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BrokerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn parts_are_found_and_decoded() {
        let url = parse("redis://user:p%40ss@[::1]:6380/7?a=1&b=x%20y");
        assert_eq!((url.username(), url.password()), (Some("user"), Some("p@ss")));
        assert_eq!((url.host(), url.port(), url.path()), (Some("::1"), Some(6380), "7"));
        assert_eq!(url.query(), [("a".into(), "1".into()), ("b".into(), "x y".into())]);
        assert_eq!(parse("memory://").host(), None);
        assert_eq!(parse("redis+socket:///tmp/r.sock").path(), "tmp/r.sock");
        assert_eq!(parse("redis://:secret@h").username(), None);
        let socket = parse("redis+socket://me:s@/tmp/r.sock?virtual_host=2");
        assert_eq!((socket.username(), socket.password(), socket.host()), (Some("me"), Some("s"), None));
        assert_eq!((socket.path(), socket.to_string().as_str()), ("tmp/r.sock", "redis+socket://me:**@/tmp/r.sock"));
    }

    #[test]
    fn a_password_never_shows() {
        for text in ["redis://u:hush@h/0", "redis://:hush@h:1/0?x=1", "amqp://u:hush@[::1]//v"] {
            let url = parse(text);
            assert!(!format!("{url} {url:?}").contains("hush"), "{url}");
        }
        for bad in ["redis://:hu#sh@host", "redis://:hush@host:port/0", "redis//:hush@h", ":hush", "re dis://:hush@h"] {
            let error = bad.parse::<BrokerUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(!format!("{error} {error:?}").contains("hu"), "{error}");
        }
    }

    #[test]
    fn a_list_is_split() {
        assert_eq!(BrokerUrl::parse_list("redis://a; redis://b;").unwrap().len(), 2);
        assert!(BrokerUrl::parse_list(" ; ").is_err());
    }
}
