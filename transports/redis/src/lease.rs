//! Signs of life, and what becomes of consumers that give none.
//!
//! A connection that takes messages registers under its [name](crate::identity) with a lease, and renews it from the hub thread
//! that runs none of the application's code, over a socket of its own: a callback may take as long as it wants. The renewal
//! says what is held, so that whoever finds the lease over can give it back without a search. Any living connection does:
//! it learns with each renewal when the next lease of another ends, and looks then.
//!
//! A name whose lease was found over is never used again: the scripts that take messages refuse it. Its entry stays for a while,
//! and its inboxes are looked at again, until nothing that waits on its behalf can move a message any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kombu_core::hub::{Hub, HubHandle};
use kombu_core::reply::{self, Reply, ReplySender};
use kombu_core::{Error, ErrorKind, Result};
use redis::{Cmd, Value};

use crate::answers::is_unknown_script;
use crate::connection::{Fate, Greeting, Link, LinkOwner, Role, closed, command, refusal};
use crate::identity::Signs;
use crate::ledger::read_ranges;
use crate::request::Request;
use crate::scripts::{self, Bury, Ending, Reap, Reaped, Renew, Renewed};
use crate::session::Session;
use crate::sweep::is_ended;

/// The lease of a connection, and who renews it.
#[derive(Default)]
pub(crate) struct Lease {
    running: Option<ReplySender<()>>,
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

/// Renews a lease, over a socket of its own.
pub(crate) struct Keeper {
    session: Weak<Session>,
    handle: HubHandle,
    link: Arc<Link>,
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

