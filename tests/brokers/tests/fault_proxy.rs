//! The fault proxy: each switch does what it says, and nothing is left running.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kombu_brokers::{Direction, FaultProxy, PATIENCE, ReservedPort, eventually};

#[test]
fn bytes_pass_both_ways_and_the_end_too() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut client = connect(&proxy);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let writing = thread::spawn({
        let sent = sent.clone();
        move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "three million bytes came back unchanged");
    assert_eq!(proxy.connections(), 1);
    assert_eq!(Direction::BOTH.map(|direction| proxy.forwarded(direction)), [3_000_000; 2]);
    assert!(eventually(PATIENCE, || proxy.open_connections() == 0));
}

#[test]
fn cut_resets_all_connections_and_lets_new_ones_pass() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut clients: Vec<_> = (0..3).map(|_| connect(&proxy)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(echo(client, b"x").unwrap(), b"x"));
    assert_eq!(proxy.open_connections(), 3);
    proxy.cut();
    assert_eq!(proxy.open_connections(), 0);
    for client in &mut clients {
        assert_eq!(echo(client, b"x").unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert!(eventually(PATIENCE, || server.open() == 0), "the server has noticed too");
    assert_eq!(echo(&mut connect(&proxy), b"again").unwrap(), b"again");
    assert_eq!(proxy.connections(), 4);
}

#[test]
fn close_ends_connections_in_good_order() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut client = connect(&proxy);
    assert_eq!(echo(&mut client, b"x").unwrap(), b"x");
    proxy.close();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_blackhole_holds_one_direction_and_loses_nothing() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut client = connect(&proxy);
    assert_eq!(echo(&mut client, b"x").unwrap(), b"x");
    proxy.blackhole(Direction::ToClient);
    client.write_all(b"held").unwrap();
    assert!(eventually(PATIENCE, || server.received() == 5), "the other direction passes");
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    proxy.pass();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
}

#[test]
fn a_blackhole_accepts_connections_and_can_be_cut() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    proxy.blackhole_both();
    let mut client = connect(&proxy);
    client.write_all(b"never seen").unwrap();
    assert!(proxy.wait_for_connections(1, PATIENCE));
    assert!(eventually(PATIENCE, || proxy.open_connections() == 1));
    proxy.cut();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.received(), 0);
}

#[test]
fn a_peer_that_does_not_read_does_not_hold_up_a_cut() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let client = connect(&proxy);
    client.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    // The client never reads, so the way back fills up, and then the way there.
    let chunk = vec![0; 1 << 20];
    let stuck = (0..1000).any(|_| (&client).write_all(&chunk).is_err());
    assert!(stuck, "all buffers are full");
    proxy.cut();
    assert_eq!(proxy.open_connections(), 0);
}

#[test]
fn trickled_bytes_arrive_one_by_one_and_whole() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut client = connect(&proxy);
    proxy.trickle(Direction::ToClient, Duration::ZERO);
    proxy.trickle(Direction::ToServer, Duration::from_micros(100));
    assert_eq!(echo(&mut client, b"one by one").unwrap(), b"one by one");
    proxy.trickle(Direction::ToServer, Duration::from_secs(3600));
    client.write_all(b"the rest").unwrap();
    let mut first = [0];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"t");
    assert!(eventually(PATIENCE, || proxy.forwarded(Direction::ToServer) == 11), "one byte, then an hour's pause");
    proxy.pass();
    let mut rest = [0; 7];
    client.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"he rest");
}

#[test]
fn delayed_bytes_arrive_and_pass_ends_the_delay() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut client = connect(&proxy);
    proxy.delay(Direction::ToServer, Duration::from_millis(5));
    assert_eq!(echo(&mut client, b"late").unwrap(), b"late");
    proxy.delay(Direction::ToServer, Duration::from_secs(3600));
    client.write_all(b"at last").unwrap();
    proxy.pass();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"at last");
}

#[test]
fn cut_after_lets_exactly_that_many_bytes_through() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    for bytes in [1, 7, 100] {
        let before = proxy.forwarded(Direction::ToClient);
        let mut client = connect(&proxy);
        proxy.cut_after(Direction::ToClient, bytes);
        client.write_all(&[7; 100]).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received.len() as u64, bytes);
        assert_eq!(proxy.forwarded(Direction::ToClient) - before, bytes);
    }
    assert_eq!(echo(&mut connect(&proxy), b"again").unwrap(), b"again");
}

#[test]
fn refused_connections_fail_at_once_and_open_ones_go_on() {
    let server = Echo::start();
    let proxy = FaultProxy::start(server.addr);
    let mut client = connect(&proxy);
    assert_eq!(echo(&mut client, b"x").unwrap(), b"x");
    proxy.refuse();
    proxy.refuse();
    assert_eq!(TcpStream::connect(proxy.addr()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(echo(&mut client, b"y").unwrap(), b"y");
    proxy.pass();
    assert_eq!(echo(&mut connect(&proxy), b"z").unwrap(), b"z");
    assert_eq!(proxy.connections(), 2);
}

#[test]
fn a_server_that_is_away_is_a_reset() {
    let port = ReservedPort::new();
    let proxy = FaultProxy::start(port.addr());
    // The reset may be quicker than the return of `connect`.
    let outcome = TcpStream::connect(proxy.addr()).and_then(|mut client| {
        client.set_read_timeout(Some(PATIENCE))?;
        client.read(&mut [0])
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn drop_ends_every_connection_and_stops_listening() {
    let server = Echo::start();
    for refused in [false, true] {
        let proxy = FaultProxy::start(server.addr);
        let addr = proxy.addr();
        let mut clients: Vec<_> = (0..3).map(|_| connect(&proxy)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(echo(client, b"x").unwrap(), b"x"));
        proxy.blackhole_both();
        if refused {
            proxy.refuse();
        }
        drop(proxy);
        assert!(clients.iter_mut().all(|client| echo(client, b"x").is_err()));
        assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(eventually(PATIENCE, || server.open() == 0));
    }
}

/// A server that sends back what it gets.
struct Echo {
    addr: SocketAddr,
    counts: Arc<Counts>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    received: AtomicUsize,
    ending: AtomicUsize,
}

impl Echo {
    fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ending.load(Ordering::SeqCst) > 0 {
                    return;
                }
                let counts = Arc::clone(&shared);
                thread::spawn(move || {
                    counts.open.fetch_add(1, Ordering::SeqCst);
                    // A broken connection is what these tests are about.
                    let _ = serve(stream.unwrap(), &counts);
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Echo { addr, counts, acceptor: Some(acceptor) }
    }

    fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    fn received(&self) -> usize {
        self.counts.received.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.counts.ending.store(1, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, counts: &Counts) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        counts.received.fetch_add(count, Ordering::SeqCst);
        stream.write_all(&buffer[..count])?;
    }
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn echo(client: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(bytes)?;
    let mut answer = vec![0; bytes.len()];
    client.read_exact(&mut answer)?;
    Ok(answer)
}
