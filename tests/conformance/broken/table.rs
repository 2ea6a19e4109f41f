//! Which checks must fail for each broken promise: these and no others.

mod consumers;
mod hub;
mod lifecycle;
mod message;
mod network;
mod routing;
mod settle;
mod topology;

use crate::fault::Fault;
use crate::hub::HubFault;

/// Transports, and the checks that catch them.
pub(crate) fn transports() -> impl Iterator<Item = (Fault, &'static [&'static str])> {
    let parts = [
        topology::VARIANTS,
        routing::VARIANTS,
        settle::VARIANTS,
        consumers::VARIANTS,
        message::VARIANTS,
        lifecycle::VARIANTS,
        network::VARIANTS,
    ];
    parts.into_iter().flatten().copied()
}

/// Says whether the broker of a variant is behind a network, so that links can be cut and other processes come.
pub(crate) fn has_network(fault: Fault) -> bool {
    network::VARIANTS.iter().any(|(one, _)| *one == fault)
}

/// Hubs, and the checks that catch them.
pub(crate) fn hubs() -> impl Iterator<Item = (HubFault, &'static [&'static str])> {
    hub::VARIANTS.iter().copied()
}
