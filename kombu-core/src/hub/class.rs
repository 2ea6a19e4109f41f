//! The two classes of work on a hub.

/// Whose work a callback, timer or task is; see [`Hub`](super::Hub).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A transport's: it moves bytes and fills queues, and runs also while a callback waits for an answer.
    Io,
    /// The application's: it runs when no other callback is running.
    User,
}
