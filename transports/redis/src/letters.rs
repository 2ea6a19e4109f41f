//! Letters: messages that died, on their way to a dead-letter exchange, and messages held back whose time has come.
//!
//! A script takes a dead message out of its queue, or out of the record of what is unacknowledged, and leaves it in a hash, in one step.
//! A client – the one that asked for it, or any other after a while – reads it there, notes the death in its headers, finds out where it
//! goes, and puts it there in one step with taking it out of the hash. So it is in one place at any time, whoever dies; and of two
//! clients that do the same, one finds it gone.
//!
//! As in RabbitMQ, a letter for which there is no exchange, no matching binding, or only queues that refuse it, is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kombu_core::serialization::json;
use kombu_core::{Envelope, Error, ErrorKind, Result, ShortStr, Value as Argument};
use kombu_virtual::death::{self, Reason};

use crate::connection::command;
use crate::envelope::{self, Limits, Prepared, list_priority};
use crate::malformed;
use crate::push::{Target, ttl_of};
use crate::scripts::{Broadcast, Place, Push, Told};
use crate::session::Session;

/// The letters that this connection sends on, one after the other.
#[derive(Default)]
pub(crate) struct Letters {
    waiting: VecDeque<(String, Bytes)>,
    is_sending: bool,
}

/// A letter, read.
struct Letter {
    /// What is published; its exchange and routing key are those it goes to.
    envelope: Envelope,
    /// Why it died; none when it was held back.
    reason: Option<Reason>,
}

impl Session {
    /// Sends letters on, behind those that wait already.
    pub(crate) fn send_letters(&self, letters: Vec<(String, Bytes)>) {
        if letters.is_empty() {
            return;
        }
        let Some(session) = self.me() else { return };
        {
            let mut own = self.lock(&self.letters);
            own.waiting.extend(letters);
            if std::mem::replace(&mut own.is_sending, true) {
                return;
            }
        }
        drop(self.handle.spawn(async move { session.send_all_letters().await }));
    }

    /// Says whether no letter waits to be sent on by this connection.
    pub(crate) fn has_sent_letters(&self) -> bool {
        !self.lock(&self.letters).is_sending
    }

    async fn send_all_letters(&self) {
        loop {
            let next = {
                let mut letters = self.lock(&self.letters);
                let next = letters.waiting.pop_front();
                letters.is_sending = next.is_some();
                next
            };
            let Some((id, text)) = next else { return };
            if let Err(error) = self.send_letter(&id, &text).await {
                if self.warnings.allows("letter", self.handle.now()) && error.kind() != ErrorKind::Closed {
                    tracing::warn!(broker = %self.target.label, %error, "a dead or delayed message cannot be sent on; trying again");
                }
                if !self.is_closing() {
                    self.expect(self.server_time() + AGAIN);
                }
            }
        }
    }

    async fn send_letter(&self, id: &str, text: &Bytes) -> Result<()> {
        let letter = match self.read_letter(text) {
            Ok(letter) => letter,
            Err(error) => return self.set_letter_aside(id, text, &error).await,
        };
        let envelope = &letter.envelope;
        let queues = match self.target(envelope).await? {
            Target::Held(delay) => return self.hold_letter(id, envelope, delay).await,
            Target::Queues(queues, listeners) => {
                // The last of all takes the letter away; who listens may hear it again if this process dies before that.
                let mut reached = queues.clone();
                for (index, exchange) in listeners.iter().enumerate() {
                    let is_last = queues.is_empty() && index + 1 == listeners.len();
                    let letter = is_last.then_some(id);
                    reached.extend(self.broadcast_letter(letter, exchange, envelope, &reached).await?);
                    if is_last {
                        return Ok(());
                    }
                }
                queues
            }
        };
        let goes_round = |queue: &ShortStr| match letter.reason {
            None | Some(Reason::Rejected) => false,
            Some(_) => death::is_cycle(&envelope.headers, queue),
        };
        let queues: Vec<ShortStr> = queues.into_iter().filter(|queue| !goes_round(queue)).collect();
        if queues.is_empty() {
            tracing::debug!(exchange = %envelope.exchange, routing_key = %envelope.routing_key,
                "a dead or delayed message leads nowhere and is dropped");
        }
        let prepared = Prepared::new(envelope, self.options.body_encoding)?;
        let push = Push { keys: &self.keys, letter: id, priority: list_priority(envelope) };
        let ttl = ttl_of(envelope);
        let is_checked = self.has_registry();
        let copies = queues.iter().map(|queue| {
            let place = Place::Queue { queue, ttl, expires: self.topology.expires(queue), is_checked };
            (place, prepared.copy(&self.tags))
        });
        let push = push.command(copies);
        let told = self.call_script(1, |out| push.write_packed_command(out)).await?;
        self.use_told(Told::read("push", &told)?);
        Ok(())
    }

    fn read_letter(&self, text: &Bytes) -> Result<Letter> {
        let (header, text) = split(text).ok_or_else(|| unreadable("its first line"))?;
        let limits = Limits { no_ack: true, ..self.limits };
        let dead = envelope::read(&text, &limits)?.envelope;
        let word = |name: &str| header.get(name).and_then(Argument::as_str);
        let reason = word("reason").ok_or_else(|| unreadable("reason"))?;
        if reason == DELAYED {
            return Ok(Letter { envelope: dead, reason: None });
        }
        let known = Reason::ALL.into_iter().find(|known| known.as_str() == reason);
        let reason = known.ok_or_else(|| unreadable("reason"))?;
        let queue = ShortStr::from(word("queue").ok_or_else(|| unreadable("queue"))?);
        let exchange = ShortStr::from(word("exchange").ok_or_else(|| unreadable("exchange"))?);
        let routing_key = word("routing_key").map(ShortStr::from);
        let at = header.get("at").and_then(Argument::as_f64).and_then(|at| Duration::try_from_secs_f64(at).ok());
        let at = UNIX_EPOCH + at.unwrap_or_default();
        let mut envelope = death::letter(&dead, &queue, reason, at, &exchange, routing_key.as_ref());
        // What its consumers in the old queue have noted is not about the new one.
        for name in ["redelivered", "x-delivery-count"] {
            envelope.headers.table_mut().remove(name);
        }
        Ok(Letter { envelope, reason: Some(reason) })
    }

