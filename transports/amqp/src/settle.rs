//! Acks of a tick go out together: one frame for a run of them, instead of one for each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kombu_core::hub::{Hub, Scheduled};
use kombu_core::{DeliveryTag, Error, Result};

use crate::channel_core::ChannelCore;
use crate::client::ClientChannel;
use crate::lapin::channel_gone;

/// What was delivered on a channel and is not settled, and the acks that are not sent yet.
#[derive(Default)]
pub(crate) struct Settles(Mutex<State>);

#[derive(Default)]
struct State {
    held: BTreeSet<u64>,
    /// Every delivery up to this one was seen here.
    seen: u64,
    /// Deliveries beyond it that were seen: those between wait in the streams of other consumers.
    ahead: BTreeSet<u64>,
    /// Acknowledged, and not sent.
    acks: Vec<u64>,
    /// When the first of them was.
    since: Option<Instant>,
    /// Some deliveries never showed; an ack says nothing of any but its own.
    is_single: bool,
}

/// What is to be done about an ack that was queued.
enum Next {
    /// They are to be sent when the tick is over.
    Schedule,
    /// They are to be sent now.
    Flush,
    /// It goes with those before.
    Wait,
}

impl Settles {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; a poisoned state is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes deliveries; they are held until they are settled, unless they count as settled (`no_ack`).
    pub(crate) fn delivered(&self, tags: impl Iterator<Item = DeliveryTag>, no_ack: bool) {
        let mut state = self.lock();
        for tag in tags {
            state.see(tag.0);
            if !no_ack {
                state.held.insert(tag.0);
            }
        }
    }

    /// Queues an ack, and says what is to be done about it.
    fn ack(&self, tag: DeliveryTag, now: Instant) -> Next {
        let mut state = self.lock();
        state.acks.push(tag.0);
        match state.since {
            None => {
                state.since = Some(now);
                Next::Schedule
            }
            Some(since) if now.saturating_duration_since(since) > LONGEST => Next::Flush,
            Some(_) => Next::Wait,
        }
    }

    /// Sends the acks that are queued: each by its tag, a run of them by the last tag and whether it means those before, too.
    ///
    /// # Errors
    ///
    /// Why they cannot be sent, with the first that was not.
    fn flush(&self, mut send: impl FnMut(DeliveryTag, bool) -> Result<()>) -> Result<(), (DeliveryTag, Error)> {
        let mut state = self.lock();
        if state.acks.is_empty() {
            return Ok(());
        }
        state.since = None;
        let mut acks = std::mem::take(&mut state.acks);
        acks.sort_unstable();
        let (mut run, mut alone) = ((0, 0), 0);
        for at in 0..acks.len() {
            let tag = acks[at];
            if !state.is_single && tag <= state.seen && state.held.first() == Some(&tag) {
                state.held.pop_first();
                run = (tag, run.1 + 1);
            } else {
                state.held.remove(&tag);
                acks[alone] = tag;
                alone += 1;
            }
        }
        // Still under the lock, so that what another thread settles next is sent after these.
        let run = (run.1 > 0).then_some((run.0, run.1 > 1));
        let mut sent = Ok(());
        for (tag, multiple) in run.into_iter().chain(acks[..alone].iter().map(|tag| (*tag, false))) {
            let tag = DeliveryTag(tag);
            sent = sent.and_then(|()| send(tag, multiple).map_err(|error| (tag, error)));
        }
        acks.clear();
        state.acks = acks;
        sent
    }

    /// Forgets what was settled otherwise, alone or with everything before it; 0 is all there is.
    fn settled(&self, tag: DeliveryTag, multiple: bool) {
        let mut state = self.lock();
        match (multiple, tag.0) {
            (true, 0) => state.held.clear(),
            (true, tag) => state.held = state.held.split_off(&tag.saturating_add(1)),
            (false, tag) => _ = state.held.remove(&tag),
        }
    }

    /// Forgets everything: the broker took it back.
    pub(crate) fn recovered(&self) {
        self.lock().held.clear();
    }
}

impl State {
    fn see(&mut self, tag: u64) {
        if tag != self.seen + 1 {
            if !self.is_single {
                self.ahead.insert(tag);
            }
            if self.ahead.len() > MOST_AHEAD {
                self.is_single = true;
                self.ahead.clear();
            }
            return;
        }
        self.seen = tag;
        while self.ahead.remove(&(self.seen + 1)) {
            self.seen += 1;
        }
    }
}

impl ChannelCore {
    /// Queues an ack, to be sent with the others of the tick.
    pub(crate) fn ack_soon(self: &Arc<Self>, tag: DeliveryTag) -> Result<()> {
        if !self.client.is_open() {
            return Err(channel_gone());
        }
        match self.settles.ack(tag, self.session.handle.now()) {
            Next::Schedule => self.session.handle.schedule(Arc::clone(self) as Arc<dyn Scheduled>),
            Next::Flush => self.flush(),
            Next::Wait => {}
        }
        Ok(())
    }

