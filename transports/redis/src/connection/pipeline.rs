//! Requests on their way and answers coming back, in order.

use std::collections::VecDeque;
use std::time::Instant;

use redis::Value;

use super::unanswered::Unanswered;

/// One request that was written into a buffer of bytes.
#[derive(Debug)]
pub(crate) struct Entry<R> {
    /// What it is; handed back with the answer.
    pub(crate) request: R,
    /// How many replies the server gives for it; the last one is the answer, unless an earlier one is an error.
    pub(crate) replies: u32,
    /// How many bytes it takes in the buffer.
    pub(crate) length: usize,
    /// Until when it may be answered.
    pub(crate) deadline: Option<Instant>,
}

/// What becomes of an unanswered request when the connection is lost.
pub(crate) enum Fate {
    /// It is sent again as it was.
    Keep,
    /// It is sent again in other words: its bytes, and the number of replies.
    Replace(Vec<u8>, u32),
    /// It is over.
    Drop,
}

/// The requests of one connection that are not answered yet, with their bytes: written or waiting to be written.
///
/// Bytes are kept until the answer is there, so that a lost connection costs nothing but the repetition.
/// Order of calls: [`append`](Pipeline::append), then [`unsent`](Pipeline::unsent) and [`advance`](Pipeline::advance) as the
/// socket takes bytes, and [`handle_reply`](Pipeline::handle_reply) per reply; after a loss
/// [`handle_loss`](Pipeline::handle_loss).
pub(crate) struct Pipeline<R> {
    bytes: Unanswered,
    entries: VecDeque<Flying<R>>,
    /// What the server said it has not executed, with its bytes: it goes out again on the next connection, before the rest.
    refused: Vec<(Flying<R>, Vec<u8>)>,
}

struct Flying<R> {
    /// `None` once it was given up: its answer is swallowed.
    request: Option<R>,
    replies: u32,
    length: usize,
    deadline: Option<Instant>,
    refusal: Option<Value>,
    /// Whether the server said that it does not execute it.
    is_refused: bool,
}

impl<R> Default for Pipeline<R> {
    fn default() -> Self {
        Pipeline { bytes: Unanswered::default(), entries: VecDeque::new(), refused: Vec::new() }
    }
}

impl<R> Pipeline<R> {
    /// Takes over the requests written into `bytes`, leaving both empty.
    pub(crate) fn append(&mut self, bytes: &mut Vec<u8>, entries: &mut Vec<Entry<R>>) {
        self.bytes.append(bytes);
        self.entries.extend(entries.drain(..).map(|entry| Flying {
            request: Some(entry.request),
            replies: entry.replies,
            length: entry.length,
            deadline: entry.deadline,
            refusal: None,
            is_refused: false,
        }));
    }

