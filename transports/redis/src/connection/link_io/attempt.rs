//! Making a connection.

use std::io;
use std::sync::Arc;

use kombu_core::hub::{Hub, Progress, Readiness};
use kombu_core::{Error, ErrorKind, Recovery};
use mio::Interest;

use super::{Event, LinkIo, Phase, unreachable};
use crate::connection::find::{self, Candidate};
use crate::connection::link::Link;
use crate::connection::stream::Stream;
use crate::options::Address;

impl LinkIo {
    pub(in crate::connection) fn start_attempt(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.attempt += 1;
        let attempt = self.attempt;
        let weak = Arc::downgrade(link);
        self.set_attempt_timer(Some(hub.call_later(
            link.target.connect_timeout,
            Box::new(move |hub| {
                let Some(link) = weak.upgrade() else { return };
                link.in_io(hub, |io, link, events| {
                    if io.attempt == attempt && !io.is_up() && !matches!(io.phase, Phase::Waiting | Phase::Closed) {
                        let error = Error::new(ErrorKind::ConnectionLost, "the server does not answer in time");
                        io.fail(link, hub, error, events);
                    }
                });
            }),
        )));
        self.redirections = 0;
        if let Address::Unix(path) = &link.target.address {
            return match Stream::connect_unix(path) {
                Ok(stream) => self.adopt(link, hub, stream, events),
                Err(error) => self.fail(link, hub, unreachable(&error), events),
            };
        }
        self.search(link, hub, events);
    }

    /// Tries the addresses there are now.
    fn search(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        if let Some(found) = find::at_once(&link.target) {
            self.addresses = found.into();
            return self.try_next_address(link, hub, events);
        }
        self.phase = Phase::Resolving;
        let attempt = self.attempt;
        let weak = Arc::downgrade(link);
        let handle = link.handle.clone();
        let target = Arc::clone(&link.target);
        let lookup = move || {
            let found = find::find(&target, target.connect_timeout);
            handle.call_soon(move |hub| {
                let Some(link) = weak.upgrade() else { return };
                link.in_io(hub, |io, link, events| {
                    if io.attempt != attempt || !matches!(io.phase, Phase::Resolving) {
                        return;
                    }
                    match found {
                        Ok(found) => {
                            io.addresses = found.into();
                            io.try_next_address(link, hub, events);
                        }
                        Err(error) => io.fail(link, hub, error, events),
                    }
                });
            });
        };
        if let Err(error) = std::thread::Builder::new().name("kombu-redis-find".into()).spawn(lookup) {
            self.fail(link, hub, unreachable(&error), events);
        }
    }

    /// Goes on to the node that has the keys, as part of the same attempt.
    pub(super) fn go_elsewhere(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        self.drop_stream(hub);
        self.addresses.clear();
        self.raw.clear();
        self.redirections += 1;
        if self.redirections > MAX_REDIRECTIONS {
            let error = Error::new(ErrorKind::ConnectionLost, "the nodes of the cluster send from one to the other");
            return self.fail(link, hub, error.recoverable_by(Recovery::Reconnect), events);
        }
        self.search(link, hub, events);
    }

    pub(super) fn try_next_address(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        let mut last = None;
        while let Some(Candidate { host, addr }) = self.addresses.pop_front() {
            let session = match link.target.tls.as_ref().map(|tls| tls.session(&host)).transpose() {
                Ok(session) => session,
                Err(error) => return self.fail(link, hub, error, events),
            };
            self.host = host;
            match Stream::connect_tcp(addr, session) {
                Ok(stream) => return self.adopt(link, hub, stream, events),
                Err(error) => last = Some(error),
            }
        }
        let last = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        self.fail(link, hub, unreachable(&last), events);
    }

    fn adopt(&mut self, link: &Arc<Link>, hub: &dyn Hub, mut stream: Stream, events: &mut Vec<Event>) {
        let weak = Arc::downgrade(link);
        let attempt = self.attempt;
        let on_ready = move |hub: &dyn Hub, readiness: Readiness| {
            let Some(link) = weak.upgrade() else { return Progress::Drained };
            let mut progress = Progress::Drained;
            link.in_io(hub, |io, link, events| {
                if io.attempt == attempt {
                    progress = io.handle_ready(link, hub, readiness, events);
                }
            });
            progress
        };
        match hub.add_source(&mut stream, Interest::READABLE | Interest::WRITABLE, Box::new(on_ready)) {
            Ok(id) => {
                self.stream = Some((stream, id));
                self.phase = Phase::Connecting;
            }
            Err(error) => self.fail(link, hub, error, events),
        }
    }
}

/// How often one attempt follows the word of a node about where the keys are.
const MAX_REDIRECTIONS: u32 = 5;
