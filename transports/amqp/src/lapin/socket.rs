//! A socket on the hub's poller, as lapin reads and writes it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::task::AtomicWaker;
use kombu_core::hub::{HookId, Hub, HubHandle, Progress, Readiness, SourceId};
use kombu_core::reply;
use mio::Interest;
use mio::net::TcpStream;
use mio::unix::SourceFd;

/// One TCP connection. The hub watches it and wakes; lapin's thread reads and writes.
///
/// Dropping it closes it. [`Killer`] ends it from elsewhere: from then on every read and write answers `NotConnected`.
pub(crate) struct Socket {
    shared: Arc<Shared>,
    handle: HubHandle,
}

struct Shared {
    stream: TcpStream,
    reader: AtomicWaker,
    writer: AtomicWaker,
    killer: Killer,
    /// What the hub knows it by.
    registered: Mutex<Option<(SourceId, HookId)>>,
}

/// Ends a connection attempt and the socket it led to, from any thread and for good.
#[derive(Clone, Default)]
pub(crate) struct Killer(Arc<Life>);

#[derive(Default)]
struct Life {
    is_killed: AtomicBool,
    socket: Mutex<Weak<Shared>>,
    /// Who waits for the end of the attempt.
    waiting: Mutex<Vec<Waker>>,
}

impl Socket {
    /// Connects to `address`, watched by the hub of `handle`.
    pub(crate) async fn connect(handle: HubHandle, address: SocketAddr, killer: Killer) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let registered = Mutex::new(None);
        let shared = Arc::new(Shared {
            stream,
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            killer: killer.clone(),
            registered,
        });
        let socket = Socket { shared, handle };
        killer.adopt(&socket.shared);
        socket.register().await?;
        std::future::poll_fn(|cx| socket.poll_connected(cx)).await?;
        Ok(socket)
    }

    async fn register(&self) -> io::Result<()> {
        let (sender, registered) = reply::channel();
        let shared = Arc::clone(&self.shared);
        self.handle.call_soon(move |hub| sender.send(shared.register(hub)));
        registered.await.unwrap_or_else(|| Err(gone()))
    }

    /// Waits until the operating system has connected.
    fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &self.shared;
        shared.writer.register(cx.waker());
        shared.killer.check()?;
        if let Some(error) = shared.stream.take_error()? {
            return Poll::Ready(Err(error));
        }
        match shared.stream.peer_addr() {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Shared {
    fn register(self: &Arc<Self>, hub: &dyn Hub) -> io::Result<()> {
        let watching = Arc::downgrade(self);
        let on_ready = move |_: &dyn Hub, readiness: Readiness| {
            if let Some(shared) = watching.upgrade() {
                shared.woken(readiness);
            }
            Progress::Drained
        };
        let fd = self.stream.as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let id = hub.add_source(&mut SourceFd(&fd), interest, Box::new(on_ready)).map_err(io::Error::other)?;
        let killer = self.killer.clone();
        let hook = hub.on_close(Box::new(move |_| killer.kill()));
        *lock(&self.registered) = Some((id, hook));
        Ok(())
    }

    fn woken(&self, readiness: Readiness) {
        if readiness.readable || readiness.closed {
            self.reader.wake();
        }
        if readiness.writable || readiness.closed {
            self.writer.wake();
        }
    }

    fn deregister(&self, hub: &dyn Hub) {
        let Some((id, hook)) = lock(&self.registered).take() else { return };
        let fd = self.stream.as_raw_fd();
        // It is going: a hub that does not know it any more has nothing to forget.
        let _ = hub.remove_source(&mut SourceFd(&fd), id);
        hub.remove_hook(hook);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        // The other end learns of it at once; the descriptor stays open until the hub has forgotten it.
        let _ = shared.stream.shutdown(Shutdown::Both);
        self.handle.call_soon(move |hub| shared.deregister(hub));
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let shared = &self.shared;
        // Before the attempt, so that no readiness comes in between.
        shared.reader.register(cx.waker());
        shared.killer.check()?;
        attempt(|| (&shared.stream).read(buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let shared = &self.shared;
        shared.killer.check()?;
        let written = attempt(|| (&shared.stream).write(bytes));
        if written.is_ready() {
            return written;
        }
        shared.writer.register(cx.waker());
        shared.killer.check()?;
        attempt(|| (&shared.stream).write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back here. A failure would be logged by lapin even after a close in good order, as it flushes once more.
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // One that is closed already needs no more.
        let _ = self.shared.stream.shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

impl Killer {
    /// Ends the attempt, or the connection it led to.
    pub(crate) fn kill(&self) {
        if self.0.is_killed.swap(true, Ordering::SeqCst) {
            return;
        }
        let socket = lock(&self.0.socket).upgrade();
        if let Some(shared) = socket {
            // The other end may be gone already.
            let _ = shared.stream.shutdown(Shutdown::Both);
            shared.reader.wake();
            shared.writer.wake();
        }
        let waiting = std::mem::take(&mut *lock(&self.0.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits for the end.
    pub(crate) async fn killed(&self) {
        std::future::poll_fn(|cx| {
            {
                let mut waiting = lock(&self.0.waiting);
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
            }
            if self.is_killed() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn adopt(&self, shared: &Arc<Shared>) {
        *lock(&self.0.socket) = Arc::downgrade(shared);
    }

    fn is_killed(&self) -> bool {
        self.0.is_killed.load(Ordering::SeqCst)
    }

    fn check(&self) -> io::Result<()> {
        if self.is_killed() { Err(gone()) } else { Ok(()) }
    }
}

fn attempt(mut step: impl FnMut() -> io::Result<usize>) -> Poll<io::Result<usize>> {
    loop {
        match step() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "the connection was given up")
}

fn lock<T>(part: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while a lock is held; a poisoned part is as good as any.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
