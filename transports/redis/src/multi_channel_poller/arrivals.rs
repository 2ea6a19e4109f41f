//! Consumers that have just come: each is in the turn of its queue's consumers before it is said to consume.
//!
//! Redis hands a message to whoever has waited longest. Until the socket stands that waits on a consumer's behalf, everything goes to
//! the others; whoever starts two consumers and publishes then finds most of it at the one whose socket was there.

use kombu_core::ShortStr;
use kombu_core::reply::{self, Reply, ReplySender};

use super::MultiChannelPoller;
use crate::deliver::Raw;

/// The queues of consumers that have just come, and who is told that their turn begins: by the end of the sender.
#[derive(Default)]
pub(super) struct Arrivals(Vec<(ShortStr, ReplySender<()>)>);

impl MultiChannelPoller {
    /// Returns what ends when a consumer of `queue` gets its share: something waits for it, or it was served. `None` when nothing will
    /// wait for it alone.
    pub(crate) fn arrive(&mut self, queue: &ShortStr) -> Option<Reply<()>> {
        if self.has_arrived(queue) {
            return None;
        }
        let (sender, reply) = reply::channel();
        self.arrivals.0.push((queue.clone(), sender));
        Some(reply)
    }

    /// Tells those whose turn has begun.
    pub(super) fn tell_arrived(&mut self) {
        if self.arrivals.0.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.arrivals.0);
        waiting.retain(|(queue, _)| !self.has_arrived(queue));
        self.arrivals.0 = waiting;
    }

    /// Tells those that were served.
    pub(super) fn tell_served(&mut self, raws: &[Raw]) {
        self.arrivals.0.retain(|(queue, _)| !raws.iter().any(|raw| raw.list.queue == *queue));
    }

    fn has_arrived(&self, queue: &str) -> bool {
        let Some(active) = self.queues.get(queue) else { return true };
        self.is_stopped
            || self.is_paused
            || self.wakes.moved(active) == 0
            || active.credit() == 0
            || self.waiters.is_armed_for(queue)
    }
}
