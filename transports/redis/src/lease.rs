//! Signs of life, and what becomes of consumers that give none.
//!
//! A connection that takes messages registers under its [name](crate::identity) with a lease, and renews it from the hub thread
//! that runs none of the application's code, over a socket of its own: a callback may take as long as it wants. The renewal
//! says what is held, so that whoever finds the lease over can give it back without a search. Any living connection does:
//! it learns with each renewal when the next lease of another ends, and looks then.
//!
//! A name whose lease was found over is never used again: the scripts that take messages refuse it. Its entry stays for a while,
//! and its inboxes are looked at again, until nothing that waits on its behalf can move a message any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kombu_core::reply::ReplySender;
use kombu_core::{Error, ErrorKind, Result};
use redis::Value;

use crate::connection::{command, refusal};
use crate::ledger::read_ranges;
use crate::request::Request;
use crate::scripts::{Bury, Ending, Reap, Reaped, Renew, Renewed};
use crate::session::Session;

/// The lease of a connection, and who renews it.
#[derive(Default)]
pub(crate) struct Lease {
    pub(crate) running: Option<ReplySender<()>>,
    /// Until when it lasts, by a clock that started before the server's.
    until: Option<Instant>,
    is_reaping: bool,
}

impl Lease {
    /// Ends the renewal.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }
}

impl Session {
    /// Sees to it that the server knows the name in use, before whatever is sent next. Begins to renew the lease.
    pub(crate) fn ensure_registered(self: &Arc<Self>) -> Arc<str> {
        let name = {
            let mut identity = self.lock(&self.identity);
            let name = Arc::clone(identity.name());
            if identity.register() {
                return name;
            }
            name
        };
        let bytes = self.registration(&name);
        self.submit(Request::Register(Arc::clone(&name)), &bytes);
        self.note_renewed(self.handle.now());
        self.start_keeper();
        name
    }

    /// The server has lost who is registered: it is told again, and of the consumers as well.
    pub(crate) fn register_anew(&self) {
        let name = {
            let identity = self.lock(&self.identity);
            if !identity.is_registered() {
                return;
            }
            Arc::clone(identity.name())
        };
        let bytes = self.registration(&name);
        self.submit(Request::Register(name), &bytes);
        self.lock(&self.standings).lose_name();
    }

    /// Returns the command that registers under `name`.
    pub(crate) fn registration(&self, name: &str) -> Vec<u8> {
        let (held, from) = {
            let ledger = self.lock(&self.ledger);
            (ledger.to_text(0), ledger.next())
        };
        let lease = millis(self.options.lease);
        let (keys, words) = (&self.keys, ("", ""));
        let renew = Renew { keys, consumer: name, lease, is_new: true, held: &held, from, words, refreshed: &[] };
        renew.command().get_packed_command()
    }

    /// Uses the answer to a registration.
    pub(crate) fn handle_registered(&self, name: &str, value: &Value) {
        let refused = match value {
            Value::ServerError(error) => Some(refusal(error)),
            value if matches!(Renew::read(value), Ok(Renewed::Alive { .. })) => None,
            _ => Some(lost_lease()),
        };
        if let Some(error) = refused {
            if self.warnings.allows("register", self.handle.now()) {
                tracing::warn!(broker = %self.target.label, %error, "cannot register as a consumer");
            }
            self.lose_lease(name);
        }
    }