    /// Returns what is to be written next; nothing if there is nothing.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.bytes.unsent()
    }

    /// Notes that the next `count` bytes are written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    /// Returns how many requests wait for an answer.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether the server owes an answer.
    pub(crate) fn is_owed(&self) -> bool {
        !self.entries.is_empty() && self.bytes.is_owed()
    }

    /// Takes the next reply; returns the request it completes, with the answer. A request that was given up completes as
    /// `Ok(None)`; a reply nobody asked for comes back as `Err`.
    pub(crate) fn handle_reply(&mut self, value: Value) -> Result<Option<(R, Value)>, Value> {
        let Some(first) = self.entries.front_mut() else { return Err(value) };
        first.replies = first.replies.saturating_sub(1);
        if first.replies > 0 {
            // In a transaction the first refusal says what is wrong; the last only that something was.
            if matches!(value, Value::ServerError(_)) && first.refusal.is_none() {
                first.refusal = Some(value);
            }
            return Ok(None);
        }
        // The line above found it.
        let Some(done) = self.entries.pop_front() else { return Err(value) };
        let length = done.length;
        if done.is_refused {
            let bytes = self.bytes.first(length).to_vec();
            self.bytes.forget_first(length);
            self.refused.push((done, bytes));
            return Ok(None);
        }
        self.bytes.forget_first(length);
        let value = done.refusal.unwrap_or(value);
        Ok(done.request.map(|request| (request, value)))
    }

    /// Takes the next reply, which says that the server does not execute the request: another one does, on the next connection.
    pub(crate) fn handle_refusal(&mut self, value: Value) {
        if let Some(first) = self.entries.front_mut() {
            first.is_refused = true;
        }
        // A refused request completes as none.
        let _ = self.handle_reply(value);
    }

    /// Notes that the connection is gone: `decide` is asked about each unanswered request, with whether any of its bytes may
    /// have reached the server; what it keeps waits to be written from its start, what it drops is returned.
    pub(crate) fn handle_loss(
        &mut self,
        mut decide: impl FnMut(&mut R, bool, Option<Instant>) -> Fate,
    ) -> Vec<(R, bool)> {
        let old = std::mem::take(&mut self.bytes);
        let mut places = old.places();
        let mut dropped = Vec::new();
        let refused = std::mem::take(&mut self.refused);
        let entries = std::mem::take(&mut self.entries);
        let unanswered = entries.into_iter().map(|entry| {
            let (_, bytes, is_sent) = places.next(entry.length);
            (is_sent, bytes.to_vec(), entry)
        });
        let all: Vec<_> = refused.into_iter().map(|(entry, bytes)| (false, bytes, entry)).chain(unanswered).collect();
        for (is_sent, bytes, entry) in all {
            let written = is_sent && !entry.is_refused;
            let Some(mut request) = entry.request else { continue };
            let (length, replies) = match decide(&mut request, written, entry.deadline) {
                Fate::Keep => {
                    let replies = replies_of(&bytes).unwrap_or(entry.replies);
                    self.bytes.push(&bytes);
                    (entry.length, replies)
                }
                Fate::Replace(bytes, replies) => {
                    self.bytes.push(&bytes);
                    (bytes.len(), replies)
                }
                Fate::Drop => {
                    dropped.push((request, written));
                    continue;
                }
            };
            let deadline = entry.deadline;
            let request = Some(request);
            self.entries.push_back(Flying { request, replies, length, deadline, refusal: None, is_refused: false });
        }
        dropped
    }

    /// Takes out the requests whose deadline has passed, each with whether any of its bytes may have reached the server. What
    /// was not written is not going to be.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(R, bool)> {
        let mut expired = Vec::new();
        let mut places = self.bytes.places();
        let mut removed = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let (place, _, written) = places.next(entry.length);
            if entry.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            let Some(request) = entry.request.take() else { continue };
            entry.deadline = None;
            expired.push((request, written));
            if !written {
                removed.push((index, place));
            }
        }
        for (index, _) in removed.iter().rev() {
            self.entries.remove(*index);
        }
        if !removed.is_empty() {
            self.bytes.remove(removed.into_iter().map(|(_, place)| place).collect());
        }
        expired
    }

    /// Returns the earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.deadline).min()
    }

    /// Takes every request out, in order, each with whether any of its bytes may have reached the server.
    pub(crate) fn take_all(&mut self) -> Vec<(R, bool)> {
        self.handle_loss(|_, _, _| Fate::Drop)
    }
}

/// How many commands `bytes` hold: each begins with a `*` at the start of a line that is not inside a word.
fn replies_of(mut bytes: &[u8]) -> Option<u32> {
    let mut commands = 0;
    while !bytes.is_empty() {
        let words = read_length(&mut bytes, b'*')?;
        for _ in 0..words {
            let length = read_length(&mut bytes, b'$')?;
            bytes = bytes.get(length + 2..)?;
        }
        commands += 1;
    }
    Some(commands)
}

