//! What goes wrong.

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A consumer is killed with `kill -9`; another takes its place.
    KillConsumer,
    /// A publisher is killed with `kill -9`; another takes its place.
    KillPublisher,
    /// A consumer is asked to end; another takes its place.
    LeaveGracefully,
    /// A consumer stands still for longer than its lease.
    Freeze,
    /// A consumer stands still for a moment.
    Stutter,
    /// The connections by way of the proxy are reset.
    Cut,
    /// A connection by way of the proxy ends after so many more bytes.
    CutInTheMiddle,
    /// Nothing gets through the proxy for a while, in one direction or both.
    Blackhole,
    /// Bytes go through the proxy one by one for a while.
    Trickle,
    /// The server ends connections.
    KillClients,
    /// The server forgets its scripts.
    ForgetScripts,
    /// The server is killed with `kill -9` and starts again.
    RestartServer,
}
