//! One verb, three endings: the answer to an operation may be awaited, waited for, or dropped.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::hub::{self, HubHandle, Sleep};

/// The answer to an operation that is already under way.
///
/// * `.await` it on any executor;
/// * [`wait`](Pending::wait) for it from a thread;
/// * or drop it: that gives up the answer, not the operation.
///
/// Every operation has a deadline, which runs from the call; when it passes, the answer is `Timeout`.
///
/// Cancellation safe: it holds an answer, never the work.
#[must_use = "await it, wait for it, or drop it to go on without the answer"]
pub struct Pending<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T>>),
    Waiting(Box<Waiting<T>>),
}

struct Waiting<T> {
    answer: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    terms: Terms,
    sleep: Option<Sleep>,
}

/// How much longer than the transport the waiter waits for a publish's answer.
const GRACE: Duration = Duration::from_millis(250);

/// On which hub an operation runs, and until when it is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) hub: HubHandle,
    pub(crate) operation: &'static str,
    pub(crate) started: Instant,
    pub(crate) timeout: Duration,
    pub(crate) sent: Sent,
}

/// Whether the transport has the message of a publish, which decides what a time-out says of the outcome.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// It is no publish.
    NoPublish,
    /// It has.
    Yes,
    /// It has if this is set.
    When(Arc<AtomicBool>),
}

impl Terms {
    fn deadline(&self) -> Instant {
        hub::instant_after(self.started, self.timeout)
    }

    /// Makes a time-out say whether the broker may have the message, and leaves the transport, which may know better, the
    /// first word. A message that is not with the transport by the deadline is never handed to it.
    pub(crate) fn of_publish(mut self, sent: Sent) -> Self {
        self.sent = sent;
        self.timeout = self.timeout.saturating_add(GRACE);
        self
    }

    #[cold]
    fn timed_out(&self) -> Error {
        let error =
            Error::new(ErrorKind::Timeout, format!("no answer within {:?}", self.timeout)).during(self.operation);
        let error = if self.hub.is_closed() {
            error.with("hub", "closed before the answer came")
        } else if !self.hub.is_running() {
            error.with("hub", "not running: no thread turns the hub that carries this connection")
        } else {
            error
        };
        match &self.sent {
            Sent::NoPublish => error,
            Sent::When(is_sent) if !is_sent.load(Ordering::Acquire) => error.with_outcome(Outcome::NotSent),
            Sent::Yes | Sent::When(_) => error.with_outcome(Outcome::Unknown),
        }
    }
}

impl<T> Pending<T> {
    /// Makes an answer that is there already.
    pub fn ready(result: Result<T>) -> Self {
        Pending(State::Ready(Some(result)))
    }
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn new(terms: Terms, answer: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Pending(State::Waiting(Box::new(Waiting { answer: Box::pin(answer), terms, sleep: None })))
    }

    /// Blocks this thread until the answer is there.
    ///
    /// On the thread of the connection's hub it turns the hub, the [I/O class](crate::hub::Class::Io) only: no callback of the
    /// application runs meanwhile, so it may be called from inside one. Elsewhere it parks the thread, and some thread must be
    /// turning the hub.
    ///
    /// # Errors
    ///
    /// The operation's, or `Timeout` when its deadline passes first; the text says so when the hub is not running.
    #[inline]
    pub fn wait(self) -> Result<T> {
        match self.0 {
            State::Ready(result) => result.unwrap_or_else(|| Err(taken())),
            State::Waiting(mut waiting) => waiting.wait(),
        }
    }

    /// Returns an answer that waits for a second one, within the deadline of the first.
    pub(crate) fn and_then<U, F>(self, next: impl FnOnce(T) -> F + Send + 'static) -> Pending<U>
    where
        U: Send + 'static,
        F: Future<Output = Result<U>> + Send + 'static,
    {
        match self.0 {
            State::Ready(Some(Err(error))) => Pending::ready(Err(error)),
            State::Ready(_) => Pending::ready(Err(taken())),
            State::Waiting(waiting) => {
                let Waiting { answer, terms, .. } = *waiting;
                Pending::new(terms, async move { next(answer.await?).await })
            }
        }
    }

    /// Says of an error that nothing was sent, unless it says otherwise itself.
    pub(crate) fn or_not_sent(self) -> Self {
        let not_sent = |error: Error| {
            if error.outcome().is_some() { error } else { error.with_outcome(Outcome::NotSent) }
        };
        match self.0 {
            State::Ready(result) => Pending(State::Ready(result.map(|result| result.map_err(not_sent)))),
            State::Waiting(waiting) => {
                let Waiting { answer, terms, .. } = *waiting;
                Pending::new(terms, async move { answer.await.map_err(not_sent) })
            }
        }
    }

    /// Applies [`Terms::of_publish`].
    pub(crate) fn of_publish(mut self, sent: Sent) -> Self {
        if let State::Waiting(waiting) = &mut self.0 {
            waiting.terms = waiting.terms.clone().of_publish(sent);
        }
        self
    }

    /// Returns an answer that passes this one's value through `change`.
    pub fn map<U: Send + 'static>(self, change: impl FnOnce(T) -> U + Send + 'static) -> Pending<U> {
        match self.0 {
            State::Ready(result) => Pending(State::Ready(result.map(|result| result.map(change)))),
            State::Waiting(waiting) => {
                let Waiting { answer, terms, .. } = *waiting;
                Pending::new(terms, async move { answer.await.map(change) })
            }
        }
    }
}

impl<T> Waiting<T> {
    fn wait(&mut self) -> Result<T> {
        let deadline = self.terms.deadline();
        let mut result = None;
        {
            let mut answer = pin!(async { result = Some(self.answer.as_mut().await) });
            match hub::wait_on_own_hub(&self.terms.hub, answer.as_mut(), Some(deadline)) {
                Some(turned) => drop(turned?),
                None => park(answer.as_mut(), &self.terms.hub, deadline),
            }
        }
        result.unwrap_or_else(|| Err(self.terms.timed_out()))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let waiting = match &mut self.0 {
            State::Ready(result) => return Poll::Ready(result.take().unwrap_or_else(|| Err(taken()))),
            State::Waiting(waiting) => waiting,
        };
        if let Poll::Ready(result) = waiting.answer.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        let terms = &waiting.terms;
        let sleep = waiting.sleep.get_or_insert_with(|| deadline_hub(&terms.hub).sleep_until(terms.deadline()));
        Pin::new(sleep).poll(cx).map(|()| Err(waiting.terms.timed_out()))
    }
}

impl<T> Unpin for Pending<T> {}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(_) => f.write_str("Pending(ready)"),
            State::Waiting(waiting) => write!(f, "Pending({})", waiting.terms.operation),
        }
    }
}

#[cold]
fn taken() -> Error {
    Error::new(ErrorKind::InvalidState, "an answer was polled again after it was given")
}

/// The hub that keeps a deadline: the one this thread turns, if it carries the operation, else the shared one, which no
/// callback of the application can block.
fn deadline_hub(own: &HubHandle) -> HubHandle {
    if hub::local_hub(own.id()).is_some() {
        return own.io();
    }
    hub::shared_hub().map_or_else(|_| own.io(), |shared| shared.io())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn park(mut future: Pin<&mut dyn Future<Output = ()>>, hub: &HubHandle, deadline: Instant) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    while future.as_mut().poll(&mut cx).is_pending() {
        let left = deadline.saturating_duration_since(hub.now());
        if left.is_zero() || hub.is_closed() {
            return;
        }
        thread::park_timeout(left);
    }
}
