//! Making a connection.

use std::io;
use std::sync::Arc;

use kombu_core::hub::{Hub, Progress, Readiness};
use kombu_core::{Error, ErrorKind};
use mio::Interest;

use super::{Event, LinkIo, Phase, unreachable};
use crate::connection::address;
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
        match &link.target.address {
            Address::Unix(path) => match Stream::connect_unix(path) {
                Ok(stream) => self.adopt(link, hub, stream, events),
                Err(error) => self.fail(link, hub, unreachable(&error), events),
            },
            Address::Tcp { host, port } => match address::literal(host, *port) {
                Some(found) => {
                    self.addresses = found.into();
                    self.try_next_address(link, hub, events);
                }
                None => self.resolve(link, hub, host.clone(), *port, events),
            },
        }
    }

    fn resolve(&mut self, link: &Arc<Link>, hub: &dyn Hub, host: String, port: u16, events: &mut Vec<Event>) {
        self.phase = Phase::Resolving;
        let attempt = self.attempt;
        let weak = Arc::downgrade(link);
        let handle = link.handle.clone();
        let lookup = move || {
            let found = address::resolve(&host, port);
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
        if let Err(error) = std::thread::Builder::new().name("kombu-redis-dns".into()).spawn(lookup) {
            self.fail(link, hub, unreachable(&error), events);
        }
    }

    pub(super) fn try_next_address(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        let mut last = None;
        while let Some(addr) = self.addresses.pop_front() {
            match Stream::connect_tcp(addr) {
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
