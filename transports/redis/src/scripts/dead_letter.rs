//! Taking dead messages out of the record.

use kombu_virtual::death::Reason;
use redis::Cmd;

use super::told;
use crate::keys::Keys;

/// Forgets unacknowledged messages that died, and leaves them to whoever routes them if their queues say so.
#[derive(Debug)]
pub(crate) struct DeadLetter<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Tags, queues and reasons.
    pub(crate) messages: &'a [(&'a str, &'a str, Reason)],
}

impl DeadLetter<'_> {
    /// Returns the command. The numbers in its answer are, for each message, one of those below.
    pub(crate) fn command(&self) -> Cmd {
        let more = [self.keys.unacked(), self.keys.unacked_index()];
        let mut command = told::begin("dead_letter", self.keys, &more);
        for (tag, queue, reason) in self.messages {
            command.arg(*tag).arg(*queue).arg(reason.as_str());
        }
        command
    }

    /// It was not there any more.
    pub(crate) const GONE: i64 = 0;
    /// It is no message, and is still where it was.
    pub(crate) const MALFORMED: i64 = -2;
}