    fn note_renewed(&self, sent: Instant) {
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

    fn start_keeper(self: &Arc<Self>) {
        let (sender, stopped) = reply::channel();
        {
            let mut lease = self.lock(&self.lease);
            if lease.running.is_some() || self.is_closing() {
                return;
            }
            lease.running = Some(sender);
        }
        // Without a hub that runs no code of the application, the one there is must do.
        let handle = kombu_core::hub::shared_hub().map_or_else(|_| self.handle.clone(), |shared| shared.io());
        let session = Arc::downgrade(self);
        let target = Arc::clone(&self.target);
        let keeper = Arc::new_cyclic(|me: &Weak<Keeper>| {
            let owner: Weak<dyn LinkOwner> = me.clone();
            let link = Link::new(Role::Lease, target, handle.clone(), owner);
            Keeper { session, handle: handle.clone(), link }
        });
        drop(handle.spawn(keeper.run(stopped)));
    }

    /// What the next renewal says: the name, what is held, from where there may be more, and whose age is renewed.
    fn sign_of_life(&self, refreshes: bool) -> Option<(Arc<str>, String, u64, Vec<u64>)> {
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
    fn reap(self: &Arc<Self>) {
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

impl Keeper {
    async fn run(self: Arc<Self>, mut stopped: Reply<()>) {
        let Some(session) = self.session.upgrade() else { return };
        let lease = session.options.lease;
        let interval = interval(lease, session.options.visibility_timeout);
        let hold_interval = session.options.max_hold.map_or(interval, |max_hold| max_hold / 4);
        let hold_interval = hold_interval.max(Duration::from_millis(20));
        drop(session);
        let link = Arc::clone(&self.link);
        self.handle.call_soon(move |hub| link.keep_open(hub));
        let refresh = interval.max(REFRESH.min(interval * 5));
        let mut refreshed = self.handle.now();
        // A consumer that just came, or lost sight of the server, gives the others time to show up as well.
        let mut is_settled = false;
        let mut wait = interval.min(FIRST_WAIT).min(hold_interval);
        let mut signs = Signs::default();
        while !is_ended(&mut stopped, self.handle.sleep(wait)).await {
            let Some(session) = self.session.upgrade() else { break };
            if session.handle.is_closed() {
                // Nobody takes messages any more, and nobody settles what was taken.
                break;
            }
            let now = self.handle.now();
            let refreshes = now.saturating_duration_since(refreshed) >= refresh.min(session.refresh_interval());
            wait = interval.min(hold_interval);
            let Some((name, held, from, fields)) = session.sign_of_life(refreshes) else { continue };
            let (known, word) = signs.next(&name);
            // The age of many is renewed in several steps.
            let mut chunks = fields.chunks(AT_ONCE);
            let answer = loop {
                let refreshed = chunks.next().unwrap_or_default();
                let renew = Renew {
                    keys: &session.keys,
                    consumer: &name,
                    lease: millis(lease),
                    is_new: false,
                    held: &held,
                    from,
                    words: (&known, &word),
                    refreshed,
                };
                let answer = match self.call(&renew.command(), interval).await {
                    Ok(value) => Renew::read(&value),
                    Err(error) => Err(error),
                };
                if chunks.len() == 0 || !matches!(answer, Ok(Renewed::Alive { .. })) {
                    break answer;
                }
            };
            match answer {
                Ok(Renewed::Alive { was_over, soonest, has_dead }) => {
                    signs.confirm();
                    let was_overdue = session.is_overdue(now);
                    session.note_renewed(now);
                    if was_overdue {
                        session.touch();
                    }
                    if refreshes {
                        refreshed = now;
                    }
                    if !session.is_tracking() {
                        // Nobody tells what has changed.
                        session.lock(&session.standings).doubt();
                        session.touch();
                    }
                    if let Some(soonest) = soonest {
                        wait = interval.min(Duration::from_millis(soonest + 10));
                    }
                    if was_over {
                        is_settled = false;
                        wait = interval.min(FIRST_WAIT);
                    } else if is_settled && (has_dead || soonest == Some(0)) {
                        wait = interval.min(Duration::from_millis(soonest.unwrap_or(0).max(200)));
                        let reaping = Arc::clone(&session);
                        session.handle.call_soon(move |_| reaping.reap());
                    } else {
                        is_settled = true;
                        wait = wait.max(Duration::from_millis(20));
                    }
                    if let Some(max_hold) = session.options.max_hold {
                        wait = wait.min(hold_interval);
                        if let Err(error) = self.end_holds(&session, max_hold, interval).await {
                            tracing::debug!(broker = %session.target.label, %error, "what is held for too long is not given back yet");
                        }
                    }
                }
                Ok(Renewed::Dead) => {
                    session.lose_lease(&name);
                }
                Err(error) => {
                    tracing::debug!(broker = %session.target.label, %error, "the lease could not be renewed; trying again");
                    is_settled = false;
                    wait = RETRY.min(interval);
                }
            }
        }
        let link = Arc::clone(&self.link);
        self.handle.call_soon(move |hub| link.close(hub));
    }

    /// Sends one command and waits for its answer. A server that has lost the scripts gets them again.
    pub(crate) async fn call(&self, command: &Cmd, patience: Duration) -> Result<Value> {
        for _ in 0..2 {
            let answer = self.send(command, patience).await?;
            if !is_unknown_script(&answer) {
                return match answer {
                    Value::ServerError(error) => Err(refusal(&error)),
                    answer => Ok(answer),
                };
            }
            for script in scripts::all() {
                self.send(&script.load(), patience).await?;
            }
        }
        Err(Error::new(ErrorKind::Internal, "the server does not keep the scripts"))
    }

    /// Returns the time of the hub it runs on.
    pub(crate) fn now(&self) -> Instant {
        self.handle.now()
    }

    async fn send(&self, command: &Cmd, patience: Duration) -> Result<Value> {
        let (sender, reply) = reply::channel();
        let deadline = self.handle.now() + patience;
        let submitted =
            self.link.submit(Request::Call(sender), 1, Some(deadline), |_, out| command.write_packed_command(out));
        if submitted.is_err() {
            return Err(closed());
        }
        let link = Arc::clone(&self.link);
        self.handle.call_soon(move |hub| link.flush(hub));
        reply.await.unwrap_or_else(|| Err(closed()))
    }
}

impl LinkOwner for Keeper {
    fn handle_up(&self, hub: &dyn Hub, link: &Arc<Link>, _greeting: &Greeting) {
        link.flush(hub);
    }

    fn handle_down(&self, _hub: &dyn Hub, _link: &Arc<Link>, _error: &Error, _retrying: bool) {}

    fn handle_answer(&self, _hub: &dyn Hub, _link: &Arc<Link>, request: Request, value: Value) {
        if let Request::Call(sender) = request {
            sender.send(Ok(value));
        }
    }

    fn handle_push(&self, _hub: &dyn Hub, _link: &Arc<Link>, _value: Value) {}

    fn handle_failure(&self, _hub: &dyn Hub, request: Request, _written: bool, error: &Error) {
        if let Request::Call(sender) = request {
            sender.send(Err(error.duplicate()));
        }
    }

    fn handle_batch_end(&self, _hub: &dyn Hub) {}

    fn decide(&self, _request: &mut Request, _written: bool, _deadline: Option<Instant>, _now: Instant) -> Fate {
        // The next sign of life says more than the one that was lost.
        Fate::Drop
    }
}

impl Session {
    /// How often the age of what is held is renewed.
    fn refresh_interval(&self) -> Duration {
        (self.options.visibility_timeout / 3).min(REFRESH)
    }
}

/// How often a sign of life is given: often enough for the lease and for the visibility timeout, and less than once in ten
/// seconds with the defaults.
fn interval(lease: Duration, visibility_timeout: Duration) -> Duration {
    (lease * 2 / 5).min(visibility_timeout / 3).clamp(Duration::from_millis(20), Duration::from_secs(60))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cold]
fn lost_lease() -> Error {
    Error::new(ErrorKind::LeaseLost, "the consumer was declared dead")
}

/// How often the age of what is held is renewed, at most.
const REFRESH: Duration = Duration::from_secs(60);
/// How long a consumer waits at first before it looks after others.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How soon a renewal that failed is repeated.
const RETRY: Duration = Duration::from_millis(500);
/// For how long one connection has a dead consumer for itself.
const EXCLUSIVE: Duration = Duration::from_secs(10);
/// How long the entry of a dead consumer stays: longer than anything can wait on its behalf.
const RETENTION: Duration = Duration::from_secs(60);
/// How many messages go back in one command, and how many are made young in one.
pub(crate) const AT_ONCE: usize = 500;
