//! What a connection does with what its channels tell.

use std::sync::{Arc, Weak};

use super::event::ConnectionEvent;
use super::inner::Inner;
use crate::answer::Returned;
use crate::channel::{ChannelEvents, Malformed, Unconfirmed};
use crate::error::Error;
use crate::short_str::ShortStr;

/// What is done when the channel ends.
type OnClosed = Box<dyn Fn(&Arc<Inner>, Error) + Send + Sync>;

/// Hears from one channel of a connection. Every channel's events become the connection's; only the end of the channel means
/// something else for each.
pub(crate) struct Observer {
    inner: Weak<Inner>,
    on_closed: OnClosed,
}

impl Observer {
    pub(crate) fn new(inner: Weak<Inner>, on_closed: impl Fn(&Arc<Inner>, Error) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Observer { inner, on_closed: Box::new(on_closed) })
    }

    fn tell(&self, event: ConnectionEvent) {
        if let Some(inner) = self.inner.upgrade() {
            inner.emit(event);
        }
    }
}

impl ChannelEvents for Observer {
    fn malformed(&self, malformed: Malformed) {
        self.tell(ConnectionEvent::Malformed(malformed));
    }

    fn returned(&self, returned: Returned) {
        self.tell(ConnectionEvent::Returned(returned));
    }

    fn unconfirmed(&self, publishes: Vec<Unconfirmed>, error: &Error) {
        match self.inner.upgrade() {
            Some(inner) => {
                inner.keep_unconfirmed(publishes, error);
                inner.recover();
            }
            None => publishes.into_iter().for_each(|publish| publish.fail(error)),
        }
    }

    fn blocked(&self, reason: Option<ShortStr>) {
        self.tell(ConnectionEvent::Blocked(reason));
    }

    fn settle_failed(&self, error: Error) {
        self.tell(ConnectionEvent::SettleFailed(error));
    }

    fn disturbed(&self, error: Option<Error>) {
        if let Some(inner) = self.inner.upgrade() {
            inner.disturbed(error);
        }
    }

    fn closed(&self, error: Error) {
        if let Some(inner) = self.inner.upgrade() {
            (self.on_closed)(&inner, error);
        }
    }
}
