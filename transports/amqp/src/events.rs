//! Who learns what happens to a channel.

use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::ChannelEvents;

/// The one who observes a channel; also what outlives the channel tells it.
#[derive(Default)]
pub(crate) struct Events(Mutex<Option<Arc<dyn ChannelEvents>>>);

impl Events {
    pub(crate) fn set(&self, events: Arc<dyn ChannelEvents>) {
        // Nothing panics while the lock is held; what was there is dropped with it released.
        let old = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(events);
        drop(old);
    }

    pub(crate) fn get(&self) -> Option<Arc<dyn ChannelEvents>> {
        // As above.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
