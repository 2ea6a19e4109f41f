//! How a name becomes an address without blocking the hub.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use kombu_core::{Error, ErrorKind, Recovery, Result};

/// Returns the addresses to try where no name has to be looked up: IP addresses, and `localhost`, which is 127.0.0.1 as in
/// Kombu.
pub(crate) fn literal(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    host.parse::<IpAddr>().ok().map(|ip| vec![SocketAddr::new(ip, port)])
}

/// Looks a name up. Blocks: not for the hub's thread.
///
/// # Errors
///
/// `ConnectionLost`, worth a retry, when the name is unknown.
pub(crate) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let unknown = |why: String| {
        Error::new(ErrorKind::ConnectionLost, format!("the host name cannot be looked up: {why}"))
            .with("host", host)
            .recoverable_by(Recovery::Reconnect)
    };
    let found: Vec<_> = (host, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?.collect();
    if found.is_empty() { Err(unknown("it has no address".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_lookup() {
        assert_eq!(literal("::1", 1).unwrap()[0].to_string(), "[::1]:1");
        assert_eq!(literal("LOCALHOST", 2).unwrap()[0].to_string(), "127.0.0.1:2");
        assert_eq!(literal("redis.example", 3), None);
    }
}
