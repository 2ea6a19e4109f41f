//! Where the I/O of a connection runs.

/// Where the I/O of a connection that is registered with a hub runs; see
/// [`ConnectionBuilder::io_placement`](super::ConnectionBuilder::io_placement).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoPlacement {
    /// On the hub itself; the default. A callback that blocks the hub's thread holds up the I/O, too: an AMQP broker hears no
    /// heartbeats meanwhile and gives the connection up after two of them.
    #[default]
    SharedHub,
    /// On a thread of the connection's own, `kombu-io`. Callbacks still run on the registered hub, and may block as long as they
    /// like.
    Dedicated,
}
