//! What a thread keeps at hand while a callback works off messages.
//!
//! *A reference to the origin.* Each message of a consumer refers to its origin. The reference of one that was answered is kept for
//! the next one: counting references up and down costs as much as all else that core does for a message.
//!
//! *The channel.* What is acknowledged on it during the run, and what comes, the transport may leave until the run
//! [catches up](crate::Channel::catch_up).

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use crate::message::{HeldChannel, Origin};

thread_local! {
    /// The channel of the run that is under way on this thread; null when none is.
    static CHANNEL: Cell<*const HeldChannel> = const { Cell::new(ptr::null()) };
    static SPARE: Cell<Option<Arc<Origin>>> = const { Cell::new(None) };
}

/// One run of a callback over messages of one channel, on this thread until it is dropped.
pub(crate) struct Run {
    channel: Arc<HeldChannel>,
    outer: *const HeldChannel,
    /// A message was worked off since it caught up.
    is_behind: Cell<bool>,
}

impl Run {
    pub(crate) fn start(channel: &Arc<HeldChannel>) -> Self {
        let channel = Arc::clone(channel);
        let outer = CHANNEL.replace(Arc::as_ptr(&channel));
        Run { channel, outer, is_behind: Cell::new(false) }
    }

    /// Returns a reference to `origin`, whose next message is worked off: the one kept, or a new one.
    #[inline]
    pub(crate) fn take(&self, origin: &Arc<Origin>) -> Arc<Origin> {
        self.is_behind.set(true);
        // A thread that is ending keeps nothing.
        let kept = SPARE.try_with(Cell::take).ok().flatten();
        kept.filter(|kept| Arc::ptr_eq(kept, origin)).unwrap_or_else(|| Arc::clone(origin))
    }

    /// Has the transport do what it left until now, if there may be something.
    pub(crate) fn catch_up(&self) {
        if self.is_behind.take() {
            self.channel.catch_up();
        }
    }

    /// Says whether it is about messages of `channel`.
    #[inline]
    pub(crate) fn is_on(&self, channel: &Arc<HeldChannel>) -> bool {
        Arc::ptr_eq(&self.channel, channel)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        CHANNEL.set(self.outer);
        self.catch_up();
        // What is kept may be the last reference, whose drop closes a channel: it goes when the cell is free.
        drop(SPARE.try_with(Cell::take));
    }
}

/// Says whether this thread is working off messages of `channel`.
#[inline]
pub(crate) fn is_under_way(channel: &HeldChannel) -> bool {
    ptr::eq(CHANNEL.get(), channel)
}

/// Keeps a reference for the next message, if a run is under way; else drops it.
#[inline]
pub(crate) fn give(origin: Arc<Origin>) {
    if is_under_way(&origin.channel) {
        drop(SPARE.try_with(|spare| spare.replace(Some(origin))));
    }
}
