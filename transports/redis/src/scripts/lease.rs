//! Who consumes: signs of life, inboxes, and what becomes of consumers that give none.

use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Registers a consumer, or gives its sign of life.
#[derive(Debug)]
pub(crate) struct Renew<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The consumer.
    pub(crate) consumer: &'a str,
    /// How long it may be without the next, in milliseconds.
    pub(crate) lease: u64,
    /// Whether it is registered if it is not.
    pub(crate) is_new: bool,
    /// The numbers of the fields it holds, as [`Ledger::to_text`](crate::ledger::Ledger::to_text) writes them.
    pub(crate) held: &'a str,
    /// From which number on there may be more.
    pub(crate) from: u64,
    /// The word of the last sign of life, and that of this one; nothing when it registers.
    pub(crate) words: (&'a str, &'a str),
    /// The numbers of the fields that become young again.
    pub(crate) refreshed: &'a [u64],
}

/// What the server says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The lease lasts on.
    Alive {
        /// It was over already, and nobody has noticed.
        was_over: bool,
        /// In how many milliseconds the next lease of another ends.
        soonest: Option<u64>,
        /// Whether there are dead to look after.
        has_dead: bool,
    },
    /// The consumer was declared dead: what it held is given to others.
    Dead,
}

impl Renew<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("renew").evalsha(4);
        command.arg(self.keys.consumers()).arg(self.keys.consumer(self.consumer)).arg(self.keys.dead());
        command.arg(self.keys.unacked_index());
        command.arg(self.consumer).arg(self.lease).arg(if self.is_new { "new" } else { "" });
        command.arg(self.held).arg(self.from).arg(self.words.0).arg(self.words.1);
        for number in self.refreshed {
            command.arg(format!("{}:{number}", self.consumer));
        }
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Renewed> {
        let Value::Array(items) = answer else { return Err(unexpected("renew", answer)) };
        match items[..] {
            [Value::Int(0)] => Ok(Renewed::Dead),
            [Value::Int(1), Value::Int(over), Value::Int(soonest), Value::Int(dead)] => {
                Ok(Renewed::Alive { was_over: over == 1, soonest: u64::try_from(soonest).ok(), has_dead: dead == 1 })
            }
            _ => Err(unexpected("renew", answer)),
        }
    }
}

/// Notes the inboxes of a consumer, and the clients that wait for them to be filled.
#[derive(Debug)]
pub(crate) struct NoteInboxes<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The consumer.
    pub(crate) consumer: &'a str,
    /// Inboxes and the lists they are filled from.
    pub(crate) inboxes: &'a [(String, String)],
    /// The run of the server, and numbers of clients of ours on it.
    pub(crate) clients: &'a [(String, i64)],
    /// Numbers of clients of ours that are gone.
    pub(crate) gone: &'a [i64],
}

impl NoteInboxes<'_> {
    /// Returns the command; the answer is 0 when the consumer is not registered.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("inbox").evalsha(2);
        command.arg(self.keys.consumers()).arg(self.keys.consumer(self.consumer)).arg(self.consumer);
        for (inbox, list) in self.inboxes {
            command.arg(format!("{INBOX}{inbox}")).arg(list);
        }
        for client in self.gone {
            command.arg(format!("-{CLIENT}{client}")).arg("");
        }
        for (run, client) in self.clients {
            command.arg(format!("{CLIENT}{client}")).arg(run);
        }
        command
    }
}

/// Finds a consumer that gives no sign of life any more.
#[derive(Debug)]
pub(crate) struct Reap<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// For how many milliseconds nobody else needs to look after it.
    pub(crate) exclusive: u64,
}

/// A dead consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// Its name.
    pub(crate) consumer: String,
    /// For how many milliseconds it is known to be dead; none when it left no entry.
    pub(crate) dead_for: Option<u64>,
    /// The numbers of the fields it held, as text.
    pub(crate) held: String,
    /// From which number on there may be more, and where they end.
    pub(crate) range: std::ops::Range<u64>,
    /// Its inboxes and the lists they were filled from.
    pub(crate) inboxes: Vec<(String, String)>,
    /// Its waiting clients: the run of the server and the number.
    pub(crate) clients: Vec<(String, i64)>,
    /// The queues it consumed.
    pub(crate) queues: Vec<String>,
    /// The queues that were its own.
    pub(crate) exclusive: Vec<String>,
}

impl Reap<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("reap").evalsha(2);
        command.arg(self.keys.consumers()).arg(self.keys.dead()).arg(self.keys.consumer("")).arg(self.exclusive);
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Option<Reaped>> {
        let Value::Array(items) = answer else { return Err(unexpected("reap", answer)) };
        let [Value::BulkString(consumer), Value::Int(now), fields @ ..] = &items[..] else {
            return if items.is_empty() { Ok(None) } else { Err(unexpected("reap", answer)) };
        };
        let mut reaped = Reaped { consumer: String::from_utf8_lossy(consumer).into_owned(), ..Reaped::default() };
        for pair in fields.chunks_exact(2) {
            let [Value::BulkString(name), Value::BulkString(value)] = pair else { continue };
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value).into_owned());
            match &*name {
                "died" => {
                    let died = value.parse::<i64>().ok();
                    reaped.dead_for = died.map(|died| u64::try_from(now - died).unwrap_or(0));
                }
                "held" => reaped.held = value,
                "from" => reaped.range.start = value.parse().unwrap_or(0),
                "next" => reaped.range.end = value.parse().unwrap_or(0),
                name => {
                    if let Some(inbox) = name.strip_prefix(INBOX) {
                        reaped.inboxes.push((inbox.to_owned(), value));
                    } else if let Some(queue) = name.strip_prefix(QUEUE) {
                        reaped.queues.push(queue.to_owned());
                    } else if let Some(queue) = name.strip_prefix(EXCLUSIVE) {
                        reaped.exclusive.push(queue.to_owned());
                    } else if let Some(client) = name.strip_prefix(CLIENT).and_then(|client| client.parse().ok()) {
                        reaped.clients.push((value, client));
                    }
                }
            }
        }
        Ok(Some(reaped))
    }
}

/// Gives back what is in inboxes of a consumer.
#[derive(Debug)]
pub(crate) struct Bury<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// The consumer.
    pub(crate) consumer: &'a str,
    /// Its inboxes and the lists they were filled from.
    pub(crate) inboxes: &'a [(String, String)],
    /// What becomes of the consumer.
    pub(crate) ending: Ending,
}

/// What becomes of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    None,
    /// Its lease ends now; others look after what it held.
    Die,
    /// It is forgotten: it held nothing any more.
    Forget,
}

impl Bury<'_> {
    /// Returns the command; the answer is how many messages went back.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("bury").evalsha(3 + 2 * self.inboxes.len());
        command.arg(self.keys.consumers()).arg(self.keys.dead()).arg(self.keys.consumer(self.consumer));
        for (inbox, list) in self.inboxes {
            command.arg(inbox).arg(list);
        }
        command.arg(self.consumer).arg(match self.ending {
            Ending::None => "",
            Ending::Die => "die",
            Ending::Forget => "forget",
        });
        command
    }
}

/// What the fields of a consumer's entry that name inboxes begin with.
const INBOX: &str = "inbox:";
/// What those that name queues of its own begin with.
const EXCLUSIVE: &str = "exclusive:";
/// What those that name queues begin with.
const QUEUE: &str = "queue:";
/// What those that name clients begin with.
const CLIENT: &str = "client:";
