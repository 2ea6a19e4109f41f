//! What the end of a consumer's own channel means.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};

use super::core::ConsumerCore;
use crate::connection::{ConnectionEvent, Inner, Live};
use crate::error::{Error, Scope};

/// Watches the channel of one start of a consumer.
pub(super) struct Watch {
    core: Weak<ConsumerCore>,
    live: Weak<Live>,
    state: AtomicU8,
}

impl Watch {
    /// The consumer is being started: whoever starts it learns of a failure by its answers.
    const STARTING: u8 = 0;
    const ARMED: u8 = 1;
    const DIED: u8 = 2;

    pub(super) fn new(core: &Arc<ConsumerCore>, live: &Arc<Live>) -> Arc<Self> {
        let (core, live) = (Arc::downgrade(core), Arc::downgrade(live));
        Arc::new(Watch { core, live, state: AtomicU8::new(Self::STARTING) })
    }

    /// From here on a lost channel makes the consumer start anew; an error if it was lost already.
    pub(super) fn arm(&self) -> Result<u8, u8> {
        self.state.compare_exchange(Self::STARTING, Self::ARMED, Ordering::AcqRel, Ordering::Acquire)
    }

    pub(super) fn closed(&self, inner: &Arc<Inner>, error: Error) {
        let (Some(core), Some(live)) = (self.core.upgrade(), self.live.upgrade()) else { return };
        if error.scope() == Scope::Connection {
            inner.lost(&live, error);
            return;
        }
        let before = self.state.compare_exchange(Self::STARTING, Self::DIED, Ordering::AcqRel, Ordering::Acquire);
        if before.is_err() {
            inner.emit(ConnectionEvent::ConsumerFailed(error));
            inner.restart(core, 0);
        }
    }
}
