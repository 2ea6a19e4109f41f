//! Who renews a lease: on the hub thread that runs none of the application's code, over a socket of its own.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kombu_core::hub::{Hub, HubHandle};
use kombu_core::reply::{self, Reply};
use kombu_core::{Error, ErrorKind, Result};
use redis::{Cmd, Value};

use crate::answers::is_unknown_script;
use crate::connection::{Fate, Greeting, Link, LinkOwner, Role, closed, refusal};
use crate::identity::Signs;
use crate::lease::{AT_ONCE, millis};
use crate::request::Request;
use crate::scripts::{self, Renew, Renewed};
use crate::session::Session;
use crate::sweep::is_ended;

/// Renews a lease, over a socket of its own.
pub(crate) struct Keeper {
    session: Weak<Session>,
    handle: HubHandle,
    link: Arc<Link>,
}

impl Session {
    /// Begins to renew the lease.
    pub(crate) fn start_keeper(self: &Arc<Self>) {
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

    /// How often the age of what is held is renewed.
    fn refresh_interval(&self) -> Duration {
        (self.options.visibility_timeout / 3).min(REFRESH)
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

/// How often a sign of life is given: often enough for the lease and for the visibility timeout, and less than once in ten
/// seconds with the defaults.
fn interval(lease: Duration, visibility_timeout: Duration) -> Duration {
    (lease * 2 / 5).min(visibility_timeout / 3).clamp(Duration::from_millis(20), Duration::from_secs(60))
}

/// How often the age of what is held is renewed, at most.
const REFRESH: Duration = Duration::from_secs(60);
/// How long a consumer waits at first before it looks after others.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How soon a renewal that failed is repeated.
const RETRY: Duration = Duration::from_millis(500);
