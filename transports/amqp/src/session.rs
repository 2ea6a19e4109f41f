//! The broker connections of one transport.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use kombu_core::backlog::Backlog;
use kombu_core::hub::HubHandle;
use kombu_core::{Clock, Error, ErrorKind, Result, Scope, ShortStr};

use crate::channel_core::ChannelCore;
use crate::client::{Client, ClientEvents};
use crate::options::AmqpOptions;
use crate::publish::Publisher;

/// What the channels of a transport share: one broker connection for everything, and from the day it both consumes and
/// publishes another for publishing alone. A broker short of memory stops reading from connections that publish; acks must
/// not be among what it does not read, for they are what frees its memory.
pub(crate) struct Session {
    pub(crate) handle: HubHandle,
    pub(crate) backlog: Backlog,
    options: Arc<AmqpOptions>,
    clock: Arc<dyn Clock>,
    parts: Mutex<Parts>,
    /// Held while the publishing connection is made, so that it is made once.
    opening: futures_util::lock::Mutex<()>,
    is_consuming: AtomicBool,
    is_closing: AtomicBool,
}

#[derive(Default)]
struct Parts {
    main: Option<Line>,
    publishing: Option<Line>,
    channels: Vec<Weak<ChannelCore>>,
    publishers: Vec<Weak<Publisher>>,
    /// Nobody would close a connection made now.
    is_closed: bool,
    /// Why the connection is lost.
    ended: Option<Error>,
    /// Who waits for an answer that a lost connection does not give.
    waiting: Vec<Waker>,
}

/// One broker connection and who listens to it.
#[derive(Clone)]
struct Line {
    client: Arc<dyn Client>,
    _listener: Arc<Listener>,
}

