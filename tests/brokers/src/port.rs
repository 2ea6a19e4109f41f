//! Loopback ports that parallel tests never share.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A TCP port on `127.0.0.1` that no other test, of this or any other process, is given while this value lives.
///
/// The port itself stays unbound, so that a server can take it, give it up and take it again. What is bound is the same
/// port number on another address of the loopback network (`127.42.42.42`): the kernel then keeps the reservation, and
/// lets go of it when the process dies. Ports come from below the range the kernel uses for outgoing connections, so no
/// client socket sits on one by chance, and a client that dials a stopped server cannot end up connected to itself.
///
/// A program that is not a test of this workspace may still take the port in between: whoever starts a server on it checks
/// that it is its own server that answers.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    // `None` where the system has no second loopback address (macOS); the port was free, but is not held.
    _reservation: Option<TcpListener>,
}

impl ReservedPort {
    /// Reserves a port that is free now.
    ///
    /// # Panics
    ///
    /// When all ports from 20000 to 31999 are taken.
    pub fn new() -> Self {
        for _ in FIRST..=LAST {
            if let Some(port) = Self::try_number(next_candidate()) {
                return port;
            }
        }
        panic!("no free port from {FIRST} to {LAST} on 127.0.0.1");
    }

    /// Returns the port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns the address `127.0.0.1` with this port.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }

    fn try_number(number: u16) -> Option<Self> {
        let reservation = match TcpListener::bind((RESERVATION, number)) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => None,
            Err(_) => return None,
        };
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(ReservedPort { number, _reservation: reservation })
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        ReservedPort::new()
    }
}

/// Returns a free port on `127.0.0.1`, reserved until this process ends; [`ReservedPort`] gives it back sooner.
pub fn free_port() -> u16 {
    let port = ReservedPort::new();
    let number = port.number();
    KEPT.lock().expect("nothing panics while it holds the list of ports").push(port);
    number
}

// Processes start at different places, so that their searches seldom meet.
fn next_candidate() -> u16 {
    let count = u32::from(LAST - FIRST) + 1;
    let step = NEXT.fetch_add(1, Ordering::Relaxed);
    let offset = process::id().wrapping_mul(997).wrapping_add(step) % count;
    FIRST + u16::try_from(offset).expect("the offset is below the number of ports")
}

static NEXT: AtomicU32 = AtomicU32::new(0);
static KEPT: Mutex<Vec<ReservedPort>> = Mutex::new(Vec::new());

const RESERVATION: Ipv4Addr = Ipv4Addr::new(127, 42, 42, 42);
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;