    async fn set_letter_aside(&self, id: &str, text: &Bytes, error: &Error) -> Result<()> {
        let (header, message) = split(text).unwrap_or_else(|| (kombu_core::FieldTable::new(), text.clone()));
        let queue = header.get("queue").and_then(Argument::as_str).unwrap_or_default();
        tracing::warn!(%queue, %error, "set aside a dead or delayed message that cannot be read");
        let entry = malformed::entry(&message, &error.to_string(), SystemTime::now())?;
        let (list, letters, due) = (self.keys.malformed(queue), self.keys.letters(), self.keys.due());
        let answer = self.call(5, |out| {
            command::command(out, &["MULTI"]);
            command::command(out, &[b"RPUSH", list.as_bytes(), &entry]);
            command::command(out, &["HDEL", &letters, id]);
            command::command(out, &["ZREM", &due, &format!("l{id}")]);
            command::command(out, &["EXEC"]);
        });
        answer.await.map(drop)
    }

    /// A dead letter goes to whoever listens to a fanout exchange, and to its stored queues that are not among `reached`; returns those.
    async fn broadcast_letter(
        &self,
        id: Option<&str>,
        exchange: &str,
        envelope: &Envelope,
        reached: &[ShortStr],
    ) -> Result<Vec<ShortStr>> {
        let prepared = Prepared::new(envelope, self.options.body_encoding)?;
        let routing_key = &envelope.routing_key;
        let letters = self.keys.letters();
        let broadcast = Broadcast {
            keys: &self.keys,
            exchange,
            routing_key,
            priority: list_priority(envelope),
            letter: id.map(|id| (&*letters, id)),
            ttl: None,
            is_checked: self.has_registry(),
            reached,
        };
        let mut bytes = Vec::new();
        broadcast.write(&mut bytes, |out| {
            let copy = prepared.copy(&self.tags);
            command::word(out, &copy);
        });
        let told = Broadcast::read(&self.call_script(1, |out| out.extend_from_slice(&bytes)).await?)?;
        if let Some(id) = id {
            let (due, letter) = (self.keys.due(), format!("l{id}"));
            self.send_quietly("sending a letter on", 1, |out| command::command(out, &["ZREM", &due, &letter]));
        }
        if told.is_due {
            self.expect(self.server_time());
        }
        Ok(told.stored)
    }

    /// A dead letter is held back once more.
    async fn hold_letter(&self, id: &str, envelope: &Envelope, delay: Duration) -> Result<()> {
        let held = self.tags.tag().to_string();
        let text = self.held_text(envelope, delay)?;
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let push = Push { keys: &self.keys, letter: id, priority: 0 };
        let push = push.command([(Place::Held { id: &held, delay }, text)]);
        let told = self.call_script(1, |out| push.write_packed_command(out)).await?;
        self.use_told(Told::read("push", &told)?);
        Ok(())
    }

    /// Leaves a dead message that is nowhere on the server to be sent on.
    pub(crate) fn keep_letter(&self, queue: &ShortStr, reason: Reason, text: &Bytes) {
        let Some(policy) = self.policy(queue) else { return };
        let Some(exchange) = &policy.dead_letter_exchange else { return };
        let mut header = kombu_core::FieldTable::from([("queue", Argument::from(queue.as_str()))]);
        header.insert("reason", reason.as_str());
        header.insert("exchange", exchange.as_str());
        header.insert("at", self.server_time() as f64 / 1000.0);
        if let Some(key) = &policy.dead_letter_routing_key {
            header.insert("routing_key", key.as_str());
        }
        // Text and numbers can always be written.
        let Ok(mut letter) = json::to_vec(&header) else { return };
        letter.push(b'\n');
        letter.extend_from_slice(text);
        let id = self.tags.tag().to_string();
        let (letters, due) = (self.keys.letters(), self.keys.due());
        let at = (self.server_time() + AGAIN).to_string();
        self.send_quietly("keeping a dead message", 4, |out| {
            command::command(out, &["MULTI"]);
            command::command(out, &[b"HSET", letters.as_bytes(), id.as_bytes(), &letter]);
            command::command(out, &["ZADD", &due, &at, &format!("l{id}")]);
            command::command(out, &["EXEC"]);
        });
        self.send_letters(vec![(id, letter.into())]);
    }

    /// Waits until the letters of this connection are sent on, or cannot be.
    pub(crate) async fn settle_letters(self: &Arc<Self>) {
        while !self.has_sent_letters() && self.barrier().await.is_ok() {}
    }
}

/// Takes a letter apart: what its first line says, and the message.
fn split(text: &Bytes) -> Option<(kombu_core::FieldTable, Bytes)> {
    let end = memchr::memchr(b'\n', text)?;
    match json::read(&text[..end]) {
        Ok(Argument::Map(header)) => Some((header, text.slice(end + 1..))),
        _ => None,
    }
}

#[cold]
fn unreadable(what: &'static str) -> Error {
    Error::new(ErrorKind::Decode, "a dead or delayed message cannot be read").with("field", what)
}

/// Why a message that is held back is among the letters.
const DELAYED: &str = "delayed";
/// When a letter is tried again that could not be sent on, in milliseconds: when the scripts let others have it.
const AGAIN: u64 = 5100;