impl Session {
    pub(crate) fn new(options: Arc<AmqpOptions>, clock: Arc<dyn Clock>, handle: HubHandle) -> Arc<Self> {
        Arc::new(Session {
            handle,
            backlog: Backlog::default(),
            options,
            clock,
            parts: Mutex::default(),
            opening: futures_util::lock::Mutex::new(()),
            is_consuming: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        // Nothing panics while the lock is held; a poisoned part is as good as any.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the wall-clock time.
    pub(crate) fn system_time(&self) -> SystemTime {
        self.clock.system_time()
    }

    /// Connects.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<()> {
        let line = self.dial().await?;
        self.lock().main = Some(line);
        Ok(())
    }

    async fn dial(self: &Arc<Self>) -> Result<Line> {
        let listener = Arc::new(Listener { session: Arc::downgrade(self) });
        let weak: Weak<Listener> = Arc::downgrade(&listener);
        let client = crate::lapin::connect(&self.options, &self.handle, weak).await?;
        Ok(Line { client, _listener: listener })
    }

    /// Returns the connection that consumes and declares.
    pub(crate) fn main(&self) -> Result<Arc<dyn Client>> {
        let parts = self.lock();
        match (&parts.ended, &parts.main) {
            (Some(error), _) => Err(error.duplicate()),
            (None, Some(line)) => Ok(Arc::clone(&line.client)),
            (None, None) => Err(Error::new(ErrorKind::InvalidState, "the transport is not connected")),
        }
    }

    /// Returns the connection to publish on, made if need be, and whether it is the one that also consumes.
    pub(crate) async fn publishing_client(self: &Arc<Self>) -> Result<(Arc<dyn Client>, bool)> {
        if !self.publishes_apart() {
            return Ok((self.main()?, true));
        }
        let _opening = self.opening.lock().await;
        self.main()?;
        let known = self.lock().publishing.clone();
        let line = match known {
            Some(line) => line,
            None => {
                let dialed = within(&self.handle, DIAL_PATIENCE, self.dial()).await;
                let line =
                    dialed.unwrap_or_else(|| Err(Error::new(ErrorKind::Timeout, "the broker does not answer")))?;
                let is_closed = {
                    let mut parts = self.lock();
                    if !parts.is_closed {
                        parts.publishing = Some(line.clone());
                    }
                    parts.is_closed
                };
                if is_closed {
                    line.client.kill();
                    return Err(crate::error::closed());
                }
                line
            }
        };
        Ok((line.client, false))
    }

    /// Says whether publishing has a connection of its own.
    pub(crate) fn publishes_apart(&self) -> bool {
        self.is_consuming.load(Ordering::Acquire) && !self.options.single_connection
    }

    /// Learns that something is consumed, and its messages will be settled.
    pub(crate) fn consumes(&self) {
        if !self.is_consuming.swap(true, Ordering::AcqRel) {
            self.publishers().iter().for_each(|publisher| publisher.wake());
        }
    }

    /// Says whether the broker takes no publishes on the connection they go over.
    pub(crate) fn is_blocked(&self, on_main: bool) -> bool {
        let parts = self.lock();
        let line = if on_main { &parts.main } else { &parts.publishing };
        line.as_ref().is_some_and(|line| line.client.is_blocked())
    }

    pub(crate) fn add_channel(&self, channel: &Arc<ChannelCore>) {
        let mut parts = self.lock();
        parts.channels.retain(|known| known.strong_count() > 0);
        parts.channels.push(Arc::downgrade(channel));
    }

    /// Adds a publisher; one of a lost connection ends at once.
    pub(crate) fn add_publisher(&self, publisher: &Arc<Publisher>) {
        let ended = {
            let mut parts = self.lock();
            parts.publishers.retain(|known| known.strong_count() > 0);
            parts.publishers.push(Arc::downgrade(publisher));
            parts.ended.as_ref().map(Error::duplicate)
        };
        if let Some(error) = ended {
            publisher.end(&error);
        }
    }

    pub(crate) fn channels(&self) -> Vec<Arc<ChannelCore>> {
        self.lock().channels.iter().filter_map(Weak::upgrade).collect()
    }

    fn publishers(&self) -> Vec<Arc<Publisher>> {
        self.lock().publishers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits for the answer to a request, or for the loss of the connection, which then is the answer: a client whose connection
    /// is lost may never give one.
    pub(crate) async fn answer<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let lost = std::future::poll_fn(|cx| {
            let mut parts = self.lock();
            if let Some(error) = &parts.ended {
                return Poll::Ready(error.duplicate());
            }
            if !parts.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                parts.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        });
        match select(std::pin::pin!(request), lost).await {
            Either::Left((answer, _)) => answer,
            Either::Right((error, _)) => Err(error),
        }
    }

    /// Learns of an error that ended a connection: everything on both ends with it.
    pub(crate) fn failed(&self, error: Error) {
        let waiting = {
            let mut parts = self.lock();
            if parts.ended.is_some() {
                return;
            }
            parts.ended = Some(error.duplicate());
            std::mem::take(&mut parts.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
        // Unanswered publishes are handed over before the end is told: they are published again on the next connection.
        self.publishers().iter().for_each(|publisher| publisher.end(&error));
        self.channels().iter().for_each(|channel| channel.died(error.duplicate()));
        self.backlog.wake_all();
    }

    /// Returns why the connection is lost, if it is.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().ended.as_ref().map(Error::duplicate)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Begins to close; says whether that is news.
    pub(crate) fn begin_closing(&self) -> bool {
        !self.is_closing.swap(true, Ordering::AcqRel)
    }

    /// Closes every channel and both connections, politely while the broker answers.
    pub(crate) async fn close(&self) -> Result<()> {
        let mut result = Ok(());
        for channel in self.channels() {
            result = result.and(channel.close().await);
        }
        let closed = crate::error::closed();
        self.publishers().iter().for_each(|publisher| publisher.end(&closed));
        let lines: Vec<Line> = {
            let mut parts = self.lock();
            parts.is_closed = true;
            let lines = [parts.publishing.take(), parts.main.take()];
            lines.into_iter().flatten().collect()
        };
        let is_lost = self.ended().is_some();
        for line in &lines {
            if !is_lost {
                let said = within(&self.handle, CLOSE_PATIENCE, line.client.close()).await;
                result = result.and(said.unwrap_or(Ok(())));
            }
            line.client.kill();
        }
        self.backlog.wake_all();
        result
    }

    /// Ends both connections at once.
    pub(crate) fn abandon(&self) {
        self.failed(crate::error::closed().in_scope(Scope::Connection));
        let lines = {
            let mut parts = self.lock();
            parts.is_closed = true;
            [parts.publishing.take(), parts.main.take()]
        };
        lines.iter().flatten().for_each(|line| line.client.kill());
    }
}

/// Hears of one broker connection.
struct Listener {
    session: Weak<Session>,
}

impl ClientEvents for Listener {
    fn blocked(&self, reason: Option<ShortStr>) {
        let Some(session) = self.session.upgrade() else { return };
        session.publishers().iter().for_each(|publisher| publisher.wake());
        // The connection's own observer is that of any channel; one is enough.
        let events = session.channels().iter().find_map(|channel| channel.events());
        if let Some(events) = events {
            events.blocked(reason);
        }
    }

    fn failed(&self, error: Error) {
        let Some(session) = self.session.upgrade() else { return };
        if session.is_closing() {
            return;
        }
        if error.scope() == Scope::Connection {
            session.failed(error);
        } else {
            // It does not say which channel.
            session.channels().iter().for_each(|channel| channel.look(&error));
        }
    }
}

/// Waits for `future` no longer than `patience`.
pub(crate) async fn within<T>(handle: &HubHandle, patience: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(future), handle.sleep(patience)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// How long an attempt to make the connection for publishing may take; the first one has core's connect time-out. RabbitMQ gives up
/// a handshake after ten seconds.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// How long each part of closing waits for a broker that does not answer.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
