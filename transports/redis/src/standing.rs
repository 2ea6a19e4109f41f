//! Where a connection's consumers stand among all consumers of their queues.
//!
//! Every consumer is noted in Redis under the lease of its connection, so that a dead one goes with it. That is what tells an exclusive
//! consumer whether it is alone. A queue's *mark* changes only when all its consumers must know something: that it was deleted, or that
//! from now on some come before others, by `x-priority` or as the single active consumer. The server tells of such a change
//! (`CLIENT TRACKING`); without tracking it is looked for with every sign of life. Only where some come before others
//! does a connection watch who comes and goes, and says when its own consumers have no room.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kombu_core::{Error, ErrorKind, Result, ShortStr};
use redis::Value;

use crate::connection::command;
use crate::consumer::Consumer;
use crate::definition::pairs;
use crate::registry::no_queue;
use crate::request::Request;
use crate::scripts::{Join, Joined, Part, Room};
use crate::session::Session;

/// What is known of the queues that are consumed.
#[derive(Default)]
pub(crate) struct Standings {
    queues: HashMap<ShortStr, Standing>,
    /// Those to be looked at.
    stale: BTreeSet<ShortStr>,
    /// Those where some consumers may come before others.
    ranked: BTreeSet<ShortStr>,
    /// Whether the name changed under which the consumers are noted.
    must_rejoin: bool,
}

/// What is known of one queue.
#[derive(Default)]
struct Standing {
    /// What tells its last deletion from others.
    deleted: Vec<u8>,
    /// Whether some consumers come before others.
    is_ranked: bool,
    /// Which consumers the server was told have no room.
    full: Vec<u64>,
}

/// What of a queue is asked for: its mark, and who consumes it.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    queue: ShortStr,
    is_ranked: bool,
}

/// A consumer as it is noted in Redis.
struct Entry<'a> {
    consumer: &'a str,
    since: &'a str,
    priority: i64,
    is_full: bool,
}

impl Standings {
    /// The server may have forgotten to tell of changes.
    pub(crate) fn doubt(&mut self) {
        self.stale = self.queues.keys().cloned().collect();
    }

    /// The consumers are noted under a name that is void.
    pub(crate) fn lose_name(&mut self) {
        self.must_rejoin = !self.queues.is_empty();
    }
}

impl Session {
    /// Notes a consumer in Redis; a new one (`is_new`) only of a queue that is there.
    ///
    /// # Errors
    ///
    /// `AccessRefused` when another keeps it out, `NotFound`.
    pub(crate) async fn join(self: &Arc<Self>, consumer: &Consumer, is_new: bool) -> Result<()> {
        let Consumer { queue, number, priority, exclusive, .. } = consumer;
        for _ in 0..JOINS {
            let name = self.ensure_registered();
            let (number, priority, exclusive) = (*number, *priority, *exclusive);
            let (keys, name, is_checked) = (&self.keys, &*name, is_new && self.has_registry());
            let join = Join { keys, name, number, queue, priority, exclusive, is_checked }.command();
            let answer = self.call_script(1, |out| join.write_packed_command(out)).await?;
            match Join::read(&answer)? {
                Joined::Yes { deleted, is_ranked } => {
                    let mut standings = self.lock(&self.standings);
                    let is_new = !standings.queues.contains_key(queue);
                    let standing = standings.queues.entry(queue.clone()).or_default();
                    if is_new {
                        standing.deleted = deleted;
                    }
                    standing.is_ranked |= is_ranked;
                    standings.stale.insert(queue.clone());
                    if is_ranked {
                        standings.ranked.insert(queue.clone());
                    }
                    // Until it is known who comes before it.
                    consumer.hold_back(is_ranked);
                    drop(standings);
                    self.touch();
                    return Ok(());
                }
                Joined::KeptOut => {
                    let message = "another consumer has the queue, and one of them wants it exclusively";
                    return Err(Error::new(ErrorKind::AccessRefused, message)
                        .in_scope(kombu_core::Scope::Channel)
                        .with("queue", queue));
                }
                Joined::Missing => return Err(no_queue(queue)),
                Joined::Unknown => drop(self.lose_lease(name)),
            }
        }
        let message = "the server does not know the name the connection registers by";
        Err(Error::new(ErrorKind::LeaseLost, message).with("broker", &self.target.label))
    }

