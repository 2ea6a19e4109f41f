//! One connection through a fault proxy, and the two threads that carry its bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::fault::{Direction, Fault};

/// What the threads of one proxy share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The switches of a proxy, its connections and its counters.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ending: bool,
    pub(crate) refusing: bool,
    pub(crate) listening: bool,
    pub(crate) faults: [Fault; 2],
    pub(crate) forwarded: [u64; 2],
    pub(crate) accepted: u64,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) threads: Vec<thread::JoinHandle<()>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let state = State {
            ending: false,
            refusing: false,
            listening: false,
            faults: [Fault::Pass; 2],
            forwarded: [0; 2],
            accepted: 0,
            links: Vec::new(),
            threads: Vec::new(),
        };
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single assignments, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells every waiting thread.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `condition` holds, or `patience` is over; returns the state.
    pub(crate) fn wait(&self, patience: Duration, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| !condition(state))
            .unwrap_or_else(PoisonError::into_inner);
        state
    }
}

/// One client's connection and the connection made to the server for it.
#[derive(Debug)]
pub(crate) struct Link {
    client: TcpStream,
    server: TcpStream,
    closed: AtomicBool,
}

impl Link {
    /// Begins to carry bytes between `client` and `server`, in two threads.
    pub(crate) fn start(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) -> io::Result<()> {
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            // So that a thread whose peer does not read notices that its link was closed.
            stream.set_write_timeout(Some(LOOK))?;
        }
        let link = Arc::new(Link { client, server, closed: AtomicBool::new(false) });
        let mut state = shared.lock();
        // Clears away what earlier links left behind.
        state.threads.retain(|thread| !thread.is_finished());
        for direction in Direction::BOTH {
            let (shared, link) = (Arc::clone(shared), Arc::clone(&link));
            let pump = thread::Builder::new().name("fault-proxy-pump".into());
            state.threads.push(pump.spawn(move || link.pump(&shared, direction))?);
        }
        state.links.push(link);
        Ok(())
    }

    /// Ends both connections so that both peers see a reset, once both threads have let go of them.
    pub(crate) fn reset(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            // Errors mean that the connection is gone already. Lingering for zero seconds makes the close a reset; shutting
            // down the reading half only wakes our own thread, the peer does not notice.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// Ends both connections in good order.
    pub(crate) fn finish(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            // An error means that the connection is gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn pump(self: Arc<Self>, shared: &Shared, direction: Direction) {
        let (mut from, to) = self.ends(direction);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let outcome = match from.read(&mut buffer) {
                Ok(0) => {
                    // The end is held as bytes are; an error means that it is not to be passed on at all.
                    let _ = self.next_step(shared, direction, Instant::now(), 1);
                    break;
                }
                Ok(count) => self.forward(shared, direction, &buffer[..count]),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // One peer is gone in bad order: so is the other. A link that was closed on purpose is left as it is.
                    if !self.closed.load(Ordering::SeqCst) {
                        self.reset();
                    }
                    break;
                }
            }
        }
        if !self.closed.load(Ordering::SeqCst) {
            // The sender has finished; the other direction may go on.
            let _ = to.shutdown(Shutdown::Write);
        }
        // The link is forgotten when its second thread ends; closing the sockets is left to the last `Arc`.
        shared.update(|state| {
            let both_done = Arc::strong_count(&self) <= 2;
            if both_done || self.closed.load(Ordering::SeqCst) {
                state.links.retain(|link| !Arc::ptr_eq(link, &self));
            }
            drop(self);
        });
    }

    fn forward(&self, shared: &Shared, direction: Direction, mut bytes: &[u8]) -> io::Result<()> {
        let arrived = Instant::now();
        while !bytes.is_empty() {
            let step = self.next_step(shared, direction, arrived, bytes.len())?;
            let count = self.write(direction, &bytes[..step.count])?;
            bytes = &bytes[count..];
            self.wrote(shared, direction, count)?;
            self.pause(shared, direction, step.pause);
        }
        Ok(())
    }

    // Waits until the switch lets bytes through and returns how many.
    fn next_step(&self, shared: &Shared, direction: Direction, arrived: Instant, waiting: usize) -> io::Result<Step> {
        loop {
            let fault = {
                let state = shared.lock();
                if state.ending || self.closed.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                state.faults[direction.index()]
            };
            let through = |count: usize, pause: Duration| Ok(Step { count, pause });
            let patience = match fault {
                Fault::Pass => return through(waiting, Duration::ZERO),
                Fault::Trickle(pause) => return through(1, pause),
                Fault::CutAfter(left) => {
                    return through(waiting.min(usize::try_from(left).unwrap_or(waiting)), Duration::ZERO);
                }
                Fault::Delay(delay) => match delay.checked_sub(arrived.elapsed()) {
                    Some(rest) if !rest.is_zero() => rest,
                    _ => return through(waiting, Duration::ZERO),
                },
                Fault::Blackhole => Duration::from_secs(3600),
            };
            self.wait_for_switch(shared, direction, fault, patience);
        }
    }

    // After a byte of a trickle; ends early when another switch is set.
    fn pause(&self, shared: &Shared, direction: Direction, pause: Duration) {
        if !pause.is_zero() {
            self.wait_for_switch(shared, direction, Fault::Trickle(pause), pause);
        }
    }

    fn wait_for_switch(&self, shared: &Shared, direction: Direction, fault: Fault, patience: Duration) {
        let closed = || self.closed.load(Ordering::SeqCst);
        drop(shared.wait(patience, |state| state.ending || closed() || state.faults[direction.index()] != fault));
    }

    fn write(&self, direction: Direction, bytes: &[u8]) -> io::Result<usize> {
        let (_, mut to) = self.ends(direction);
        loop {
            match to.write(bytes) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.closed.load(Ordering::SeqCst) {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    fn wrote(&self, shared: &Shared, direction: Direction, count: usize) -> io::Result<()> {
        shared.update(|state| {
            let count = count as u64;
            state.forwarded[direction.index()] += count;
            let fault = &mut state.faults[direction.index()];
            if let Fault::CutAfter(left) = fault {
                *left = left.saturating_sub(count);
                if *left == 0 {
                    *fault = Fault::Pass;
                    self.finish();
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            Ok(())
        })
    }

    fn ends(&self, direction: Direction) -> (&TcpStream, &TcpStream) {
        match direction {
            Direction::ToServer => (&self.client, &self.server),
            Direction::ToClient => (&self.server, &self.client),
        }
    }
}

/// How many bytes may go now, and how long to pause after them.
struct Step {
    count: usize,
    pause: Duration,
}

const LOOK: Duration = Duration::from_millis(20);
