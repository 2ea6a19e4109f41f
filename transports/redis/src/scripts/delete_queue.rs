//! Deleting queues.

use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Deletes a queue with its messages, and marks that for its consumers.
#[derive(Debug)]
pub(crate) struct DeleteQueue<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The queue.
    pub(crate) queue: &'a str,
    /// Whether it is kept while it has consumers.
    pub(crate) if_unused: bool,
    /// Whether it is kept while it has messages.
    pub(crate) if_empty: bool,
    /// What tells this deletion from others.
    pub(crate) id: &'a str,
}

/// What became of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// It is gone, with so many messages.
    Gone(u32),
    /// It has consumers.
    Used,
    /// It has messages.
    Filled,
}

impl DeleteQueue<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let DeleteQueue { keys, queue, if_unused, if_empty, id } = *self;
        let lists: Vec<String> = keys.lists(queue).collect();
        let mut command = script("delete_queue").evalsha(5 + lists.len());
        command.arg(keys.consumers_of(queue)).arg(keys.mark(queue)).arg(keys.consumers());
        command.arg(keys.bound_queue(queue)).arg(keys.queue_definition(queue)).arg(lists);
        command
            .arg(keys.prefix())
            .arg(if if_unused { "u" } else { "" })
            .arg(if if_empty { "e" } else { "" })
            .arg(id)
            .arg(queue);
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Deleted> {
        match answer {
            Value::Int(-1) => Ok(Deleted::Used),
            Value::Int(-2) => Ok(Deleted::Filled),
            Value::Int(count) => Ok(Deleted::Gone(u32::try_from(*count).unwrap_or(u32::MAX))),
            other => Err(unexpected("delete_queue", other)),
        }
    }
}
