//! Connections, as the broker sees them.

/// Names a connection: its channels and exclusive queues belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey(pub(crate) u64);
