//! What a hub polls with.

use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Token};

use crate::error::Result;

/// What a source is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A read will not block: there are bytes, the other end closed, or there is an error to pick up.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// The other end closed, or the source is broken.
    pub closed: bool,
}

impl Readiness {
    /// Ready for reading and for writing; what a callback sees when it is called again after [`Progress::More`](super::Progress::More).
    pub const ALL: Readiness = Readiness { readable: true, writable: true, closed: false };
}

/// One readiness reported by a [`Poller`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollEvent {
    /// The token the source was registered with.
    pub token: Token,
    /// What it is ready for.
    pub readiness: Readiness,
}

/// Waits for the readiness of sources: the operating system's selector behind a [`Hub`](super::Hub).
///
/// Edge-triggered, as mio is: a source is reported when its readiness changes, so whoever registers one reads and writes until
/// `WouldBlock`. Transports register through [`Hub::add_source`](super::Hub::add_source), which picks the token and calls back;
/// a source is registered once, by the hub.
///
/// # For implementers
///
/// Called on the hub's thread only. Only [`poll`](Poller::poll) may block.
pub trait Poller {
    /// Starts reporting `source` under `token`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the operating system refuses: the source is closed or registered already.
    fn register(&self, source: &mut dyn Source, token: Token, interest: Interest) -> Result<()>;

    /// Changes token and interest of a registered source; a readiness that already holds is reported again.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the source is not registered here.
    fn reregister(&self, source: &mut dyn Source, token: Token, interest: Interest) -> Result<()>;

    /// Stops reporting `source`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the source is not registered here.
    fn deregister(&self, source: &mut dyn Source) -> Result<()>;

    /// Appends what became ready to `events`, waiting up to `timeout`; `None` waits for as long as it takes.
    ///
    /// # Errors
    ///
    /// `Internal` when the operating system's call fails; an interruption by a signal is no error and reports nothing.
    fn poll(&self, events: &mut Vec<PollEvent>, timeout: Option<Duration>) -> Result<()>;
}
