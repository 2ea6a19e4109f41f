//! Who consumes a queue.

use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Notes a consumer of a queue.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The name its connection takes messages under.
    pub(crate) name: &'a str,
    /// Its number there.
    pub(crate) number: u64,
    /// The queue.
    pub(crate) queue: &'a str,
    /// Its priority.
    pub(crate) priority: i64,
    /// Whether it is to be alone.
    pub(crate) exclusive: bool,
    /// Whether the queue must have a definition.
    pub(crate) is_checked: bool,
}

/// What the server says to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It is noted.
    Yes {
        /// What tells the last deletion of the queue from others; empty when none is known.
        deleted: Vec<u8>,
        /// Whether some consumers come before others.
        is_ranked: bool,
    },
    /// Another keeps it out.
    KeptOut,
    /// The name is not registered.
    Unknown,
    /// The queue is not there.
    Missing,
}

impl Join<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let Join { keys, name, number, queue, priority, exclusive, is_checked } = *self;
        let lists: Vec<String> = keys.lists(queue).collect();
        let mut command = script("join").evalsha(5 + lists.len());
        command.arg(keys.consumers_of(queue)).arg(keys.mark(queue)).arg(keys.consumers()).arg(keys.consumer(name));
        command.arg(keys.queue_definition(queue)).arg(lists);
        command.arg(name).arg(number).arg(queue).arg(priority).arg(if exclusive { "x" } else { "" });
        command.arg(if is_checked { "r" } else { "" });
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Joined> {
        let Value::Array(items) = answer else { return Err(unexpected("join", answer)) };
        match &items[..] {
            [Value::Int(1), Value::BulkString(deleted), Value::Int(ranked)] => {
                Ok(Joined::Yes { deleted: deleted.clone(), is_ranked: *ranked == 1 })
            }
            [Value::Int(0)] => Ok(Joined::KeptOut),
            [Value::Int(-1)] => Ok(Joined::Unknown),
            [Value::Int(-2)] => Ok(Joined::Missing),
            _ => Err(unexpected("join", answer)),
        }
    }
}

/// Forgets consumers of a queue; the answer is how many it still has.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The name their connection takes messages under.
    pub(crate) name: &'a str,
    /// Which of them; all without a number.
    pub(crate) number: Option<u64>,
    /// The queue.
    pub(crate) queue: &'a str,
}

impl Part<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let Part { keys, name, number, queue } = *self;
        let lists: Vec<String> = keys.lists(queue).collect();
        let mut command = script("part").evalsha(5 + lists.len());
        command.arg(keys.consumers_of(queue)).arg(keys.mark(queue)).arg(keys.consumer(name));
        command.arg(keys.bound_queue(queue)).arg(keys.queue_definition(queue)).arg(lists);
        command
            .arg(keys.prefix())
            .arg(name)
            .arg(number.map(|number| number.to_string()).unwrap_or_default())
            .arg(queue);
        command
    }
}

/// Notes whether a consumer has room for messages; the answer is 0 when it is not known.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The queue.
    pub(crate) queue: &'a str,
    /// The consumer: the name of its connection, a colon, its number.
    pub(crate) entry: &'a str,
    /// Whether it has none.
    pub(crate) is_full: bool,
}

impl Room<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("room").evalsha(1);
        command.arg(self.keys.consumers_of(self.queue)).arg(self.entry).arg(if self.is_full { "f" } else { "" });
        command
    }
}
