//! Acks go out together: one frame for a run of them, instead of one for each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kombu_core::hub::{Hub, Scheduled, instant_after};
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
    /// The smallest window the channel ever had; 0 for none.
    window: u16,
    /// They are sent when the tick is over.
    is_scheduled: bool,
    /// A timer runs that looks after them.
    is_timed: bool,
}

/// What is to be done about an ack that was queued.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// They are enough: they are to be sent when the tick is over.
    Schedule,
    /// They are to be sent at this time, if they were not before.
    At(Instant),
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

    /// Learns of a window (`prefetch_count`) of the channel, or of one of its consumers.
    pub(crate) fn has_window(&self, prefetch_count: u16) {
        let mut state = self.lock();
        if prefetch_count > 0 && (state.window == 0 || prefetch_count < state.window) {
            state.window = prefetch_count;
        }
    }

    /// Queues an ack, and says what is to be done about it.
    fn ack(&self, tag: DeliveryTag, now: Instant) -> Next {
        let mut state = self.lock();
        state.acks.push(tag.0);
        let since = *state.since.get_or_insert(now);
        if now.saturating_duration_since(since) > LONGEST {
            Next::Flush
        } else if state.is_scheduled {
            Next::Wait
        } else if state.acks.len() >= state.enough() {
            state.is_scheduled = true;
            Next::Schedule
        } else if std::mem::replace(&mut state.is_timed, true) {
            Next::Wait
        } else {
            Next::At(instant_after(since, LONGEST))
        }
    }

    /// Says what is to be done when the time has come that [`Next::At`] named.
    fn timed(&self, now: Instant) -> Next {
        let mut state = self.lock();
        let due = state.since.map(|since| instant_after(since, LONGEST));
        let next = match due {
            Some(due) if due > now => Next::At(due),
            Some(_) => Next::Flush,
            None => Next::Wait,
        };
        state.is_timed = matches!(next, Next::At(_));
        next
    }

    /// Sends the acks that are queued: each by its tag, a run of them by the last tag and whether it means those before, too.
    ///
    /// # Errors
    ///
    /// Why they cannot be sent, with the first that was not.
    fn flush(&self, mut send: impl FnMut(DeliveryTag, bool) -> Result<()>) -> Result<(), (DeliveryTag, Error)> {
        let mut state = self.lock();
        state.is_scheduled = false;
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
    /// How many acks are worth a frame: so few that the broker need not wait for them with the rest of the window.
    fn enough(&self) -> usize {
        if self.window == 0 { MOST_WAITING } else { usize::from(self.window / 4).clamp(1, MOST_WAITING) }
    }

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
    /// Queues an ack, to be sent with others.
    pub(crate) fn ack_soon(self: &Arc<Self>, tag: DeliveryTag) -> Result<()> {
        if !self.client.is_open() {
            return Err(channel_gone());
        }
        match self.settles.ack(tag, self.session.handle.now()) {
            Next::Schedule => self.session.handle.schedule(Arc::clone(self) as Arc<dyn Scheduled>),
            Next::At(due) => drop(self.session.handle.spawn(Arc::clone(self).flush_by(due))),
            Next::Flush => self.flush(),
            Next::Wait => {}
        }
        Ok(())
    }

    /// Sends what is queued by `due` and waits no longer than that, and so on while there is something.
    async fn flush_by(self: Arc<Self>, mut due: Instant) {
        let handle = &self.session.handle;
        loop {
            handle.sleep_until(due).await;
            // A hub that is closed wakes every sleeper, and nothing is sent any more.
            match self.settles.timed(handle.now()) {
                Next::At(next) if !handle.is_closed() => due = next,
                Next::Flush => return self.flush(),
                _ => return,
            }
        }
    }

    /// Sends the acks that are queued, so that what follows follows at the broker.
    pub(crate) fn flush(&self) {
        if let Err((tag, _)) = self.settles.flush(|tag, multiple| self.client.ack(tag, multiple)) {
            self.tell_failed(channel_gone().during("basic.ack").with("delivery_tag", tag));
        }
    }

    /// As [`flush`](ChannelCore::flush), unless the channel is over; it is told then what was lost with it.
    pub(crate) fn flush_if_open(&self) {
        if !self.is_over() && self.client.is_open() {
            self.flush();
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

/// How long an ack waits for others.
const LONGEST: Duration = Duration::from_millis(1);
/// How many wait at the most.
const MOST_WAITING: usize = 64;
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
    fn acks_wait_for_a_quarter_of_the_window_but_not_for_long() {
        let settles = Settles::default();
        deliver(&settles, 1..=200);
        let now = Instant::now();
        let ack = |tag, when| settles.ack(DeliveryTag(tag), when);
        settles.has_window(0);
        settles.has_window(12);
        settles.has_window(256);
        assert_eq!(ack(1, now), Next::At(now + LONGEST));
        assert_eq!(ack(2, now), Next::Wait);
        assert_eq!(ack(3, now), Next::Schedule);
        assert_eq!(ack(4, now), Next::Wait);
        assert_eq!(sent(&settles, &[]), ["4 and before"]);
        // The timer that runs serves those that come after, too.
        let later = now + LONGEST / 2;
        assert_eq!(ack(5, later), Next::Wait);
        assert_eq!(settles.timed(now + LONGEST), Next::At(later + LONGEST));
        assert_eq!(settles.timed(later + LONGEST), Next::Flush);
        assert_eq!(sent(&settles, &[]), ["5"]);
        assert_eq!(ack(6, now), Next::At(now + LONGEST));
        assert_eq!(sent(&settles, &[]), ["6"]);
        assert_eq!(settles.timed(now + LONGEST), Next::Wait, "nothing is left to wait for");
        // A handler that takes its time sends the one before.
        assert_eq!(ack(7, now), Next::At(now + LONGEST));
        assert_eq!(ack(8, now + 2 * LONGEST), Next::Flush);
        assert_eq!(sent(&settles, &[]), ["8 and before"]);
        // Who may hold few is not kept waiting.
        settles.has_window(3);
        assert_eq!(ack(9, now), Next::Schedule);
        assert_eq!(sent(&settles, &[]), ["9"]);
        // Without a window, not many gather.
        let endless = Settles::default();
        let many = (1..=64).map(|tag| endless.ack(DeliveryTag(tag), now)).position(|next| next == Next::Schedule);
        assert_eq!(many, Some(MOST_WAITING - 1));
    }
}
