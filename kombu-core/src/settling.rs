//! The answer to come to an `ack`, `reject` or `requeue`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::answer::Settled;
use crate::connection::closed;
use crate::error::Result;
use crate::message::Origin;
use crate::pending::Pending;

/// The answer to come to an [`ack`](crate::Message::ack), [`reject`](crate::Message::reject) or
/// [`requeue`](crate::Message::requeue), which is already on its way.
///
/// It may be dropped, as it mostly is: the message is settled all the same, and a failure is reported to the
/// [connection's event handler](crate::Connection::on_event). Or it is awaited, or waited for with [`wait`](Settling::wait), with
/// the connection's operation time-out as deadline.
pub struct Settling(State);

enum State {
    /// The answer is there.
    Ready(Result<()>),
    /// Nobody has asked for it yet.
    Asked(Settled, Arc<Origin>),
    Pending(Pending<()>),
}

impl Settling {
    #[inline]
    pub(crate) fn new(answer: Settled, origin: Arc<Origin>) -> Self {
        Settling(State::Asked(answer, origin))
    }

    #[inline]
    pub(crate) fn ready(result: Result<()>) -> Self {
        Settling(State::Ready(result))
    }

    /// Blocks this thread until the broker has taken it; see [`Pending::wait`].
    ///
    /// # Errors
    ///
    /// `LeaseLost` or `ChannelGone` when the broker may deliver the message again, `Timeout`, `Closed`.
    pub fn wait(self) -> Result<()> {
        match self.0 {
            State::Ready(result) => result,
            State::Asked(answer, origin) => pending(answer, &origin).wait(),
            State::Pending(pending) => pending.wait(),
        }
    }
}

/// Gives the answer a deadline.
fn pending(answer: Settled, origin: &Origin) -> Pending<()> {
    let Some(inner) = origin.inner.upgrade() else {
        return Pending::ready(Err(closed().during("basic.ack")));
    };
    match inner.terms("basic.ack", inner.options.operation_timeout) {
        Ok(terms) => Pending::new(terms, answer),
        Err(error) => Pending::ready(Err(error)),
    }
}

impl Future for Settling {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !matches!(self.0, State::Pending(_)) {
            let asked = std::mem::replace(&mut self.0, State::Ready(Ok(())));
            self.0 = State::Pending(match asked {
                State::Ready(result) => Pending::ready(result),
                State::Asked(answer, origin) => pending(answer, &origin),
                State::Pending(pending) => pending,
            });
        }
        match &mut self.0 {
            State::Pending(pending) => Pin::new(pending).poll(cx),
            State::Ready(_) | State::Asked(..) => unreachable!("made pending on the lines above"),
        }
    }
}

impl fmt::Debug for Settling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settling")
    }
}
