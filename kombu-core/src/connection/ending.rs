//! How a connection ends: asked to, with its last handle, or with its hub.

use std::time::Duration;

use super::closed;
use super::inner::{Inner, Late};
use crate::error::Result;
use crate::hub::{self, Hub, instant_after};
use crate::pending::Pending;

/// How long the drop of the last handle waits.
const LAST_WAIT: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) fn close(&self) -> Pending<()> {
        self.close_within(self.options.close_timeout)
    }

    fn close_within(&self, timeout: Duration) -> Pending<()> {
        let Some(inner) = self.this.upgrade() else { return Pending::ready(Ok(())) };
        if self.hub.get().is_none() {
            self.closing.raise();
            return Pending::ready(Ok(()));
        }
        // The step is queued before the flag is raised, so that what was asked for before is done before.
        let pending = self.in_turn("connection.close", timeout, Late::Done, move |_| {
            Box::pin(async move { inner.shut_down().await })
        });
        if self.closing.raise() { pending } else { Pending::ready(Ok(())) }
    }

    /// The last handle is gone, perhaps at the end of `main`: what is queued is sent and what is held goes back before the
    /// process does, if that takes no longer than [`LAST_WAIT`].
    pub(super) fn close_at_last(&self) {
        let Some(hub) = self.hub.get() else { return };
        if hub.is_closed() || self.closing.is_raised() {
            return;
        }
        let is_turned = hub.is_running() || hub::local_hub(hub.id()).is_some();
        let closing = self.close_within(self.options.close_timeout.min(LAST_WAIT));
        // On a hub that nobody turns it would be a wait for nothing.
        if is_turned {
            let _ = closing.wait();
        }
    }

    async fn shut_down(&self) -> Result<()> {
        for consumer in self.living_consumers() {
            consumer.abandon();
        }
        let result = match self.live.swap(None) {
            Some(live) => live.shut_down().await,
            None => Ok(()),
        };
        self.fail_unconfirmed(&closed());
        self.stop_own_hubs();
        // The hub it was registered with, wherever its I/O runs.
        if let (Some(hub), Some(hook)) = (self.user_hub.get(), self.close_hook.get().copied()) {
            hub.io().call_soon(move |hub| {
                hub.remove_hook(hook);
            });
        }
        result
    }

    /// The hub is closing: what is queued is sent and what is held is given back while it can still be turned.
    pub(super) fn close_on_hub(&self, hub: &dyn Hub) {
        let deadline = instant_after(hub.now(), self.options.close_timeout);
        let mut closing = std::pin::pin!({
            let pending = self.close();
            async move { drop(pending.await) }
        });
        if let Err(error) = hub.wait_io(closing.as_mut(), Some(deadline)) {
            // A hub that cannot be turned any more leaves it to the broker to give back what is held.
            tracing::warn!("the connection is not closed in good order: {error}");
        }
    }

    /// Ends the threads that are this connection's alone.
    fn stop_own_hubs(&self) {
        if let Some(io) = self.io_hub.get() {
            // Its callbacks run on the application's hub.
            io.stop();
        } else if let Some(user) = self.user_hub.get()
            && self.hub.get().is_none_or(|hub| hub.id() != user.id())
        {
            user.stop();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_own_hubs();
    }
}
