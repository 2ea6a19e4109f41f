//! Deadlines and silence.

use std::sync::Arc;
use std::time::Instant;

use kombu_core::hub::Hub;
use kombu_core::{Error, ErrorKind};

use super::{Event, LinkIo, PINGS, lost};
use crate::connection::command;
use crate::connection::link::{Link, Role};

impl LinkIo {
    /// Sees to it that the watch looks no later than `deadline`, nor than the server's silence gets too long.
    pub(super) fn watch_until(&mut self, link: &Arc<Link>, hub: &dyn Hub, deadline: Option<Instant>) {
        let wanted = [deadline, self.silence_ends(link)].into_iter().flatten().min();
        let Some(wanted) = wanted else { return };
        if self.watch.as_ref().is_some_and(|(at, _)| *at <= wanted) {
            return;
        }
        self.unwatch();
        let weak = Arc::downgrade(link);
        let timer = hub.call_at(
            wanted,
            Box::new(move |hub| {
                if let Some(link) = weak.upgrade() {
                    link.in_io(hub, |io, link, events| io.look(link, hub, events));
                }
            }),
        );
        self.watch = Some((wanted, timer));
    }

    fn silence_ends(&self, link: &Link) -> Option<Instant> {
        let patience = link.target.patience?;
        let counts = match link.role {
            Role::Listener => self.is_up(),
            _ => self.is_up() && self.pipeline.len() > 0,
        };
        counts.then(|| self.last_heard + patience)
    }

    fn look(&mut self, link: &Arc<Link>, hub: &dyn Hub, events: &mut Vec<Event>) {
        self.watch = None;
        let now = hub.now();
        let expired = self.pipeline.take_expired(now);
        if !expired.is_empty() {
            let error = Error::new(ErrorKind::Timeout, "no answer in time").with("broker", &link.target.label);
            let error = match self.misplaced.as_ref().or(self.turned_away.as_ref()) {
                // Every server that was found said so.
                Some(refusal) => error.with("server", refusal),
                None => error,
            };
            let error = Arc::new(error);
            events.extend(
                expired.into_iter().map(|(request, written)| Event::Failure(request, written, Arc::clone(&error))),
            );
        }
        if self.silence_ends(link).is_some_and(|end| end <= now) {
            match link.role {
                Role::Listener if self.unanswered_pings < PINGS => {
                    self.unanswered_pings += 1;
                    command::command(&mut self.raw, &["PING"]);
                    self.last_heard = now;
                    self.write(link, hub, events);
                }
                // Nothing owed that was written: the silence is ours.
                Role::Command | Role::Waiter | Role::Lease if !self.pipeline.is_owed() => self.last_heard = now,
                _ => {
                    let error = lost("the server has been silent for too long");
                    return self.fail(link, hub, error, events);
                }
            }
        }
        self.watch_until(link, hub, self.pipeline.next_deadline());
    }

    pub(super) fn unwatch(&mut self) {
        if let Some((_, timer)) = self.watch.take() {
            timer.cancel();
        }
    }
}
