//! One consumer of a channel, as the poller sees it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use kombu_core::delivery::{ConsumerTag, DeliverySink};
use kombu_core::method::BasicConsume;
use kombu_core::{Result, ShortStr};

use crate::channel_core::ChannelCore;
use crate::cycle::Credits;

/// A consumer: where its deliveries go, and how many more it may have.
pub(crate) struct Consumer {
    pub(crate) tag: ConsumerTag,
    pub(crate) queue: ShortStr,
    pub(crate) no_ack: bool,
    /// Its number on the connection.
    pub(crate) number: u64,
    /// `x-priority`: those of a higher one are served first.
    pub(crate) priority: i64,
    /// Whether it is to be alone on its queue.
    pub(crate) exclusive: bool,
    pub(crate) sink: Arc<dyn DeliverySink>,
    pub(crate) channel: Weak<ChannelCore>,
    /// How many deliveries it may hold unsettled; 0 is no limit.
    window: u32,
    unsettled: AtomicU32,
    cancelled: AtomicBool,
    /// Whether others come first: it takes nothing.
    held_back: AtomicBool,
    credits: Arc<Credits>,
    /// Whether its credit has changed since it was looked at.
    has_changed: AtomicBool,
}

/// How many deliveries may be unsettled at once, and how many are.
#[derive(Default)]
pub(crate) struct Window {
    limit: AtomicU32,
    unsettled: AtomicU32,
}

impl Window {
    /// Sets the limit; 0 is none.
    pub(crate) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Release);
    }

    fn credit(&self) -> usize {
        credit(self.limit.load(Ordering::Acquire), self.unsettled.load(Ordering::Acquire))
    }
}

impl Consumer {
    /// Makes one that has no delivery yet.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` and `Unsupported` for arguments that are wrong or that nobody understands.
    pub(crate) fn new(
        tag: ConsumerTag,
        method: &BasicConsume,
        number: u64,
        sink: Arc<dyn DeliverySink>,
        channel: &Arc<ChannelCore>,
    ) -> Result<Arc<Self>> {
        let window = channel.prefetch();
        Ok(Arc::new(Consumer {
            credits: Arc::clone(&channel.session.credits),
            has_changed: AtomicBool::new(false),
            tag,
            queue: method.queue.clone(),
            no_ack: method.no_ack,
            number,
            priority: kombu_virtual::consumer_priority(method)?,
            exclusive: method.exclusive,
            sink,
            channel: Arc::downgrade(channel),
            window,
            unsettled: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            held_back: AtomicBool::new(false),
        }))
    }

    /// Returns how many more deliveries it may have now.
    pub(crate) fn credit(&self) -> usize {
        if self.cancelled.load(Ordering::Acquire) || self.held_back.load(Ordering::Acquire) {
            return 0;
        }
        self.room()
    }

    /// Returns how many more deliveries it has room for, whether or not others come first.
    pub(crate) fn room(&self) -> usize {
        if self.no_ack {
            // Nothing is settled: what counts is what the application has not taken yet.
            return NO_ACK_WINDOW.saturating_sub(self.sink.waiting());
        }
        let Some(channel) = self.channel.upgrade() else { return 0 };
        credit(self.window, self.unsettled.load(Ordering::Acquire)).min(channel.window.credit())
    }

    /// Says whether it may have one more of what was taken already.
    pub(crate) fn may_have(&self) -> bool {
        if self.no_ack { !self.cancelled.load(Ordering::Acquire) } else { self.credit() > 0 }
    }

    /// Says whether it shares a window with other consumers of its channel.
    pub(crate) fn shares_window(&self) -> bool {
        !self.no_ack && self.channel.upgrade().is_some_and(|channel| channel.window.limit.load(Ordering::Acquire) > 0)
    }

    /// Counts a delivery on its way to the application.
    pub(crate) fn take_credit(&self) {
        if !self.no_ack {
            self.unsettled.fetch_add(1, Ordering::AcqRel);
            if let Some(channel) = self.channel.upgrade() {
                channel.window.unsettled.fetch_add(1, Ordering::AcqRel);
            }
            self.note_changed();
        }
    }

    /// Counts a delivery that is settled, or was none.
    pub(crate) fn return_credit(&self) {
        if !self.no_ack {
            // Every return follows its take, so neither counter falls below zero.
            self.unsettled.fetch_sub(1, Ordering::AcqRel);
            if let Some(channel) = self.channel.upgrade() {
                channel.window.unsettled.fetch_sub(1, Ordering::AcqRel);
            }
            self.note_changed();
        }
    }

    /// Notes whether others come first; says whether that is new.
    pub(crate) fn hold_back(&self, is_held_back: bool) -> bool {
        let has_changed = self.held_back.swap(is_held_back, Ordering::AcqRel) != is_held_back;
        if has_changed {
            self.note_changed();
        }
        has_changed
    }

    /// Ends it: it gets nothing more.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.note_changed();
    }

    /// Notes that its credit has changed, or is to be looked at for the first time.
    pub(crate) fn note_changed(&self) {
        if !self.has_changed.swap(true, Ordering::AcqRel) {
            self.credits.note(&self.queue);
        }
    }

    /// Notes that it is looked at: before that, so that no change is missed.
    pub(crate) fn note_looked(&self) {
        self.has_changed.swap(false, Ordering::AcqRel);
    }
}

fn credit(limit: u32, unsettled: u32) -> usize {
    if limit == 0 { usize::MAX } else { limit.saturating_sub(unsettled) as usize }
}

/// How many messages without acknowledgement wait for the application before no more are taken.
const NO_ACK_WINDOW: usize = 1024;
