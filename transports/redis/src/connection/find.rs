//! Which addresses an attempt tries, in which order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kombu_core::{Error, ErrorKind, Result};

use super::{Target, address};
use crate::options::Address;

/// One address to try, and the name it was found by: certificates are for names.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) host: Arc<str>,
    pub(crate) addr: SocketAddr,
}

/// Returns the addresses to try where that needs no look at anything but the target.
pub(crate) fn at_once(target: &Target) -> Option<Vec<Candidate>> {
    let Address::Tcp { host, port } = &target.address else { return None };
    if target.tls.as_ref().is_some_and(|tls| !tls.is_loaded()) {
        return None;
    }
    let mut found = Vec::new();
    for (host, port) in with_nodes(target, host, *port) {
        found.extend(candidates(&host, address::literal(&host, port)?));
    }
    Some(found)
}

/// Finds the addresses to try: reads certificates, asks sentinels, looks names up. Blocks, in all but the look-up of names for
/// no longer than `patience`: not for the hub's thread.
///
/// # Errors
///
/// `InvalidArgument` for a certificate that cannot be read, `ConnectionLost` when nothing was found.
pub(crate) fn find(target: &Target, patience: Duration) -> Result<Vec<Candidate>> {
    if let Some(tls) = &target.tls {
        tls.load()?;
    }
    let hosts = match (&target.address, &target.sentinels) {
        (Address::Tcp { host, port }, _) => with_nodes(target, host, *port),
        (Address::Sentinel(_), Some(sentinels)) => {
            if let Some(tls) = &sentinels.tls {
                tls.load()?;
            }
            let master = sentinels.master(patience);
            if let (Err(_), Some(tls)) = (&master, &sentinels.tls) {
                // A certificate that is not accepted may have been replaced.
                tls.forget();
            }
            vec![master?]
        }
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    let mut failed = None;
    for (host, port) in hosts {
        let here = address::literal(&host, port).map_or_else(|| address::resolve(&host, port), Ok);
        match here {
            Ok(here) => found.extend(candidates(&host, here)),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if found.is_empty() => Err(error),
        _ if found.is_empty() => Err(Error::new(ErrorKind::Internal, "there is no address to try")),
        _ => Ok(found),
    }
}

/// The nodes of a cluster first, as far as they are known, then where the URL says.
fn with_nodes(target: &Target, host: &str, port: u16) -> Vec<(String, u16)> {
    let mut hosts = target.cluster.as_ref().map(|cluster| cluster.nodes()).unwrap_or_default();
    let named = (host.to_owned(), port);
    if !hosts.contains(&named) {
        hosts.push(named);
    }
    hosts
}

fn candidates(host: &str, found: Vec<SocketAddr>) -> impl Iterator<Item = Candidate> {
    let host: Arc<str> = host.into();
    found.into_iter().map(move |addr| Candidate { host: Arc::clone(&host), addr })
}
