//! Taking messages off lists.

use bytes::Bytes;
use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Takes up to `count` messages off lists and records them as unacknowledged.
///
/// Elements that cannot be envelopes, by their first and last byte or their size, go to the queue's list of malformed
/// elements in the same step. What is in an inbox of one of the lists is served before that list; what is left in inboxes
/// afterwards goes back to the end of its list that is served next. With `count` 0 that is all.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Who takes them; tags are `<consumer>:<number>`.
    pub(crate) consumer: &'a str,
    /// The number in the tag of the first message.
    pub(crate) first_number: u64,
    /// How many at most; the script takes no more than 1000.
    pub(crate) count: usize,
    /// After how many bytes it stops; up to seven messages may come in addition.
    pub(crate) max_bytes: usize,
    /// The largest envelope.
    pub(crate) max_message_size: usize,
    /// Whether it is noted of which of the queues that had its name a message was taken.
    pub(crate) notes_birth: bool,
    /// The queues of the lists.
    pub(crate) queues: &'a [ClaimQueue<'a>],
    /// The lists, in the order in which they are served.
    pub(crate) lists: &'a [ClaimList<'a>],
    /// Inboxes of those lists.
    pub(crate) inboxes: &'a [ClaimInbox<'a>],
}

/// A queue to take messages off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimQueue<'a> {
    /// Its name in JSON, quotes included: see [`queue_json`](Claim::queue_json).
    pub(crate) json: &'a str,
    /// Whether its messages count as acknowledged when they are taken.
    pub(crate) no_ack: bool,
    /// How many at most.
    pub(crate) limit: usize,
}

/// A list to take messages off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimList<'a> {
    /// Its key.
    pub(crate) key: &'a str,
    /// The index of its queue.
    pub(crate) queue: usize,
}

/// An inbox into which a waiter moved elements of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimInbox<'a> {
    /// Its key.
    pub(crate) key: &'a str,
    /// The index of the list.
    pub(crate) list: usize,
}

/// What a claim brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// An envelope's text. Recorded ones are numbered on from `first_number`, in this order.
    Message {
        /// The index of the list.
        list: usize,
        /// The text.
        text: Bytes,
    },
    /// An element that was set aside.
    SetAside {
        /// The index of the list.
        list: usize,
        /// The entry in the list of malformed elements: see [`malformed::read`](crate::malformed::read).
        entry: Bytes,
    },
}

impl Claim<'_> {
    /// Returns the name of a queue the way [`ClaimQueue`] and [`Record`](super::Record) want it.
    pub(crate) fn queue_json(queue: &str) -> Result<String> {
        kombu_core::serialization::json::to_string(queue)
    }

    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("claim").evalsha(4 + self.lists.len() + self.inboxes.len());
        command.arg(self.keys.unacked()).arg(self.keys.unacked_index());
        command.arg(self.keys.consumers()).arg(self.keys.consumer(self.consumer));
        for list in self.lists {
            command.arg(list.key);
        }
        for inbox in self.inboxes {
            command.arg(inbox.key);
        }
        command.arg(self.count).arg(self.max_bytes).arg(self.max_message_size);
        command.arg(self.consumer).arg(self.first_number);
        command.arg(self.keys.malformed_prefix()).arg(self.lists.len()).arg(self.queues.len());
        for queue in self.queues {
            let kind = match queue.no_ack {
                true => 'n',
                false if self.notes_birth => 'r',
                false => 'a',
            };
            command.arg(format!("{kind}{}", queue.limit.min(MAX_COUNT))).arg(queue.json);
        }
        for list in self.lists {
            command.arg(list.queue + 1);
        }
        for inbox in self.inboxes {
            command.arg(inbox.list + 1);
        }
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<Vec<Claimed>> {
        let items = match answer {
            Value::Array(items) if items.len() % 2 == 0 => items,
            other => return Err(unexpected("claim", &other)),
        };
        let mut claimed = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(list), Some(text)) = (items.next(), items.next()) {
            let (Value::Int(list @ (1.. | ..=-1)), Value::BulkString(text)) = (&list, text) else {
                return Err(unexpected("claim", &list));
            };
            let text = Bytes::from(text);
            // The number of a list is far below the limits of both types.
            let index = list.unsigned_abs() as usize - 1;
            claimed.push(match list {
                1.. => Claimed::Message { list: index, text },
                _ => Claimed::SetAside { list: index, entry: text },
            });
        }
        Ok(claimed)
    }
}

/// No claim takes more.
const MAX_COUNT: usize = 1000;
