//! Queues that are known apart from their messages.

use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Says whether a queue is there, and notes that it is used.
#[derive(Debug)]
pub(crate) struct UseQueue<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The queue.
    pub(crate) queue: &'a str,
    /// The name of the connection that removes its messages, if they are removed: another's own keeps them.
    pub(crate) purged_by: Option<&'a str>,
}

impl UseQueue<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let lists: Vec<String> = self.keys.lists(self.queue).collect();
        let mut command = script("use_queue").evalsha(3 + lists.len());
        command.arg(self.keys.queue_definition(self.queue)).arg(self.keys.consumers_of(self.queue));
        command.arg(self.keys.consumers()).arg(lists);
        if let Some(name) = self.purged_by {
            command.arg(name);
        }
        command
    }

    /// Reads the answer: who has it exclusively, or "", and how many messages were removed; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Option<(String, u32)>> {
        let Value::Array(items) = answer else { return Err(unexpected("use_queue", answer)) };
        match &items[..] {
            [Value::Int(0)] => Ok(None),
            [Value::Int(1), Value::BulkString(owner), Value::Int(count)] => {
                let owner = String::from_utf8_lossy(owner).into_owned();
                Ok(Some((owner, u32::try_from(*count).unwrap_or(u32::MAX))))
            }
            _ => Err(unexpected("use_queue", answer)),
        }
    }
}

/// Makes a queue, unless it is there.
#[derive(Debug)]
pub(crate) struct DeclareQueue<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The queue.
    pub(crate) queue: &'a str,
    /// The name of the connection that has it exclusively.
    pub(crate) owner: Option<&'a str>,
    /// After how many milliseconds without use it goes.
    pub(crate) expires: Option<u64>,
    /// Its arguments about the life of messages, in JSON, if it has any.
    pub(crate) policy: Option<&'a [u8]>,
    /// Whether it was lost and is made again.
    pub(crate) is_again: bool,
    /// Names and values of its fields.
    pub(crate) fields: &'a [(&'static str, String)],
}

impl DeclareQueue<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let DeclareQueue { keys, queue, owner, expires, policy, is_again, fields } = *self;
        let lists: Vec<String> = keys.lists(queue).collect();
        let mut command = script("declare_queue").evalsha(4 + lists.len());
        command.arg(keys.queue_definition(queue)).arg(keys.consumers()).arg(keys.consumer(owner.unwrap_or_default()));
        command.arg(keys.bound_queue(queue)).arg(lists);
        command.arg(keys.prefix()).arg(queue).arg(owner.unwrap_or_default());
        command.arg(expires.map(|expires| expires.to_string()).unwrap_or_default());
        command.arg(policy.unwrap_or_default()).arg(if is_again { "a" } else { "" });
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        command
    }

    /// Reads the answer: who has it exclusively, and what is known of it, as `HMGET` would say it; `None` when it is new.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<Option<(String, Value)>> {
        match answer {
            Value::Array(items) if items.is_empty() => Ok(None),
            Value::Array(mut items) => match items.remove(0) {
                Value::BulkString(owner) => {
                    Ok(Some((String::from_utf8_lossy(&owner).into_owned(), Value::Array(items))))
                }
                other => Err(unexpected("declare_queue", &other)),
            },
            other => Err(unexpected("declare_queue", &other)),
        }
    }
}