    /// Takes a consumer out of what is noted in Redis.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub(crate) async fn part(&self, consumer: &Consumer) -> Result<()> {
        let (queue, number) = (&consumer.queue, consumer.number);
        {
            let is_last = self.poller().consumers_of(queue).is_empty();
            let mut standings = self.lock(&self.standings);
            if is_last {
                standings.queues.remove(queue);
            } else if let Some(standing) = standings.queues.get_mut(queue) {
                standing.full.retain(|full| *full != number);
            }
        }
        let name = Arc::clone(self.lock(&self.identity).name());
        self.part_from(queue, &name, Some(number)).await
    }

    /// Takes consumers of another connection out of what is noted in Redis, or one of this.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub(crate) async fn part_from(&self, queue: &str, name: &str, number: Option<u64>) -> Result<()> {
        let part = Part { keys: &self.keys, name, number, queue }.command();
        self.call_script(1, |out| part.write_packed_command(out)).await.map(drop)
    }

    /// Looks at what is in doubt, and says who has no room. Once per tick.
    pub(crate) fn submit_standings(self: &Arc<Self>) {
        let mut looks = Vec::new();
        let mut rooms = Vec::new();
        let must_rejoin = {
            let mut standings = self.lock(&self.standings);
            if standings.queues.is_empty() {
                return;
            }
            // Not all queues, with every tick.
            for queue in std::mem::take(&mut standings.stale) {
                if let Some(standing) = standings.queues.get(&queue) {
                    looks.push(Look { queue, is_ranked: standing.is_ranked });
                }
            }
            let Standings { queues, ranked, .. } = &mut *standings;
            ranked.retain(|queue| queues.get(queue).is_some_and(|standing| standing.is_ranked));
            rooms.extend(ranked.iter().cloned());
            std::mem::replace(&mut standings.must_rejoin, false)
        };
        for queue in rooms {
            self.tell_room(&queue);
        }
        for chunk in looks.chunks(AT_ONCE) {
            self.submit_look(chunk.to_vec());
        }
        if must_rejoin {
            let session = Arc::clone(self);
            drop(self.handle.spawn(async move { session.rejoin().await }));
        }
    }

    fn submit_look(&self, looks: Vec<Look>) {
        let is_tracking = self.is_tracking();
        let commands: usize = looks.iter().map(|look| 1 + usize::from(look.is_ranked)).sum();
        let mut bytes = Vec::new();
        if is_tracking {
            command::command(&mut bytes, &["CLIENT", "CACHING", "YES"]);
        }
        command::command(&mut bytes, &["MULTI"]);
        for Look { queue, is_ranked } in &looks {
            command::command(&mut bytes, &["HMGET", &self.keys.mark(queue), "deleted", "ranked"]);
            if *is_ranked {
                command::command(&mut bytes, &["HGETALL", &self.keys.consumers_of(queue)]);
            }
        }
        command::command(&mut bytes, &["EXEC"]);
        let replies = u32::try_from(commands + 2 + usize::from(is_tracking)).unwrap_or(u32::MAX);
        // A closed link has nobody to tell.
        let _ = self.command.submit(Request::Look(looks), replies, None, |_, out| out.extend_from_slice(&bytes));
        self.touch();
    }

    /// Uses what was found.
    pub(crate) fn handle_looked(self: &Arc<Self>, looks: &[Look], value: &Value) {
        let Value::Array(items) = value else { return self.handle_lost_look(looks) };
        let mut items = items.iter();
        for look in looks {
            let mark = items.next();
            let consumers = if look.is_ranked { items.next() } else { None };
            let Some(Value::Array(mark)) = mark else { continue };
            let text = |index: usize| match mark.get(index) {
                Some(Value::BulkString(text)) => text.clone(),
                _ => Vec::new(),
            };
            let (deleted, is_ranked) = (text(0), !text(1).is_empty());
            let is_deleted = {
                let mut standings = self.lock(&self.standings);
                let Some(standing) = standings.queues.get_mut(&look.queue) else { continue };
                // Who comes before whom is read with the next look.
                standing.is_ranked = is_ranked;
                let is_deleted = !deleted.is_empty() && deleted != standing.deleted;
                standing.deleted = deleted;
                if is_ranked {
                    standings.ranked.insert(look.queue.clone());
                }
                if is_ranked && !look.is_ranked {
                    standings.stale.insert(look.queue.clone());
                }
                is_deleted
            };
            if is_deleted {
                self.end_consumers_of(&look.queue);
                if self.has_registry() {
                    self.forget_deleted(&look.queue);
                }
                continue;
            }
            match consumers {
                Some(consumers) if is_ranked => self.rank(&look.queue, consumers, text(1) == b"single"),
                _ if !is_ranked => self.hold_back(&look.queue, |_| false),
                _ => {}
            }
        }
        self.touch();
    }

    /// A look has no answer, or none that can be read: it is repeated on the next connection, or with the next sign of life.
    pub(crate) fn handle_lost_look(&self, looks: &[Look]) {
        if self.is_tracking() && self.is_up() {
            // A server that does not answer this is not asked again at once.
            return;
        }
        let mut standings = self.lock(&self.standings);
        standings.stale.extend(looks.iter().map(|look| look.queue.clone()));
    }

    /// The server tells that a key has changed; says whether it was about consumers.
    pub(crate) fn handle_changed_standing(&self, key: &str) -> bool {
        let Some(queue) = self.keys.consumed_queue(key) else { return false };
        self.lock(&self.standings).stale.insert(queue.into());
        true
    }

    /// The queue is gone: its consumers are told, and get nothing more.
    pub(crate) fn end_consumers_of(self: &Arc<Self>, queue: &str) {
        self.lock(&self.standings).queues.remove(queue);
        let consumers = self.poller().consumers_of(queue);
        for consumer in consumers {
            if let Some(channel) = consumer.channel.upgrade() {
                channel.remove_consumer(&consumer.tag);
            }
            consumer.cancel();
            self.poller().discard(&consumer);
            self.topology.remove_consumer(queue);
            let error = Error::new(ErrorKind::NotFound, "the queue was deleted").with("queue", queue);
            consumer.sink.cancelled(error.during("basic.cancel"));
        }
        self.touch();
    }

    /// Notes every consumer again, under a new name. Until that is done, nobody is alone, and nobody is the active one.
    async fn rejoin(self: &Arc<Self>) {
        let queues: Vec<ShortStr> = self.lock(&self.standings).queues.keys().cloned().collect();
        for queue in queues {
            let consumers = self.poller().consumers_of(&queue);
            for consumer in consumers {
                match self.join(&consumer, false).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::AccessRefused => self.end_refused(&consumer, error),
                    Err(error) => {
                        if self.warnings.allows("join", self.handle.now()) {
                            tracing::warn!(broker = %self.target.label, %queue, %error, "a consumer could not be noted again");
                        }
                        self.lock(&self.standings).must_rejoin = true;
                        return;
                    }
                }
            }
        }
    }

    /// Another has taken the queue while the lease was lost.
    fn end_refused(self: &Arc<Self>, consumer: &Arc<Consumer>, error: Error) {
        if let Some(channel) = consumer.channel.upgrade() {
            channel.remove_consumer(&consumer.tag);
        }
        consumer.cancel();
        self.poller().discard(consumer);
        self.topology.remove_consumer(&consumer.queue);
        self.touch();
        consumer.sink.cancelled(error.during("basic.cancel"));
    }

    /// Holds back the consumers that others come before.
    fn rank(&self, queue: &str, answer: &Value, is_single: bool) {
        let pairs = pairs(answer);
        let entries: Vec<Entry<'_>> = pairs.iter().filter_map(|(consumer, text)| Entry::read(consumer, text)).collect();
        let name = Arc::clone(self.lock(&self.identity).name());
        let first = entries.iter().min_by_key(|entry| (entry.since, entry.consumer)).map(|entry| entry.consumer);
        // Among our own, what is there is given to the first that has room.
        let is_own = |entry: &Entry<'_>| entry.consumer.rsplit_once(':').is_some_and(|(owner, _)| owner == &*name);
        let others = entries.iter().filter(|entry| !entry.is_full && !is_own(entry));
        let highest = others.map(|entry| entry.priority).max();
        self.hold_back(queue, |consumer| match is_single {
            true => first != Some(&*format!("{name}:{}", consumer.number)),
            false => highest.is_some_and(|highest| highest > consumer.priority),
        });
    }

    fn hold_back(&self, queue: &str, is_behind: impl Fn(&Consumer) -> bool) {
        let mut poller = self.poller();
        let mut changed = false;
        for consumer in poller.consumers_of(queue) {
            changed |= consumer.hold_back(is_behind(&consumer));
        }
        if changed {
            poller.wake(queue);
        }
    }

    /// Tells whether consumers of a queue have room, where that has changed.
    fn tell_room(&self, queue: &str) {
        let consumers = self.poller().consumers_of(queue);
        let name = Arc::clone(self.lock(&self.identity).name());
        let mut told = Vec::new();
        {
            let mut standings = self.lock(&self.standings);
            let Some(standing) = standings.queues.get_mut(queue) else { return };
            for consumer in consumers {
                let (is_full, was_full) = (consumer.room() == 0, standing.full.contains(&consumer.number));
                if is_full == was_full {
                    continue;
                }
                match is_full {
                    true => standing.full.push(consumer.number),
                    false => standing.full.retain(|full| *full != consumer.number),
                }
                told.push((format!("{name}:{}", consumer.number), is_full));
            }
        }
        for (entry, is_full) in told {
            let room = Room { keys: &self.keys, queue, entry: &entry, is_full }.command();
            self.send_quietly("telling of room", 1, |out| room.write_packed_command(out));
        }
    }
}

impl<'a> Entry<'a> {
    /// Reads an entry and what is noted of it: when it came, its priority, letters.
    fn read(consumer: &'a str, text: &'a str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let (since, priority, letters) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some(Entry { consumer, since, priority, is_full: letters.contains('f') })
    }
}

/// How often a name that turns out to be void is replaced before giving up.
const JOINS: usize = 3;
/// How many queues are looked at with one command.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_who_came_when() {
        let entry = Entry::read("me:3", "1700000000000001 -5 xf").unwrap();
        assert_eq!(
            (entry.consumer, entry.since, entry.priority, entry.is_full),
            ("me:3", "1700000000000001", -5, true)
        );
        assert!(!Entry::read("me:3", "1700000000000001 0 ").unwrap().is_full);
        for text in ["", "1", "1 2", "1 two "] {
            assert!(Entry::read("me:3", text).is_none(), "{text}");
        }
    }
}
