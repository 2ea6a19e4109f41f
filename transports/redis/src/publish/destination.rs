//! Where a message goes, and the commands that put it there.

use std::time::Duration;

use kombu_core::{Envelope, ShortStr};

use crate::connection::command;
use crate::envelope::{Prepared, list_priority};
use crate::keys::Keys;
use crate::push::ttl_of;
use crate::scripts::Broadcast;
use crate::session::Session;
use crate::tags::Tag;

/// A list that gets a message, its queue, and the queue's `x-expires`.
pub(super) type List = (ShortStr, ShortStr, Option<u64>);

/// Where a message goes.
pub(super) enum Destination {
    /// Into one list per queue.
    Lists(Vec<List>),
    /// Into these by script: one of the queues has a policy, or the message expires.
    Queues(Vec<List>),
    /// Held back for so long, under this id.
    Held(Duration, String),
    /// To whoever listens to a fanout exchange, and to its stored queues but for these: they have it.
    Broadcast(ShortStr, Vec<ShortStr>),
}

impl Destination {
    /// Goes by script where lists alone will not do.
    pub(super) fn by_policy(self, session: &Session, envelope: &Envelope) -> Self {
        match self {
            Destination::Lists(lists) if session.needs_push(envelope, lists.iter().map(|(_, queue, _)| queue)) => {
                Destination::Queues(lists)
            }
            other => other,
        }
    }

    /// Returns how many queues it goes to by name.
    pub(super) fn len(&self) -> usize {
        match self {
            Destination::Lists(lists) | Destination::Queues(lists) => lists.len(),
            Destination::Held(..) | Destination::Broadcast(..) => 0,
        }
    }

    /// Says whether the commands make one transaction.
    pub(super) fn is_transaction(&self, session: &Session) -> bool {
        match self {
            // A registry is asked by script.
            Destination::Lists(_) if session.has_registry() => false,
            Destination::Lists(lists) => lists.len() != 1 || lists.iter().any(|(_, _, expires)| expires.is_some()),
            Destination::Queues(_) | Destination::Held(..) | Destination::Broadcast(..) => false,
        }
    }

    pub(super) fn replies(&self, session: &Session) -> u32 {
        match self {
            Destination::Lists(lists) if self.is_transaction(session) => {
                let steps = session.keys.steps().len();
                let commands: usize = lists.iter().map(|(_, _, expires)| 1 + expires.map_or(0, |_| steps)).sum();
                u32::try_from(commands + 2).unwrap_or(u32::MAX)
            }
            _ => 1,
        }
    }

    pub(super) fn write(&self, session: &Session, envelope: &Envelope, prepared: &Prepared, out: &mut Vec<u8>) {
        let is_transaction = self.is_transaction(session);
        out.reserve(prepared.len(Tag::LENGTH) + 128);
        if is_transaction {
            command::command(out, &["MULTI"]);
        }
        let copy = |out: &mut Vec<u8>| {
            command::word_of(out, prepared.len(Tag::LENGTH), |out| prepared.write(&session.tags.tag(), out));
        };
        match self {
            Destination::Broadcast(exchange, reached) => Broadcast {
                keys: &session.keys,
                exchange,
                routing_key: &envelope.routing_key,
                priority: list_priority(envelope),
                letter: None,
                ttl: ttl_of(envelope),
                is_checked: session.has_registry(),
                reached,
            }
            .write(out, copy),
            Destination::Queues(queues) => {
                let queues = queues.iter().map(|(_, queue, expires)| (queue, *expires));
                session.write_push(envelope, prepared, queues, out);
            }
            Destination::Held(delay, id) => session.write_held(envelope, id, *delay, out),
            Destination::Lists(lists) if session.has_registry() => {
                session.write_publish(lists.iter().map(|(list, queue, _)| (queue.as_str(), list.as_str())), out, copy);
            }
            Destination::Lists(lists) => {
                for (list, queue, expires) in lists {
                    command::head(out, 3);
                    command::word(out, "LPUSH");
                    command::word(out, list.as_str());
                    copy(out);
                    let Some(expires) = expires else { continue };
                    for list in session.keys.lists(queue) {
                        command::command(out, &["PEXPIRE", &list, &expires.to_string()]);
                    }
                }
            }
        }
        if is_transaction {
            command::command(out, &["EXEC"]);
        }
    }
}

/// Returns the list of each of `queues` that gets the message.
pub(super) fn lists(session: &Session, envelope: &Envelope, queues: &[ShortStr]) -> Vec<List> {
    let priority = list_priority(envelope);
    let list =
        |queue: &ShortStr| (list_of(&session.keys, queue, priority), queue.clone(), session.topology.expires(queue));
    queues.iter().map(list).collect()
}

/// Returns the list of `queue` that takes a message of `priority`: mostly it has the queue's name, and costs nothing then.
fn list_of(keys: &Keys, queue: &ShortStr, priority: u8) -> ShortStr {
    if keys.prefix().is_empty() && keys.step_for(priority) == 0 {
        return queue.clone();
    }
    keys.list_for(queue, priority).into()
}
