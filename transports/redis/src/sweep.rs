//! The visibility sweep: what any client took and nobody settled in time goes back to its queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use kombu_core::reply::{self, Reply, ReplySender};
use kombu_core::{ErrorKind, Result, ShortStr};
use kombu_virtual::death::Reason;
use redis::Value;

use crate::binding::{Table, Undeclared};
use crate::connection::{command, unexpected};
use crate::envelope::Unacked;
use crate::restore::Destination;
use crate::scripts::{
    BindExpiring, Copy, DeadLetter, GivenBack, Requeue, Requeued, SetAside, SweepBindings, Told, Unlock,
};
use crate::session::Session;

/// The task that sweeps: once when the first list queue is consumed, then by timer.
#[derive(Default)]
pub(crate) struct Sweep {
    running: Option<ReplySender<()>>,
    /// What the lock is held with, or will be once the server has answered.
    token: Option<String>,
}

impl Sweep {
    /// Ends the task.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }
}

impl Session {
    /// Ends the task, and releases the lock if it is sweeping: nobody should have to wait until the lock expires.
    pub(crate) fn end_sweep(&self) {
        let token = {
            let mut sweep = self.lock(&self.sweep);
            sweep.stop();
            sweep.token.take()
        };
        if let Some(token) = token {
            let release = Unlock { keys: &self.keys, token: &token }.command();
            self.run_quietly("releasing the sweep's lock", &release);
        }
    }

    /// Begins to sweep, unless it has begun.
    pub(crate) fn start_sweeping(self: &Arc<Self>) {
        let (sender, stopped) = reply::channel();
        {
            let mut sweep = self.lock(&self.sweep);
            if sweep.running.is_some() || self.is_closing() {
                return;
            }
            sweep.running = Some(sender);
        }
        let session = Arc::downgrade(self);
        let handle = self.handle.clone();
        let interval = self.options.unacked_restore_interval.saturating_mul(self.options.unacked_restore_throttle);
        drop(self.handle.spawn(async move {
            let mut stopped = stopped;
            let mut refreshed = None;
            loop {
                let Some(session) = session.upgrade() else { return };
                session.maybe_restore_messages().await;
                session.maybe_refresh_binding_expiry(&mut refreshed);
                drop(session);
                if is_ended(&mut stopped, handle.sleep(interval)).await {
                    return;
                }
            }
        }));
    }

