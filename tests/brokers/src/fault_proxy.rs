//! A TCP proxy that does to a connection what networks do.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::fault::{Direction, Fault};
use crate::link::{Link, Shared};
use crate::patience::PATIENCE;
use crate::port::ReservedPort;

/// A TCP proxy on a free loopback port in front of a server, with switches for everything that can go wrong in between.
///
/// Every switch holds from the moment its method returns, for connections there are and connections to come, until another
/// is set; [`pass`](FaultProxy::pass) sets all of them back. Bytes that were held then go on: like a network that was
/// stuck, the proxy loses nothing within a connection. A piece that is being written at the moment a switch is set may still
/// arrive, so a test first waits for the answer to what it sent before. Connections and threads end when the proxy is
/// dropped.
///
/// # Example
///
/// ```
/// use kombu_brokers::{Direction, FaultProxy, RedisServer};
///
/// let server = RedisServer::start();
/// let proxy = FaultProxy::start(server.addr());
/// let mut client = server.client_through(proxy.addr());
///
/// proxy.blackhole(Direction::ToClient);
/// client.send(&["INCR", "n"]).unwrap();
/// assert!(kombu_brokers::eventually(kombu_brokers::PATIENCE, || server.command(&["GET", "n"]).is_nil() == false));
/// proxy.pass();
/// assert_eq!(client.recv().unwrap().int(), 1);
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    port: ReservedPort,
    acceptor: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy in front of `server`; bytes pass.
    ///
    /// The connection to the server is made when a client connects, so the server may start later, stop and start again. A
    /// client that connects while it is away is accepted and reset.
    ///
    /// # Panics
    ///
    /// When the system has no port or thread left.
    pub fn start(server: SocketAddr) -> Self {
        let shared = Arc::new(Shared::new());
        let (port, listener) = listen_somewhere();
        shared.lock().listening = true;
        let acceptor = thread::Builder::new().name("fault-proxy".into());
        let acceptor = acceptor
            .spawn({
                let (shared, addr) = (Arc::clone(&shared), port.addr());
                move || accept(&shared, listener, addr, server)
            })
            .expect("the system has a thread left");
        FaultProxy { shared, port, acceptor: Some(acceptor) }
    }

    /// Returns the address to connect to instead of the server's.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Returns the port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Lets everything pass again, in both directions, at once; listens again after [`refuse`](FaultProxy::refuse).
    ///
    /// # Panics
    ///
    /// When another program has taken the port while it was refused.
    pub fn pass(&self) {
        self.shared.update(|state| {
            state.faults = [Fault::Pass; 2];
            state.refusing = false;
        });
        let listening = self.shared.wait(PATIENCE, |state| state.listening).listening;
        assert!(listening, "port {} was taken by another program while the proxy refused connections", self.port());
    }

    /// Ends all connections there are with a reset; new ones pass. Returns when they have ended.
    pub fn cut(&self) {
        self.end_links(Link::reset);
    }

    /// Ends all connections there are in good order, as a server that shuts down; new ones pass. Returns when they have
    /// ended.
    pub fn close(&self) {
        self.end_links(Link::finish);
    }

    /// Holds all bytes of one direction, and the end of a connection too. Connections stay open and new ones are accepted.
    pub fn blackhole(&self, direction: Direction) {
        self.set(direction, Fault::Blackhole);
    }

    /// Holds all bytes of both directions. Connections stay open and new ones are accepted.
    pub fn blackhole_both(&self) {
        self.shared.update(|state| state.faults = [Fault::Blackhole; 2]);
    }

    /// Holds every piece that arrives in one direction for `delay` before it goes on; pieces wait for each other.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.set(direction, Fault::Delay(delay));
    }

    /// Sends the bytes of one direction one by one, each a write of its own, with `pause` after each.
    pub fn trickle(&self, direction: Direction, pause: Duration) {
        self.set(direction, Fault::Trickle(pause));
    }

    /// Lets exactly `bytes` more bytes of one direction through, counted over all connections, then ends the connection
    /// that carried the last of them, in good order; after that bytes pass again.
    ///
    /// # Panics
    ///
    /// When `bytes` is zero: that is [`close`](FaultProxy::close).
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        assert!(bytes > 0, "to end connections at once, use `close` or `cut`");
        self.set(direction, Fault::CutAfter(bytes));
    }

    /// Refuses new connections, as if nobody listened; those there are go on. Returns when it holds.
    ///
    /// # Panics
    ///
    /// When the proxy does not stop listening within [`PATIENCE`].
    pub fn refuse(&self) {
        self.shared.update(|state| state.refusing = true);
        self.wake_acceptor();
        let refusing = !self.shared.wait(PATIENCE, |state| !state.listening).listening;
        assert!(refusing, "the proxy stops listening when it is told to");
    }

    /// Returns how many connections were accepted since the start, ended ones included.
    pub fn connections(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Returns how many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().links.len()
    }

    /// Returns how many bytes went through in one direction since the start; counted just after they are written, so the
    /// receiver may be a step ahead.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.shared.lock().forwarded[direction.index()]
    }

    /// Waits until `count` connections were accepted since the start; returns whether they were within `patience`.
    #[must_use = "assert it"]
    pub fn wait_for_connections(&self, count: u64, patience: Duration) -> bool {
        self.shared.wait(patience, |state| state.accepted >= count).accepted >= count
    }

    fn set(&self, direction: Direction, fault: Fault) {
        self.shared.update(|state| state.faults[direction.index()] = fault);
    }

    fn end_links(&self, end: impl Fn(&Link)) {
        let ended: Vec<Weak<Link>> = self.shared.update(|state| {
            let links = std::mem::take(&mut state.links);
            links.iter().inspect(|link| end(link)).map(Arc::downgrade).collect()
        });
        let gone = |link: &Weak<Link>| link.strong_count() == 0;
        drop(self.shared.wait(PATIENCE, |_| ended.iter().all(gone)));
        assert!(ended.iter().all(gone), "the threads of a connection end when it is cut");
    }

    // A connection to ourselves makes the acceptor look at the switches; if it fails, nobody listens already.
    fn wake_acceptor(&self) {
        drop(TcpStream::connect_timeout(&self.addr(), PATIENCE));
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.update(|state| state.ending = true);
        self.wake_acceptor();
        // A thread that panicked has said so already. Without the acceptor there are no new links.
        let _ = self.acceptor.take().map(JoinHandle::join);
        let threads = self.shared.update(|state| {
            for link in state.links.drain(..) {
                link.reset();
            }
            std::mem::take(&mut state.threads)
        });
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: TcpListener, addr: SocketAddr, server: SocketAddr) {
    let mut listener = Some(listener);
    loop {
        let Some(open) = &listener else {
            let (ending, refusing) = {
                let state = shared.wait(WHILE_REFUSING, |state| state.ending || !state.refusing);
                (state.ending, state.refusing)
            };
            if ending {
                return;
            }
            if refusing {
                continue;
            }
            // A failure leaves `listening` unset, and `pass` says so.
            listener = TcpListener::bind(addr).ok();
            shared.update(|state| state.listening = listener.is_some());
            if listener.is_none() {
                return;
            }
            continue;
        };
        let accepted = open.accept();
        let (ending, refusing) = {
            let state = shared.lock();
            (state.ending, state.refusing)
        };
        if ending {
            return;
        }
        if refusing {
            listener = None;
            shared.update(|state| state.listening = false);
            continue;
        }
        if let Ok((client, _)) = accepted {
            shared.update(|state| state.accepted += 1);
            // An error has reset the client's connection: the server is away.
            let _ = link(shared, client, server);
        }
    }
}

fn link(shared: &Arc<Shared>, client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&server, PATIENCE).inspect_err(|_| {
        let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    })?;
    Link::start(shared, client, server)
}

fn listen_somewhere() -> (ReservedPort, TcpListener) {
    for _ in 0..PORTS_TO_TRY {
        let port = ReservedPort::new();
        // Somebody outside our tests may have taken it since; another port is as good.
        if let Ok(listener) = TcpListener::bind(port.addr()) {
            return (port, listener);
        }
    }
    panic!("no free port to listen on");
}

const PORTS_TO_TRY: usize = 5;
const WHILE_REFUSING: Duration = Duration::from_secs(3600);
