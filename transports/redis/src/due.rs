//! Looks after what is due – messages that expire, messages held back, letters nobody has sent on – when its time comes.
//!
//! What is due is in one sorted set on the server. A client that puts something there looks when it is due, by one timer for all. Every
//! other client learns of it ([`policies`](crate::policies)) and looks a little later, in case the first is gone; it finds nothing to do
//! then, or goes on looking itself. The look is one script: what two clients find, one of them gets. Where nothing is due, nobody has a
//! timer.

use std::time::{Duration, Instant, UNIX_EPOCH};

use kombu_core::ShortStr;
use kombu_core::hub::{Hub, TimerHandle};
use redis::Value;

use crate::connection::refusal;
use crate::request::Request;
use crate::scripts::{Look, Told};
use crate::session::Session;

/// When this connection looks after what is due.
#[derive(Default)]
pub(crate) struct Due {
    /// The server's time in milliseconds, and when it was that.
    time: Option<(Instant, u64)>,
    /// When it looks, by the server's time: it has put something there, or was the last to look.
    own: Option<u64>,
    /// When it looks if nobody else has.
    others: Option<u64>,
    timer: Option<(u64, TimerHandle)>,
    is_looking: bool,
    /// It asks what others have put there, a little later.
    pub(crate) asks_later: bool,
}

impl Due {
    /// Ends the timer.
    pub(crate) fn stop(&mut self) {
        (self.own, self.others) = (None, None);
        if let Some((_, timer)) = self.timer.take() {
            timer.cancel();
        }
    }
}

impl Session {
    /// Notes the server's time.
    pub(crate) fn note_time(&self, now: u64) {
        self.lock(&self.due).time = Some((self.handle.now(), now));
    }

    /// Returns the server's time, in milliseconds since 1970.
    pub(crate) fn server_time(&self) -> u64 {
        let time = self.lock(&self.due).time;
        match time {
            Some((then, time)) => time + millis(self.handle.now().saturating_duration_since(then)),
            // It has not told yet; its clock and ours should differ little.
            None => millis(self.clock.system_time().duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// Notes what a script has told, and sees to the letters; returns its numbers.
    pub(crate) fn use_told(&self, told: Told) -> Vec<i64> {
        self.note_time(told.now);
        if let Some(due) = told.due {
            self.expect(due);
        }
        self.send_letters(told.letters);
        told.numbers
    }

    /// Sees to it that this connection looks at that time of the server's.
    pub(crate) fn expect(&self, at: u64) {
        let mut due = self.lock(&self.due);
        due.own = Some(due.own.map_or(at, |own| own.min(at)));
        drop(due);
        self.touch();
    }

    /// Notes when the first of all things is due, whoever has put it there.
    pub(crate) fn expect_of_others(&self, first: Option<u64>) {
        // Not all at once.
        let spread = u64::from(self.lock(&self.identity).name().bytes().next_back().unwrap_or(0)) * 4;
        let others = first.map(|first| first + OTHERS + spread);
        self.lock(&self.due).others = others;
        self.touch();
    }

    /// Sets the timer; once per tick.
    pub(crate) fn watch_due(&self, hub: &dyn Hub) {
        let time = {
            let due = self.lock(&self.due);
            if due.is_looking || due.own.is_none() && due.others.is_none() && due.timer.is_none() {
                return;
            }
            drop(due);
            self.server_time()
        };
        let mut due = self.lock(&self.due);
        let next = due.own.into_iter().chain(due.others).min();
        if due.timer.as_ref().map(|(at, _)| *at) == next {
            return;
        }
        if let Some((_, timer)) = due.timer.take() {
            timer.cancel();
        }
        let Some(at) = next.filter(|_| !self.is_closing()) else { return };
        let session = self.me.clone();
        let wait = Duration::from_millis(at.saturating_sub(time).min(LONGEST));
        let timer = hub.call_later(
            wait,
            Box::new(move |_| {
                if let Some(session) = session.upgrade() {
                    session.lock(&session.due).timer = None;
                    session.look_if_due();
                }
            }),
        );
        due.timer = Some((at, timer));
    }

    fn look_if_due(&self) {
        let time = self.server_time();
        {
            let mut due = self.lock(&self.due);
            let is_due = due.own.into_iter().chain(due.others).any(|at| at <= time);
            if !is_due || due.is_looking || self.is_closing() {
                // A timer may be early by a fraction, or end before the longest time.
                drop(due);
                return self.touch();
            }
            due.is_looking = true;
            (due.own, due.others) = (None, None);
        }
        let look = Look { keys: &self.keys, queues: &[] }.command().get_packed_command();
        self.submit(Request::LookAfter { is_due: true }, &look);
    }

    /// Looks at queues to which something was given back.
    pub(crate) fn look_at(&self, queues: &[ShortStr]) {
        if queues.is_empty() {
            return;
        }
        let queues: Vec<&str> = queues.iter().map(ShortStr::as_str).collect();
        let look = Look { keys: &self.keys, queues: &queues }.command().get_packed_command();
        self.submit(Request::LookAfter { is_due: false }, &look);
    }

    /// Uses what a look has found.
    pub(crate) fn handle_looked_after(&self, is_due: bool, value: Value) {
        let told = match value {
            Value::ServerError(error) => Err(refusal(&error)),
            value => Told::read("look", &value),
        };
        match told {
            Ok(told) if is_due => {
                let next = told.due;
                let found = told.numbers.first().copied().unwrap_or(0);
                self.lock(&self.due).is_looking = false;
                self.note_time(told.now);
                self.send_letters(told.letters);
                // Whoever found something goes on looking; who found nothing leaves it to the one who did.
                match next {
                    Some(next) if found > 0 => self.expect(next),
                    next => self.expect_of_others(next),
                }
            }
            Ok(told) => drop(self.use_told(told)),
            Err(error) => {
                if self.warnings.allows("look", self.handle.now()) {
                    tracing::warn!(broker = %self.target.label, %error, "cannot look after what is due; trying again");
                }
                self.handle_lost_look_after(is_due);
            }
        }
        self.touch();
    }

    /// A look has no answer.
    pub(crate) fn handle_lost_look_after(&self, is_due: bool) {
        if is_due {
            self.lock(&self.due).is_looking = false;
        }
        if !self.is_closing() {
            self.expect(self.server_time() + RETRY);
        }
    }

    /// Returns the bytes of a look at what is due.
    pub(crate) fn look_bytes(&self) -> Vec<u8> {
        Look { keys: &self.keys, queues: &[] }.command().get_packed_command()
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long whoever put something there has it for itself, in milliseconds.
const OTHERS: u64 = 1000;
/// When a look is repeated that was refused or lost, in milliseconds.
const RETRY: u64 = 1000;
/// The longest timer, in milliseconds; then the time is looked at again.
const LONGEST: u64 = 3_600_000;