    /// Kombu's `maybe_restore_messages`: one sweep, unless another client is sweeping. Errors are the next sweep's concern.
    pub(crate) async fn maybe_restore_messages(&self) {
        match self.restore_visible().await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(broker = %self.target.label, count, "gave back messages nobody settled in time")
            }
            Err(error) => tracing::debug!(broker = %self.target.label, %error, "the visibility sweep failed"),
        }
    }

    /// Kombu's `maybe_refresh_binding_expiry`: while queues that expire are consumed, their bindings stay, and those of others
    /// that are not are swept.
    fn maybe_refresh_binding_expiry(&self, refreshed: &mut Option<Instant>) {
        let bindings = self.topology.expiring_bindings(self.keys.sep());
        let ttl = |expires: u64| BindExpiring::ttl(Duration::from_millis(expires));
        let Some(shortest) = bindings.iter().map(|(_, _, expires)| ttl(*expires)).min() else { return };
        let now = self.handle.now();
        let sweep = SweepBindings { keys: &self.keys }.command();
        self.run_quietly("sweeping bindings", &sweep);
        if refreshed.is_some_and(|last| now.saturating_duration_since(last) < shortest / 3) {
            return;
        }
        *refreshed = Some(now);
        for (exchange, member, expires) in bindings {
            let bind = BindExpiring { keys: &self.keys, exchange: &exchange, ttl: ttl(expires), members: &[member] };
            self.run_quietly("renewing bindings", &bind.command());
        }
    }

    async fn restore_visible(&self) -> Result<usize> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        {
            let mut sweep = self.lock(&self.sweep);
            if sweep.running.is_none() {
                return Ok(0);
            }
            sweep.token = Some(token.clone());
        }
        let restored = self.restore_locked(&Unlock { keys: &self.keys, token: &token }).await;
        self.lock(&self.sweep).token = None;
        restored
    }

    async fn restore_locked(&self, unlock: &Unlock<'_>) -> Result<usize> {
        let lock = unlock.lock(self.lock_time());
        let locked = self.call(1, |out| lock.write_packed_command(out)).await?;
        if !matches!(locked, Value::Okay) {
            // A lock that was taken, and whose answer was lost, refuses its own repetition.
            let holder = self.call(1, |out| command::command(out, &["GET", self.keys.unacked_mutex()])).await?;
            if text(holder).as_deref() != Some(unlock.token.as_bytes()) {
                return Ok(0);
            }
        }
        let restored = self.restore_overdue(unlock).await;
        let release = unlock.command();
        self.call_script(1, |out| release.write_packed_command(out)).await?;
        restored
    }

    /// How long the lock lasts unless it is renewed.
    fn lock_time(&self) -> Duration {
        self.options.unacked_mutex_expire.min(MAX_LOCK_TIME)
    }

    async fn restore_overdue(&self, unlock: &Unlock<'_>) -> Result<usize> {
        let now = self.clock.system_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let before = now.saturating_sub(self.options.visibility_timeout).as_secs_f64();
        let mut words = vec![
            "ZRANGE".to_owned(),
            self.keys.unacked_index().to_owned(),
            format!("{before:.6}"),
            "0".to_owned(),
            "BYSCORE".to_owned(),
            "REV".to_owned(),
        ];
        if let Some(limit) = self.options.unacked_restore_limit {
            words.extend(["LIMIT".to_owned(), "0".to_owned(), limit.to_string()]);
        }
        let overdue = self.call(1, |out| command::command(out, &words)).await?;
        let Value::Array(tags) = overdue else { return Err(unexpected("ZRANGE", &overdue)) };
        let tags: Vec<Bytes> = tags.into_iter().filter_map(text).collect();
        let mut tables = HashMap::new();
        let mut restored = 0;
        for tags in tags.chunks(AT_ONCE) {
            let renew = unlock.renew(self.lock_time());
            let renewed = self.call_script(1, |out| renew.write_packed_command(out)).await?;
            if !matches!(renewed, Value::Int(1)) {
                // Somebody else sweeps by now, or this session is about to close.
                break;
            }
            restored += self.restore_some(tags, Some(before), &mut tables).await?;
        }
        Ok(restored)
    }

    /// Gives back what is recorded under `tags`, the one to be served last first; with `before` only what is not younger.
    pub(crate) async fn restore_some(
        &self,
        tags: &[Bytes],
        before: Option<f64>,
        tables: &mut HashMap<ShortStr, Table>,
    ) -> Result<usize> {
        let values = self.call(1, |out| {
            command::head(out, tags.len() + 2);
            command::word(out, "HMGET");
            command::word(out, self.keys.unacked());
            tags.iter().for_each(|tag| command::word(out, tag));
        });
        let Value::Array(values) = values.await? else { return Ok(0) };
        let mut places: Vec<(String, Vec<String>)> = Vec::new();
        let mut gone: Vec<String> = Vec::new();
        let mut worn_out: Vec<(String, ShortStr)> = Vec::new();
        for (tag, value) in tags.iter().zip(values) {
            let tag = String::from_utf8_lossy(tag).into_owned();
            let Some(value) = text(value) else {
                gone.push(tag);
                continue;
            };
            let moved = match self.destination(&value, tables).await {
                Ok(Destination::Lists(lists)) => {
                    places.push((tag, lists));
                    continue;
                }
                // What a consumer that lives holds is its own to judge.
                Ok(Destination::WornOut { queue, .. }) if before.is_none() => {
                    worn_out.push((tag, queue));
                    continue;
                }
                Ok(Destination::WornOut { list, .. }) => {
                    places.push((tag, vec![list]));
                    continue;
                }
                Ok(Destination::SetAside { queue, reason }) => self.set_entry_aside(&tag, &queue, &reason).await,
                Err(error) => Err(error),
            };
            self.pass_over(&tag, moved)?;
        }
        if before.is_some() && !gone.is_empty() {
            // What is left of these in the index goes with them.
            let words = ["ZREM", self.keys.unacked_index()].into_iter().chain(gone.iter().map(String::as_str));
            let words: Vec<&str> = words.collect();
            self.call(1, |out| command::command(out, &words)).await?;
        }
        self.end_worn_out(&worn_out).await?;
        self.give_back_overdue(&places, before).await
    }

    /// Ends messages that come back once too often.
    async fn end_worn_out(&self, worn_out: &[(String, ShortStr)]) -> Result<()> {
        if worn_out.is_empty() {
            return Ok(());
        }
        let messages: Vec<_> =
            worn_out.iter().map(|(tag, queue)| (tag.as_str(), queue.as_str(), Reason::DeliveryLimit)).collect();
        let dead = DeadLetter { keys: &self.keys, messages: &messages }.command();
        let answer = self.call_script(1, |out| dead.write_packed_command(out)).await?;
        self.use_told(Told::read("dead_letter", &answer)?);
        Ok(())
    }

    /// Finds where an entry goes. One that cannot be read goes to the malformed list of its queue, or of the hash's own name
    /// when its queue cannot be read either.
    async fn destination(&self, value: &Bytes, tables: &mut HashMap<ShortStr, Table>) -> Result<Destination> {
        let entry = match Unacked::read(value, &self.limits) {
            Ok(entry) => entry,
            Err(error) => {
                let queue = self.options.unacked_key.as_str().into();
                return Ok(Destination::SetAside { queue, reason: error.to_string() });
            }
        };
        let received = match entry.envelope(&self.limits) {
            Ok(received) => received,
            Err(error) => {
                return Ok(Destination::SetAside { queue: entry.routing_key.clone(), reason: error.to_string() });
            }
        };
        let count = received.delivery_count.unwrap_or(u32::from(received.redelivered));
        if entry.exchange.is_empty() && self.is_worn_out(&entry.routing_key, count) {
            let list = self.keys.list_for(&entry.routing_key, received.list_priority);
            return Ok(Destination::WornOut { queue: entry.routing_key, list });
        }
        if !entry.exchange.is_empty() && !tables.contains_key(&entry.exchange) {
            let key = self.keys.binding(&entry.exchange);
            let members = self.call(1, |out| command::command(out, &["SMEMBERS", &key])).await?;
            let (Value::Array(members) | Value::Set(members)) = members else {
                return Err(unexpected("SMEMBERS", &members));
            };
            let table = Table::parse(members.into_iter().filter_map(text), self.keys.sep());
            tables.insert(entry.exchange.clone(), table);
        }
        let empty = Table::default();
        let table = tables.get(&entry.exchange).unwrap_or(&empty);
        let kind = self.topology.exchange_kind(&entry.exchange);
        Destination::find(&entry, received.list_priority, &self.keys, table, kind.as_ref().ok_or(Undeclared))
    }

    async fn give_back_overdue(&self, places: &[(String, Vec<String>)], before: Option<f64>) -> Result<usize> {
        if places.is_empty() {
            return Ok(0);
        }
        let messages: Vec<GivenBack<'_>> = places
            .iter()
            .map(|(tag, lists)| {
                let copies = lists.iter().enumerate().map(|(index, list)| Copy {
                    list,
                    // Copies under one tag would share one entry, and the first to be settled would take the others along.
                    delivery_tag: (index > 0).then(|| self.tags.tag().to_string()),
                });
                GivenBack { tag, delivered: true, copies: copies.collect() }
            })
            .collect();
        let requeue = Requeue { keys: &self.keys, not_after: before, messages: &messages }.command()?;
        let answer = self.call_script(1, |out| requeue.write_packed_command(out)).await?;
        let outcomes = Requeue::read(answer)?;
        for ((tag, _), _) in places.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Requeued::Malformed) {
            let moved = self.set_entry_aside(tag, &self.options.unacked_key, "not a message").await;
            self.pass_over(tag, moved)?;
        }
        let mut looks: Vec<ShortStr> = Vec::new();
        for queue in places.iter().flat_map(|(_, lists)| lists).map(|list| self.keys.queue_of(list)) {
            if self.policy(queue).is_some() && !looks.iter().any(|look| look == queue) {
                looks.push(queue.into());
            }
        }
        self.look_at(&looks);
        Ok(outcomes.iter().filter(|outcome| **outcome == Requeued::Done).count())
    }

    async fn set_entry_aside(&self, tag: &str, queue: &str, reason: &str) -> Result<()> {
        let aside = SetAside { keys: &self.keys, tag, queue, reason }.command()?;
        self.call_script(1, |out| aside.write_packed_command(out)).await?;
        tracing::warn!(%queue, %reason, "set aside an unsettled message that cannot be given back");
        Ok(())
    }

    /// Goes on after an entry that the server refuses to move: it stays where it is, and the others are not its hostages.
    fn pass_over(&self, tag: &str, moved: Result<()>) -> Result<()> {
        match moved {
            Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::ConnectionLost) => Err(error),
            Err(error) => {
                if self.warnings.allows("sweeping an entry", self.handle.now()) {
                    tracing::warn!(broker = %self.target.label, %tag, %error, "an unsettled message cannot be given back");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Waits for `sleep`; `true` when the other end of `stopped` went first.
pub(crate) async fn is_ended(stopped: &mut Reply<()>, sleep: kombu_core::hub::Sleep) -> bool {
    let mut sleep = std::pin::pin!(sleep);
    std::future::poll_fn(|cx| {
        use std::future::Future;
        use std::task::Poll;
        if std::pin::Pin::new(&mut *stopped).poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        sleep.as_mut().poll(cx).map(|()| false)
    })
    .await
}

fn text(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(text) => Some(Bytes::from(text)),
        _ => None,
    }
}

/// How many messages go back in one command.
const AT_ONCE: usize = 100;
/// How long a sweep whose process died keeps others from sweeping, at most. Far longer than the server needs for one chunk.
const MAX_LOCK_TIME: Duration = Duration::from_secs(30);