    /// Sends the acks that are queued, so that what follows follows at the broker.
    pub(crate) fn flush(&self) {
        if let Err((tag, _)) = self.settles.flush(|tag, multiple| self.client.ack(tag, multiple)) {
            self.tell_failed(channel_gone().during("basic.ack").with("delivery_tag", tag));
        }
    }

    /// Settles by `how` now, after what is queued.
    pub(crate) fn settle_in_turn(
        &self,
        tag: DeliveryTag,
        multiple: bool,
        how: impl FnOnce(&dyn ClientChannel) -> Result<()>,
    ) -> Result<()> {
        self.flush();
        self.settles.settled(tag, multiple);
        how(&*self.client)
    }
}

impl Scheduled for ChannelCore {
    fn run(self: Arc<Self>, _: &dyn Hub) {
        self.flush();
    }
}

/// After how long an ack waits no longer for the tick to end: a handler takes its time.
const LONGEST: Duration = Duration::from_millis(5);
/// How many deliveries may be seen before an earlier one.
const MOST_AHEAD: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers `tags`, acknowledges `acks` and returns what is sent: tags, marked where they mean those before, too.
    fn sent(settles: &Settles, acks: &[u64]) -> Vec<String> {
        let now = Instant::now();
        acks.iter().for_each(|tag| _ = settles.ack(DeliveryTag(*tag), now));
        let mut sent = Vec::new();
        let flushed = settles.flush(|tag, multiple| {
            sent.push(format!("{tag}{}", if multiple { " and before" } else { "" }));
            Ok(())
        });
        flushed.unwrap();
        sent
    }

    fn deliver(settles: &Settles, tags: impl IntoIterator<Item = u64>) {
        settles.delivered(tags.into_iter().map(DeliveryTag), false);
    }

    #[test]
    fn a_run_goes_as_one() {
        let settles = Settles::default();
        deliver(&settles, 1..=9);
        assert_eq!(sent(&settles, &[1]), ["1"]);
        assert_eq!(sent(&settles, &[3, 2, 4]), ["4 and before"]);
        // 5 is still held.
        assert_eq!(sent(&settles, &[7, 6]), ["6", "7"]);
        assert_eq!(sent(&settles, &[5, 8]), ["8 and before"]);
        assert_eq!(sent(&settles, &[]), [""; 0]);
        // Nobody knows this one: the broker shall say so.
        assert_eq!(sent(&settles, &[9, 99]), ["9", "99"]);
        assert_eq!(sent(&settles, &[3]), ["3"]);
    }

    #[test]
    fn nothing_is_acknowledged_that_nobody_saw() {
        let settles = Settles::default();
        // 2 waits in another consumer's stream.
        deliver(&settles, [1, 3, 4]);
        assert_eq!(sent(&settles, &[1, 3, 4]), ["1", "3", "4"]);
        deliver(&settles, [2, 5, 6]);
        assert_eq!(sent(&settles, &[5, 6]), ["5", "6"]);
        assert_eq!(sent(&settles, &[2]), ["2"]);
        settles.delivered([7, 8].map(DeliveryTag).into_iter(), true);
        deliver(&settles, [9, 10]);
        assert_eq!(sent(&settles, &[9, 10]), ["10 and before"]);
    }

    #[test]
    fn what_is_settled_otherwise_holds_nothing_up() {
        let settles = Settles::default();
        deliver(&settles, 1..=12);
        settles.settled(DeliveryTag(1), false);
        assert_eq!(sent(&settles, &[2, 3]), ["3 and before"]);
        settles.settled(DeliveryTag(5), true);
        assert_eq!(sent(&settles, &[6, 7]), ["7 and before"]);
        settles.settled(DeliveryTag(0), true);
        deliver(&settles, 13..=20);
        assert_eq!(sent(&settles, &[13, 14]), ["14 and before"]);
        settles.recovered();
        deliver(&settles, 21..=23);
        assert_eq!(sent(&settles, &[21, 22]), ["22 and before"]);
    }

    #[test]
    fn tags_that_never_show_cost_no_memory() {
        let settles = Settles::default();
        for tag in 2..2 * MOST_AHEAD as u64 {
            deliver(&settles, [tag]);
            assert_eq!(sent(&settles, &[tag]), [tag.to_string()]);
        }
        let state = settles.lock();
        assert!(state.ahead.is_empty() && state.held.is_empty() && state.acks.capacity() < 64);
    }

    #[test]
    fn an_ack_waits_for_the_tick_but_not_for_long() {
        let settles = Settles::default();
        deliver(&settles, 1..=4);
        let now = Instant::now();
        assert!(matches!(settles.ack(DeliveryTag(1), now), Next::Schedule));
        assert!(matches!(settles.ack(DeliveryTag(2), now + LONGEST), Next::Wait));
        assert!(matches!(settles.ack(DeliveryTag(3), now + 2 * LONGEST), Next::Flush));
        assert_eq!(sent(&settles, &[]), ["3 and before"]);
        assert!(matches!(settles.ack(DeliveryTag(4), now), Next::Schedule));
    }
}
