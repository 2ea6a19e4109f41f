//! Reaching the broker: name, address, socket, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use futures_util::future::{Either, select};
use kombu_core::hub::HubHandle;
use kombu_core::{Error, ErrorKind, Recovery, Result, Scope};

use super::error::lost;
use super::runtime::blocking;
use super::socket::{Killer, Socket};
use super::stream::WireStream;
use crate::options::AmqpOptions;

/// Connects to the first address of the broker that answers.
///
/// # Errors
///
/// `ConnectionLost` when none does, `AccessRefused` when its certificate is not trusted.
pub(super) async fn dial(options: &AmqpOptions, handle: &HubHandle, killer: &Killer) -> Result<WireStream> {
    let reaching = std::pin::pin!(reach(options, handle, killer));
    match select(reaching, std::pin::pin!(killer.killed())).await {
        Either::Left((reached, _)) => reached,
        Either::Right(_) => Err(lost("the attempt was given up".to_owned())),
    }
}

async fn reach(options: &AmqpOptions, handle: &HubHandle, killer: &Killer) -> Result<WireStream> {
    let mut last = lost(format!("the name {} has no address", options.host));
    for address in resolve(&options.host, options.port).await? {
        match Socket::connect(handle.clone(), address, killer.clone()).await {
            Ok(socket) => return secure(options, socket).await,
            Err(error) => last = lost(format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// Finds the addresses of `host`; a name is looked up on a thread of its own, for that blocks.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let failed = |error: io::Error| lost(format!("the name {host} cannot be looked up: {error}"));
    let looked_up = blocking("kombu-amqp-dns", move || {
        (name.as_str(), port).to_socket_addrs().map(|addresses| addresses.collect::<Vec<_>>())
    });
    match looked_up.map_err(failed)?.await {
        Some(addresses) => addresses.map_err(failed),
        None => Err(lost(format!("the name {host} cannot be looked up"))),
    }
}

#[cfg(feature = "tls")]
async fn secure(options: &AmqpOptions, socket: Socket) -> Result<WireStream> {
    match &options.tls {
        Some(tls) => super::tls::secure(tls, &options.host, socket).await,
        None => Ok(WireStream::Plain(socket)),
    }
}

/// Without TLS no option that asks for it gets this far; this is the second lock on that door.
#[cfg(not(feature = "tls"))]
async fn secure(options: &AmqpOptions, socket: Socket) -> Result<WireStream> {
    if options.tls.is_some() {
        return Err(not_trusted("this program is built without TLS"));
    }
    Ok(WireStream::Plain(socket))
}

/// The peer cannot prove that it is the broker that was asked for.
pub(super) fn not_trusted(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::AccessRefused, format!("TLS: {why}"))
        .in_scope(Scope::Connection)
        .recoverable_by(Recovery::Never)
}