fn read_length(bytes: &mut &[u8], mark: u8) -> Option<usize> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?.strip_prefix(&[mark])?.strip_suffix(b"\r")?;
    *bytes = &bytes[end + 1..];
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::command::command;
    use super::*;

    fn pipeline(requests: &[&'static str]) -> Pipeline<&'static str> {
        let mut pipeline = Pipeline::default();
        for request in requests {
            add(&mut pipeline, request, 1, None);
        }
        pipeline
    }

    fn add(pipeline: &mut Pipeline<&'static str>, request: &'static str, replies: u32, deadline: Option<Instant>) {
        let mut bytes = Vec::new();
        for _ in 0..replies {
            command(&mut bytes, &[request]);
        }
        let length = bytes.len();
        pipeline.append(&mut bytes, &mut vec![Entry { request, replies, length, deadline }]);
    }

    fn write_all(pipeline: &mut Pipeline<&'static str>) -> Vec<u8> {
        let bytes = pipeline.unsent().to_vec();
        pipeline.advance(bytes.len());
        bytes
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests() {
        let mut pipeline = pipeline(&["a", "b"]);
        write_all(&mut pipeline);
        assert_eq!(pipeline.handle_reply(Value::Int(1)), Ok(Some(("a", Value::Int(1)))));
        assert_eq!(pipeline.handle_reply(Value::Int(2)), Ok(Some(("b", Value::Int(2)))));
        assert_eq!(pipeline.handle_reply(Value::Int(3)), Err(Value::Int(3)));
        assert_eq!(pipeline.len(), 0);
    }

    #[test]
    fn a_transaction_is_answered_by_its_last_reply_or_its_first_refusal() {
        let mut pipeline = Pipeline::default();
        add(&mut pipeline, "t", 3, None);
        add(&mut pipeline, "u", 2, None);
        write_all(&mut pipeline);
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(None));
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(None));
        assert_eq!(pipeline.handle_reply(Value::Int(3)), Ok(Some(("t", Value::Int(3)))));
        let refusal = redis::parse_redis_value(b"-OOM full\r\n").unwrap();
        assert_eq!(pipeline.handle_reply(refusal.clone()), Ok(None));
        assert_eq!(pipeline.handle_reply(Value::Nil), Ok(Some(("u", refusal))));
    }

    #[test]
    fn after_a_loss_what_is_kept_is_written_again_from_its_start() {
        let mut pipeline = pipeline(&["a", "b", "c", "d"]);
        let all = pipeline.unsent().to_vec();
        let each = all.len() / 4;
        pipeline.advance(each * 2 + 3);
        pipeline.handle_reply(Value::Okay).unwrap();
        let mut seen = Vec::new();
        let dropped = pipeline.handle_loss(|request, written, _| {
            seen.push((*request, written));
            match *request {
                "b" => {
                    *request = "B";
                    Fate::Replace(b"*1\r\n$1\r\nB\r\n".to_vec(), 1)
                }
                "c" => Fate::Drop,
                _ => Fate::Keep,
            }
        });
        assert_eq!(dropped, [("c", true)]);
        assert_eq!(seen, [("b", true), ("c", true), ("d", false)]);
        assert_eq!(write_all(&mut pipeline), b"*1\r\n$1\r\nB\r\n*1\r\n$1\r\nd\r\n");
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(Some(("B", Value::Okay))));
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(Some(("d", Value::Okay))));
    }

    #[test]
    fn what_the_server_refused_was_never_executed() {
        let mut pipeline = Pipeline::default();
        for (request, replies) in [("a", 1), ("b", 1), ("t", 3), ("c", 1), ("d", 1)] {
            add(&mut pipeline, request, replies, None);
        }
        let all = write_all(&mut pipeline);
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(Some(("a", Value::Okay))));
        pipeline.handle_refusal(Value::Nil);
        pipeline.handle_reply(Value::Okay).unwrap();
        pipeline.handle_refusal(Value::Nil);
        assert_eq!(pipeline.handle_reply(Value::Nil), Ok(None));
        // Promoted in between.
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(Some(("c", Value::Okay))));
        let mut seen = Vec::new();
        let dropped = pipeline.handle_loss(|request, written, _| {
            seen.push((*request, written));
            Fate::Keep
        });
        assert!(dropped.is_empty());
        assert_eq!(seen, [("b", false), ("t", false), ("d", true)]);
        let again = write_all(&mut pipeline);
        assert!(again.len() < all.len());
        assert_eq!(pipeline.handle_reply(Value::Int(1)), Ok(Some(("b", Value::Int(1)))));
    }

    #[test]
    fn a_half_answered_transaction_expects_all_its_replies_again() {
        let mut pipeline = Pipeline::default();
        add(&mut pipeline, "t", 3, None);
        write_all(&mut pipeline);
        pipeline.handle_reply(Value::Okay).unwrap();
        assert!(pipeline.handle_loss(|_, _, _| Fate::Keep).is_empty());
        write_all(&mut pipeline);
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(None));
        assert_eq!(pipeline.handle_reply(Value::Okay), Ok(None));
        assert_eq!(pipeline.handle_reply(Value::Int(1)), Ok(Some(("t", Value::Int(1)))));
    }

    #[test]
    fn expired_requests_go_and_what_was_written_swallows_its_answer() {
        let start = Instant::now();
        let soon = Some(start + Duration::from_secs(1));
        let mut pipeline = Pipeline::default();
        add(&mut pipeline, "a", 1, soon);
        let sent = pipeline.unsent().len();
        pipeline.advance(sent);
        add(&mut pipeline, "b", 1, soon);
        add(&mut pipeline, "c", 1, None);
        assert!(pipeline.take_expired(start).is_empty());
        assert_eq!(pipeline.next_deadline(), soon);
        assert_eq!(pipeline.take_expired(start + Duration::from_secs(2)), [("a", true), ("b", false)]);
        assert_eq!(pipeline.next_deadline(), None);
        assert_eq!(write_all(&mut pipeline), b"*1\r\n$1\r\nc\r\n");
        assert_eq!(pipeline.handle_reply(Value::Int(1)), Ok(None));
        assert_eq!(pipeline.handle_reply(Value::Int(2)), Ok(Some(("c", Value::Int(2)))));
    }
}