    pub(crate) fn note_renewed(&self, sent: Instant) {
        self.lock(&self.lease).until = sent.checked_add(self.options.lease);
        let until = sent.saturating_duration_since(self.started).saturating_add(self.options.lease);
        self.good_until.store(u64::try_from(until.as_micros()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Says whether a name was lost, or the lease may be over, so that what waits to be handled has to be looked at. Quick.
    pub(crate) fn may_have_lost_something(&self) -> bool {
        self.lost_before.load(Ordering::Acquire) > 0
            || self.started.elapsed().as_micros() >= u128::from(self.good_until.load(Ordering::Acquire))
    }

    /// Says whether what is recorded under a number was lost with the name it was taken under.
    pub(crate) fn is_lost(&self, number: u64) -> bool {
        number < self.lost_before.load(Ordering::Acquire)
    }

    /// Says whether the lease may be over: then nothing may be taken before it is renewed.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.lock(&self.identity).is_registered() && self.lock(&self.lease).until.is_some_and(|until| until <= now)
    }

    /// The server knows the name no more: what was held under it is somebody else's. Says whether that happened a moment ago, too.
    pub(crate) fn lose_lease(&self, name: &str) -> bool {
        let now = self.handle.now();
        let lost = {
            let mut ledger = self.lock(&self.ledger);
            let lost = self.lock(&self.identity).lose(name, ledger.next(), now);
            if lost.is_some() {
                ledger.close_all();
                self.lost_before.store(ledger.next(), Ordering::Release);
                self.good_until.store(u64::MAX, Ordering::Release);
            }
            lost
        };
        let Some(before) = lost else { return false };
        self.lock(&self.lease).until = None;
        self.lock(&self.standings).lose_name();
        tracing::warn!(broker = %self.target.label,
            "the lease is over: what was unsettled is given to other consumers");
        self.touch();
        before.is_some_and(|before| before < Duration::from_secs(1))
    }

    /// What the next renewal says: the name, what is held, from where there may be more, and whose age is renewed.
    pub(crate) fn sign_of_life(&self, refreshes: bool) -> Option<(Arc<str>, String, u64, Vec<u64>)> {
        let ledger = self.lock(&self.ledger);
        let identity = self.lock(&self.identity);
        if !identity.is_registered() {
            return None;
        }
        let refreshed = if refreshes { ledger.held().collect() } else { Vec::new() };
        Some((Arc::clone(identity.name()), ledger.to_text(0), ledger.next(), refreshed))
    }

    // ---- the dead

    /// Looks after consumers whose lease is over.
    pub(crate) fn reap(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock(&self.lease).is_reaping, true) {
            return;
        }
        let session = Arc::clone(self);
        drop(self.handle.spawn(async move {
            if let Err(error) = session.reap_all().await
                && session.warnings.allows("reap", session.handle.now())
            {
                tracing::warn!(broker = %session.target.label, %error, "cannot look after a dead consumer; trying again");
            }
            session.lock(&session.lease).is_reaping = false;
        }));
    }

    async fn reap_all(&self) -> Result<()> {
        while !self.is_closing() {
            let reap = Reap { keys: &self.keys, exclusive: millis(EXCLUSIVE) }.command();
            let answer = self.call_script(1, |out| reap.write_packed_command(out)).await?;
            let Some(dead) = Reap::read(&answer)? else { break };
            self.look_after(dead).await?;
        }
        Ok(())
    }

    async fn look_after(&self, dead: Reaped) -> Result<()> {
        let run = self.lock(&self.run_id).clone();
        for (_, client) in dead.clients.iter().filter(|(on, _)| run.as_deref() == Some(on)) {
            let words = ["CLIENT", "KILL", "ID", &client.to_string()];
            // One that is gone, or may not be ended, is waited for: the entry stays until it cannot wait any longer.
            let _ = self.call(1, |out| command::command(out, &words)).await;
        }
        self.bury(&dead.consumer, &dead.inboxes, Ending::None).await?;
        let mut numbers: Vec<u64> = read_ranges(&dead.held).chain(dead.range.clone()).collect();
        numbers.sort_unstable_by(|left, right| right.cmp(left));
        numbers.dedup();
        let mut tables = std::collections::HashMap::new();
        let mut restored = 0;
        for numbers in numbers.chunks(AT_ONCE) {
            let tags: Vec<bytes::Bytes> =
                numbers.iter().map(|number| format!("{}:{number}", dead.consumer).into()).collect();
            restored += self.restore_some(&tags, None, &mut tables).await?;
        }
        if restored > 0 {
            tracing::info!(broker = %self.target.label, restored, "gave back what a dead consumer held");
        }
        for queue in &dead.exclusive {
            self.remove_dead_queue(queue, &dead.consumer).await?;
        }
        for queue in &dead.queues {
            self.part_from(queue, &dead.consumer, None).await?;
        }
        if !numbers.is_empty() {
            let entry = self.keys.consumer(&dead.consumer);
            self.call(1, |out| command::command(out, &["HDEL", &entry, "held", "from", "next"])).await?;
        }
        if dead.dead_for.is_none_or(|dead_for| dead_for >= millis(RETENTION)) {
            self.bury(&dead.consumer, &dead.inboxes, Ending::Forget).await?;
        }
        Ok(())
    }

    async fn bury(&self, consumer: &str, inboxes: &[(String, String)], ending: Ending) -> Result<()> {
        let bury = Bury { keys: &self.keys, consumer, inboxes, ending }.command();
        self.call_script(1, |out| bury.write_packed_command(out)).await.map(drop)
    }

    /// Leaves: what is in the inboxes goes back, and so does what is still held, at once.
    pub(crate) async fn leave_consumers(&self) -> Result<()> {
        self.lock(&self.lease).stop();
        let (name, is_registered) = {
            let identity = self.lock(&self.identity);
            (Arc::clone(identity.name()), identity.is_registered())
        };
        if !is_registered {
            return Ok(());
        }
        let inboxes = self.poller().inboxes();
        let is_empty = self.lock(&self.ledger).is_empty();
        self.bury(&name, &inboxes, if is_empty { Ending::Forget } else { Ending::Die }).await
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cold]
fn lost_lease() -> Error {
    Error::new(ErrorKind::LeaseLost, "the consumer was declared dead")
}

/// For how long one connection has a dead consumer for itself.
const EXCLUSIVE: Duration = Duration::from_secs(10);
/// How long the entry of a dead consumer stays: longer than anything can wait on its behalf.
const RETENTION: Duration = Duration::from_secs(60);
/// How many messages go back in one command, and how many are made young in one.
pub(crate) const AT_ONCE: usize = 500;
