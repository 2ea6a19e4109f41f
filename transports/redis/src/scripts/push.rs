//! Putting messages where more than a list is asked for.

use redis::Cmd;

use super::told;
use crate::keys::Keys;

/// Puts a message into queues that have a policy, or one that expires into any; holds one back; or sends a letter on.
#[derive(Debug)]
pub(crate) struct Push<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The letter that is sent on: when it is gone already, nothing is done.
    pub(crate) letter: &'a str,
    /// The priority by which lists are chosen.
    pub(crate) priority: u8,
}

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// Into a queue.
    Queue {
        /// Its name.
        queue: &'a str,
        /// How long the message may wait there, in milliseconds; the queue may say less.
        ttl: Option<u64>,
        /// How long the lists of the queue stay from now on, in milliseconds.
        expires: Option<u64>,
        /// Whether it gets a copy only when it has a definition.
        is_checked: bool,
    },
    /// Among what is held back.
    Held {
        /// Under which id, which nobody else uses.
        id: &'a str,
        /// For how many milliseconds.
        delay: u64,
    },
}

impl Push<'_> {
    /// Returns the command. Each copy has a text of its own.
    pub(crate) fn command<'p>(&self, copies: impl IntoIterator<Item = (Place<'p>, Vec<u8>)>) -> Cmd {
        let mut command = told::begin("push", self.keys, &[]);
        command.arg(self.letter);
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        for (place, text) in copies {
            match place {
                Place::Queue { queue, ttl, expires, is_checked } => {
                    let kind = if is_checked { 'r' } else { 'q' };
                    command.arg(format!("{kind}{queue}")).arg(self.keys.list_number(self.priority));
                    command.arg(number(ttl)).arg(number(expires));
                }
                Place::Held { id, delay } => {
                    command.arg(format!("h{id}")).arg(0).arg(delay).arg("");
                }
            }
            command.arg(text);
        }
        command
    }
}
