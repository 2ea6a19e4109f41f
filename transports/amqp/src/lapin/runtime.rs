//! The runtime lapin runs on: the hub.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::{Task, TaskImpl, simple_block_on};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use kombu_core::hub::{HubHandle, Sleep};
use kombu_core::reply::{self, Reply};

use super::socket::{Killer, Socket};
use super::stream::WireStream;

/// lapin's runtime over a hub: its sockets are watched by the hub's poller, its tasks and timers run on the hub's thread.
#[derive(Clone, Debug)]
pub(crate) struct HubRuntime(HubHandle);

impl HubRuntime {
    pub(crate) fn new(handle: &HubHandle) -> Self {
        HubRuntime(handle.io())
    }
}

impl RuntimeKit for HubRuntime {}

impl Executor for HubRuntime {
    type Task<T: Send + 'static> = HubTask<T>;

    /// Called on lapin's own thread only; the hub drives what it waits for.
    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        simple_block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, future: F) -> Task<HubTask<T>> {
        HubTask(Some(self.0.spawn(future))).into()
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, work: F) -> Task<HubTask<T>> {
        HubTask(blocking("kombu-amqp-blocking", work).ok()).into()
    }
}

impl Reactor for HubRuntime {
    type TcpStream = WireStream;
    type Sleep = Sleep;

    /// Nothing of lapin calls it: its sockets come from our own connector.
    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<WireStream, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        self.0.sleep(delay)
    }

    fn interval(&self, every: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        let handle = self.0.clone();
        let first = handle.now();
        futures_util::stream::unfold((handle, first), move |(handle, due)| async move {
            handle.sleep_until(due).await;
            // A hub that is closed wakes every sleeper; there is no next time.
            (!handle.is_closed()).then(|| (due, (handle.clone(), kombu_core::hub::instant_after(due, every))))
        })
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<WireStream>> + Send + 'static {
        let handle = self.0.clone();
        async move { Ok(WireStream::Plain(Socket::connect(handle, address, Killer::default()).await?)) }
    }
}

/// A task on the hub. One whose hub closed never ends.
#[derive(Debug)]
pub(crate) struct HubTask<T>(Option<Reply<T>>);

impl<T: Send + 'static> TaskImpl for HubTask<T> {}

impl<T> Future for HubTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(reply) = &mut self.0 else { return Poll::Pending };
        match Pin::new(reply).poll(cx) {
            Poll::Ready(Some(value)) => Poll::Ready(value),
            Poll::Ready(None) => {
                self.0 = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Runs `work`, which may block, on a thread of its own.
pub(crate) fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Reply<T>> {
    let (sender, receiver) = reply::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || sender.send(work()))?;
    Ok(receiver)
}
