//! What happens once per tick.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kombu_core::hub::{Hub, Scheduled};

use super::Session;

impl Session {
    pub(super) fn register(self: &Arc<Self>, hub: &dyn Hub) {
        let weak = Arc::downgrade(self);
        let tick = hub.on_tick(Box::new(move |hub| {
            if let Some(session) = weak.upgrade() {
                session.on_tick(hub);
            }
        }));
        self.lock(&self.hooks).push(tick);
    }

    /// Sees to it that the next tick looks at what was changed. From any thread; costs nothing if that is seen to already.
    pub(crate) fn touch(&self) {
        if self.dirty.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            self.handle.schedule(me);
        }
    }

    /// Sends the settles since the last tick.
    pub(crate) fn submit_settles(&self) {
        let settles = std::mem::take(&mut *self.lock(&self.settles));
        settles.submit(self);
    }

    fn on_tick(self: &Arc<Self>, hub: &dyn Hub) {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        self.poller().look_at_credit();
        self.submit_settles();
        let watched = std::mem::take(&mut *self.lock(&self.watched));
        for channel in watched {
            channel.watch_publishes(self, hub);
        }
        self.submit_standings();
        let (links, unused) = {
            let mut poller = self.poller();
            poller.on_poll_start(self, hub);
            let unused = poller.take_unused();
            (poller.filled_links(), unused)
        };
        for link in unused {
            link.close(hub);
        }
        self.deliver_broadcasts();
        self.submit_route_checks();
        self.submit_history();
        self.submit_wait();
        self.watch_due(hub);
        self.command.flush(hub);
        for link in links {
            link.flush(hub);
        }
    }

    /// Does now what the next tick would do first: while what has just come is handled, the server is at work on what is asked for next.
    /// Only where there is much to ask for; whoever calls must hold nothing.
    pub(crate) fn tick_early(self: &Arc<Self>, hub: &dyn Hub) {
        let is_worth_it = {
            let mut poller = self.poller();
            poller.look_at_credit();
            poller.room() >= EARLY_ROOM
        };
        if is_worth_it {
            self.touch();
            self.on_tick(hub);
        }
    }
}

/// A tick is all that is asked for: the hook does the work, once, after whatever else the tick brings.
impl Scheduled for Session {
    fn run(self: Arc<Self>, _hub: &dyn Hub) {}
}

/// How many messages must be free to be taken for them to be asked for before the tick. Fewer are asked for with what is settled meanwhile.
const EARLY_ROOM: usize = 32;
