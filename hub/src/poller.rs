//! The operating system's selector.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::time::Duration;

use kombu_core::hub::{PollEvent, Poller, Readiness};
use kombu_core::{Error, ErrorKind, Result};
use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Registry, Token};

/// A [`Poller`] over [`mio::Poll`]: epoll, kqueue or what the platform has.
///
/// A [`MioHub`](crate::MioHub) makes its own and keeps [`Token`] 0 for its waker.
pub struct MioPoller {
    poll: RefCell<Poll>,
    registry: Registry,
    events: RefCell<Events>,
    /// The process that made it.
    process: u32,
}

impl MioPoller {
    /// Makes a poller that reports up to `events` readinesses per [`poll`](Poller::poll); the rest waits for the next one.
    ///
    /// # Errors
    ///
    /// `Internal` when the process is out of descriptors or memory.
    pub fn new(events: usize) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Internal, "the operating system gives no poller")
                .during("hub.poller")
                .caused_by(error)
        };
        let poll = Poll::new().map_err(failed)?;
        let registry = poll.registry().try_clone().map_err(failed)?;
        let events = RefCell::new(Events::with_capacity(events.max(1)));
        Ok(MioPoller { poll: RefCell::new(poll), registry, events, process: std::process::id() })
    }

    /// Says whether this process has made it. A copy of that process, made by `fork`, has the same selector: what it takes out of
    /// there is missing in the other.
    pub(crate) fn is_own(&self) -> bool {
        self.process == std::process::id()
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Poller for MioPoller {
    fn register(&self, source: &mut dyn Source, token: Token, interest: Interest) -> Result<()> {
        self.registry.register(source, token, interest).map_err(|error| refused("poller.register", error))
    }

    fn reregister(&self, source: &mut dyn Source, token: Token, interest: Interest) -> Result<()> {
        self.registry.reregister(source, token, interest).map_err(|error| refused("poller.reregister", error))
    }

    fn deregister(&self, source: &mut dyn Source) -> Result<()> {
        if !self.is_own() {
            return Ok(());
        }
        self.registry.deregister(source).map_err(|error| refused("poller.deregister", error))
    }

    fn poll(&self, events: &mut Vec<PollEvent>, timeout: Option<Duration>) -> Result<()> {
        let mut found = self.events.borrow_mut();
        match self.poll.borrow_mut().poll(&mut found, timeout) {
            Ok(()) => {
                events
                    .extend(found.iter().map(|event| PollEvent { token: event.token(), readiness: readiness(event) }));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Error::new(ErrorKind::Internal, "the operating system's poll failed")
                .during("hub.poll")
                .caused_by(error)),
        }
    }
}

impl fmt::Debug for MioPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MioPoller")
    }
}

fn readiness(event: &Event) -> Readiness {
    let closed = event.is_read_closed() || event.is_write_closed() || event.is_error();
    Readiness {
        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
        writable: event.is_writable() || event.is_write_closed() || event.is_error(),
        closed,
    }
}

/// Says in words why the operating system refuses a descriptor.
pub(crate) fn refused(operation: &'static str, error: io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this kind of descriptor cannot be watched: a regular file is always ready, read it directly"
        }
        io::ErrorKind::AlreadyExists => "the descriptor is registered already; a source is registered once, by the hub",
        io::ErrorKind::NotFound => "the descriptor is not registered here",
        _ => "the operating system refuses the descriptor",
    };
    Error::new(ErrorKind::InvalidArgument, why).during(operation).caused_by(error)
}
