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
        let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '.');
        if scheme.is_empty() || !scheme.chars().all(well_formed) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the scheme of the broker URL is not a word"));
        }
        if rest.contains('#') {
            return Err(invalid(scheme, "holds a `#`; inside a password or name write it as %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A raw `@` inside a password is common, and can mean nothing else: no host has one.
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = user.split_once(':').unwrap_or((user, ""));
        let optional = |what, part: &str| match part {
            "" => Ok(None),
            part => decode(scheme, what, part).map(Some),
        };
        let (host, port) = split_port(place).map_err(|what| invalid(scheme, what))?;
        Ok(BrokerUrl {
            username: optional("user name", username)?,
            password: optional("password", password)?,
            host: parse_host(scheme, host)?,
            port,
            path: decode(scheme, "path", path)?,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            scheme: scheme.to_ascii_lowercase(),
        })
    }
}

fn decode(scheme: &str, what: &str, part: &str) -> Result<String> {
    match percent_encoding::percent_decode_str(part).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(invalid(scheme, format_args!("has a {what} that is not UTF-8 after decoding %"))),
    }
}

/// Splits `host:port`, `[address]:port`, or either without the port.
fn split_port(place: &str) -> std::result::Result<(&str, Option<u16>), &'static str> {
    let after_address = place.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = place[after_address..].find(':').map(|colon| after_address + colon) else {
        return Ok((place, None));
    };
    let (host, port) = (&place[..colon], &place[colon + 1..]);
    if host.is_empty() {
        return Err("has a port and no host");
    }
    match port {
        "" => Ok((host, None)),
        // `u16` would take a sign.
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err("has a port above 65535"),
        },
        _ => Err("has a port that is not a number"),
    }
}

fn parse_host(scheme: &str, host: &str) -> Result<Option<String>> {
    if host.is_empty() {
        return Ok(None);
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<std::net::Ipv6Addr>().ok());
        let address = address.ok_or_else(|| invalid(scheme, "has a host in brackets that is no IPv6 address"))?;
        return Ok(Some(address.to_string()));
    }
    let host = decode(scheme, "host", host)?;
    match host.chars().find(|c| c.is_whitespace() || c.is_control() || "[]<>^|\\\"".contains(*c)) {
        Some(odd) => Err(invalid(scheme, format_args!("has a host with {odd:?} in it"))),
        None => Ok(Some(host)),
    }
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
        assert_eq!(parse("redis://u:p@ss@h").password(), Some("p@ss"));
        assert_eq!((parse("amqp://h/%2F").path(), parse("amqp://h//v").path()), ("/", "/v"));
        assert_eq!(parse("redis://h?x=%26+%zz").query(), [("x".into(), "& %zz".into())]);
        assert_eq!((parse("redis://h:/1").port(), parse("REDIS://H:65535").port()), (None, Some(65535)));
        assert_eq!((parse("redis://H").scheme(), parse("redis://H").host()), ("redis", Some("H")));
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
        for bad in [
            "redis://:hu#sh@host",
            "redis://:hush@host:port/0",
            "redis//:hush@h",
            ":hush",
            "re dis://:hush@h",
            "redis://:hu/sh@host",
            "redis://:hush@[::1",
            "redis://:hush@[fe80::x]",
            "redis://:hush@ho st",
            "redis://hush@:6379",
            "redis://h%ffush@h",
        ] {
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
