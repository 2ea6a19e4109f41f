//! Recording one message.

use bytes::Bytes;
use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Records a message that a blocking pop handed over as unacknowledged, or sets it aside when it cannot be an envelope.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Who takes it; its tag is `<consumer>:<number>`.
    pub(crate) consumer: &'a str,
    /// The number in its tag.
    pub(crate) number: u64,
    /// The queue it came from.
    pub(crate) queue: &'a str,
    /// The name of the queue in JSON: see [`Claim::queue_json`](super::Claim::queue_json).
    pub(crate) queue_json: &'a str,
    /// The largest envelope.
    pub(crate) max_message_size: usize,
    /// The message.
    pub(crate) text: &'a [u8],
    /// Whether it is noted of which of the queues that had its name it was taken.
    pub(crate) notes_birth: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is recorded under its tag.
    Unacked,
    /// It was set aside; this is the entry.
    SetAside(Bytes),
}

impl Record<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("record").evalsha(5 + usize::from(self.notes_birth));
        command.arg(self.keys.unacked()).arg(self.keys.unacked_index()).arg(self.keys.malformed(self.queue));
        command.arg(self.keys.consumers()).arg(self.keys.consumer(self.consumer));
        if self.notes_birth {
            command.arg(self.keys.queue_definition(self.queue));
        }
        command.arg(self.consumer).arg(self.number).arg(self.queue_json).arg(self.max_message_size).arg(self.text);
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<Recorded> {
        match answer {
            Value::Int(1) => Ok(Recorded::Unacked),
            Value::BulkString(entry) => Ok(Recorded::SetAside(entry.into())),
            other => Err(unexpected("record", &other)),
        }
    }
}
