//! One publish on its way.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use kombu_core::method::BasicPublish;
use kombu_core::reply::ReplySender;
use kombu_core::{Confirmation, Envelope, Error, ErrorKind, Outcome, Result, Returned, Unconfirmed};

use crate::client::{Flight, Landed};

/// A message between `basic_publish` and its answer.
pub(super) struct Entry {
    /// Counts the publishes of a channel.
    pub(super) number: u64,
    pub(super) is_mandatory: bool,
    pub(super) envelope: Arc<Envelope>,
    /// What it counts for in the backlog.
    pub(super) size: usize,
    pub(super) deadline: Option<Instant>,
    /// `None` once it is answered.
    pub(super) answer: Option<ReplySender<Result<Confirmation>>>,
    /// Whether the broker may have it.
    pub(super) was_sent: bool,
    /// Whether it was in flight when the broker closed the channel.
    pub(super) is_suspect: bool,
    pub(super) flight: Option<Flight>,
    pub(super) landing: Option<Landing>,
    /// A return was found to be its; there is only one.
    pub(super) came_back: bool,
    /// It came back, and its publisher is not told yet.
    pub(super) returned: Option<Box<Returned>>,
}

/// How a flight ended.
#[derive(Clone, Copy)]
pub(super) struct Landing {
    pub(super) is_nacked: bool,
    /// No return came with it: everything returned before it had been handed out with others.
    pub(super) is_clean: bool,
    /// The look at which it was found.
    pub(super) round: u64,
}

impl Landing {
    /// The answer to a publish that did not come back.
    pub(super) fn confirmation(self) -> Result<Confirmation> {
        if self.is_nacked {
            let error = Error::new(ErrorKind::Nacked, "the broker could not take the message");
            return Err(error.with_outcome(Outcome::Unknown));
        }
        Ok(Confirmation::Confirmed { queues: None })
    }
}

impl Entry {
    pub(super) fn new(
        is_mandatory: bool,
        envelope: Arc<Envelope>,
        size: usize,
        deadline: Option<Instant>,
        answer: ReplySender<Result<Confirmation>>,
    ) -> Self {
        Entry {
            number: 0,
            is_mandatory,
            envelope,
            size,
            deadline,
            answer: Some(answer),
            was_sent: false,
            is_suspect: false,
            flight: None,
            landing: None,
            came_back: false,
            returned: None,
        }
    }

    /// Looks whether the flight has landed; one that has is done with.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Landed>> {
        let Some(flight) = &mut self.flight else { return Poll::Pending };
        let landed = flight.as_mut().poll(cx);
        if landed.is_ready() {
            self.flight = None;
        }
        landed
    }

    /// Says whether `returned` is this message: address and body, and if `strictly` properties and headers.
    pub(super) fn matches(&self, returned: &Envelope, strictly: bool) -> bool {
        let own = &*self.envelope;
        let is_same =
            own.exchange == returned.exchange && own.routing_key == returned.routing_key && own.body == returned.body;
        is_same && (!strictly || (own.headers == returned.headers && has_same_properties(own, returned)))
    }

    /// Makes it wait again. A message the broker may have says so.
    pub(super) fn ground(&mut self) {
        self.flight = None;
        self.landing = None;
        self.came_back = false;
        self.is_suspect = true;
        if !std::mem::replace(&mut self.was_sent, true) {
            let mut envelope = (*self.envelope).clone();
            envelope.headers.table_mut().insert("x-republished", true);
            self.envelope = Arc::new(envelope);
        }
    }

    /// The answer to a publish that is not confirmed in time.
    pub(super) fn timed_out(&self) -> Error {
        if self.was_sent || self.flight.is_some() {
            let error = Error::new(ErrorKind::Timeout, "the broker did not confirm in time");
            return error.with_outcome(Outcome::Unknown);
        }
        Error::new(ErrorKind::Timeout, "the broker took no publishes in time").with_outcome(Outcome::NotSent)
    }

    /// Hands it to whoever publishes again on another connection, unless it has its answer.
    pub(super) fn into_unconfirmed(self) -> Option<Unconfirmed> {
        let was_sent = self.was_sent || self.flight.is_some() || self.landing.is_some();
        let method = BasicPublish { mandatory: self.is_mandatory, timeout: None };
        let (envelope, deadline) = (self.envelope, self.deadline);
        self.answer.map(|answer| Unconfirmed { method, envelope, deadline, was_sent, answer })
    }
}

/// Compares what came back with what was sent, as far as the wire keeps it.
fn has_same_properties(own: &Envelope, returned: &Envelope) -> bool {
    let (own, returned) = (&own.properties, &returned.properties);
    own.content_type() == returned.content_type()
        && own.content_encoding() == returned.content_encoding()
        && own.delivery_mode == returned.delivery_mode
        && own.priority.unwrap_or(0) == returned.priority.unwrap_or(0)
        && own.correlation_id() == returned.correlation_id()
        && own.reply_to() == returned.reply_to()
        && own.message_id() == returned.message_id()
        && own.timestamp() == returned.timestamp()
        && own.kind() == returned.kind()
        && own.app_id() == returned.app_id()
        && own.expiration().map(|span| span.as_millis()) == returned.expiration().map(|span| span.as_millis())
}
