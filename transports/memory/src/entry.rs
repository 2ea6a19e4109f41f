//! How the registry finds the transport.

use std::sync::Arc;

use kombu_core::registry::{self, TransportEntry};
use kombu_core::{Result, Transport, TransportConfig};
use kombu_virtual::VirtualTransport;

use crate::namespace;

/// Describes the transport to the registry: name and scheme `memory`.
pub const ENTRY: TransportEntry = TransportEntry {
    name: "memory",
    schemes: &["memory"],
    description: "queues of this process, with AMQP's semantics; for tests and single processes",
    make,
};

kombu_core::register_transport!(ENTRY);

/// Registers the transport at run time: for static libraries, where the linked registration gets lost.
pub fn register() {
    registry::register(ENTRY);
}

fn make(config: TransportConfig) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(VirtualTransport::new(namespace::broker(&config)?)))
}
