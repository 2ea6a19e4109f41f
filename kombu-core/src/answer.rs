//! What the hot calls of a channel return: answers that may be awaited or dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::reply::Reply;
use crate::short_str::ShortStr;

/// What the broker says of a publish.
#[derive(Clone, Debug, PartialEq)]
pub enum Confirmation {
    /// The broker has it. `queues` is how many queues (or, for a broadcast, receivers) got it, where the transport knows.
    Confirmed {
        /// How many queues got it.
        queues: Option<u32>,
    },
    /// It was `mandatory`, matched no queue, and came back.
    Returned(Box<Returned>),
}

/// A mandatory message that matched no queue (AMQP `basic.return`).
#[derive(Clone, Debug, PartialEq)]
pub struct Returned {
    /// AMQP's reply code; 312 is `NO_ROUTE`.
    pub code: u16,
    /// The broker's words.
    pub text: ShortStr,
    /// The message.
    pub envelope: Arc<Envelope>,
}

/// The answer to a `basic_publish`: ready when the broker has the message. It may be dropped; the message is sent all the same.
pub type Confirm = Answer<Confirmation>;

/// The answer to an `ack`, `nack` or `reject`: ready when the broker has taken it. It may be dropped; the message is settled
/// all the same, and a failure is reported to the connection's event handler.
pub type Settled = Answer<()>;

/// A future of a broker's answer. Cancellation safe: dropping it gives up the answer, never the request.
pub struct Answer<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T>>),
    Reply(Reply<Result<T>>),
    Batch(Arc<AnswerBatch<T>>, u32),
}

impl<T> Answer<T> {
    /// Makes an answer that is there already.
    #[inline]
    pub fn ready(result: Result<T>) -> Self {
        Answer(State::Ready(Some(result)))
    }

    /// Makes an answer that arrives by `reply`; a reply dropped unanswered reads as `ConnectionLost`.
    pub fn reply(reply: Reply<Result<T>>) -> Self {
        Answer(State::Reply(reply))
    }

    /// Returns the answer if it is there, without waiting and without keeping a waker; otherwise itself.
    ///
    /// # Errors
    ///
    /// Itself, when the answer is not there.
    #[inline]
    pub fn now(self) -> Result<Result<T>, Self> {
        match self.0 {
            State::Ready(Some(result)) => Ok(result),
            state => Err(Answer(state)),
        }
    }

    /// Returns the answer if it is there, without waiting and without keeping a waker; the answer is taken.
    #[inline]
    pub fn take_now(&mut self) -> Option<Result<T>> {
        match &mut self.0 {
            State::Ready(result) => result.take(),
            _ => None,
        }
    }
}

impl<T: Clone> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().unwrap_or_else(|| Err(polled_again()))),
            State::Reply(reply) => Pin::new(reply).poll(cx).map(|value| value.unwrap_or_else(|| Err(lost()))),
            State::Batch(batch, index) => batch.poll(*index, cx),
        }
    }
}

impl<T> Unpin for Answer<T> {}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            State::Ready(_) => "Answer(ready)",
            _ => "Answer(waiting)",
        })
    }
}

#[cold]
fn lost() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the connection ended before the answer came")
}

#[cold]
fn polled_again() -> Error {
    Error::new(ErrorKind::InvalidState, "an answer was polled again after it was given")
}

/// The common answer of many requests that go to the broker as one command, such as the acks of a tick: one allocation for
/// all of them.
pub struct AnswerBatch<T>(Mutex<BatchState<T>>);

struct Outcome<T> {
    result: Result<T>,
    failed: Vec<(u32, Error)>,
}

struct BatchState<T> {
    outcome: Option<Outcome<T>>,
    wakers: Vec<Waker>,
}

impl<T: Clone> AnswerBatch<T> {
    /// Makes a batch nobody has answered.
    pub fn new() -> Arc<Self> {
        Arc::new(AnswerBatch(Mutex::new(BatchState { outcome: None, wakers: Vec::new() })))
    }

    /// Returns the answer of request number `index`.
    pub fn answer(self: &Arc<Self>, index: u32) -> Answer<T> {
        Answer(State::Batch(Arc::clone(self), index))
    }

    /// Answers every request with `result`, but those numbered in `failed` with their own error; wakes whoever waits. Only the
    /// first call counts.
    pub fn finish(&self, result: Result<T>, failed: Vec<(u32, Error)>) {
        let wakers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(Outcome { result, failed });
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, index: u32, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.outcome {
            Some(Outcome { result, failed }) => {
                let own = failed.iter().find(|(number, _)| *number == index).map(|(_, error)| Err(error.duplicate()));
                Poll::Ready(own.unwrap_or_else(|| match result {
                    Ok(value) => Ok(value.clone()),
                    Err(error) => Err(error.duplicate()),
                }))
            }
            None => {
                if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for AnswerBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerBatch")
    }
}
