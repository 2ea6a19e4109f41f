//! Messages that leave their queue without being acknowledged: rejected, expired, or given back too often.

use std::sync::Arc;

use kombu_core::answer::AnswerBatch;
use kombu_core::{Error, ErrorKind, Result, ShortStr};
use kombu_virtual::death::Reason;
use redis::Value;

use crate::deliver::Arrived;
use crate::request::Request;
use crate::scripts::{DeadLetter, Told};
use crate::session::Session;
use crate::settle::{Owners, finish, lease_lost, read};
use crate::unacked::{Held, Place};

/// Messages that are taken out of the record of what is unacknowledged, and left to be sent on if their queues say so.
pub(crate) struct Dying {
    /// The numbers of their fields, their queues, and why.
    pub(crate) items: Vec<(u64, ShortStr, Reason)>,
    pub(crate) answers: Option<Arc<AnswerBatch<()>>>,
    /// Who is told of a failure; nobody when the application did not have them.
    pub(crate) owners: Owners,
    /// It was sent before and the answer was lost: what is gone now went then.
    pub(crate) is_repeated: bool,
}

impl Dying {
    /// Sends it.
    pub(crate) fn submit(self, session: &Session) {
        if self.items.is_empty() {
            return self.finish(session, Ok(()), Vec::new());
        }
        let bytes = self.to_bytes(session);
        session.submit(Request::Die(Box::new(self)), &bytes);
    }

    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let tags: Vec<String> = self.items.iter().map(|(number, ..)| session.field(*number)).collect();
        let messages: Vec<_> =
            tags.iter().zip(&self.items).map(|(tag, (_, queue, reason))| (tag.as_str(), &**queue, *reason)).collect();
        DeadLetter { keys: &session.keys, messages: &messages }.command().get_packed_command()
    }

    pub(crate) fn handle_answer(self, session: &Session, value: Value) {
        let told = match read(value, |value| Told::read("dead_letter", &value)) {
            Ok(told) => told,
            Err(error) => return self.finish(session, Err(error), Vec::new()),
        };
        let mut failed = Vec::new();
        for (index, outcome) in session.use_told(told).into_iter().enumerate().take(self.items.len()) {
            match outcome {
                DeadLetter::MALFORMED => {
                    let error = Error::new(ErrorKind::Decode, "what was delivered is no message any more");
                    failed.push((index, error));
                    continue;
                }
                // Sent before, and the answer was lost: it died then.
                DeadLetter::GONE if !self.is_repeated => failed.push((index, lease_lost("reject"))),
                _ => {}
            }
            session.close_fields([self.items[index].0]);
        }
        self.finish(session, Ok(()), failed);
    }

    /// Answers everybody who settled.
    pub(crate) fn finish(self, session: &Session, result: Result<()>, failed: Vec<(usize, Error)>) {
        finish(session, &self.owners, self.answers.as_ref(), result, failed);
    }
}

impl Session {
    /// Says whether a message is no longer wanted.
    pub(crate) fn is_expired(&self, arrived: &Arrived) -> bool {
        // What expires as soon as nobody waits for it was waited for.
        arrived.received.expires_at.is_some_and(|at| at > 0 && at <= self.server_time())
    }

    /// Ends a message that expired before it was delivered.
    pub(crate) fn expire(&self, arrived: Arrived) {
        match arrived.place {
            Place::Recorded(number) => {
                let items = vec![(number, arrived.queue, Reason::Expired)];
                Dying { items, answers: None, owners: Owners::default(), is_repeated: false }.submit(self);
            }
            Place::Nowhere => {
                if let Some(text) = arrived.text {
                    self.keep_letter(&arrived.queue, Reason::Expired, &text);
                }
            }
            // Nobody stamps what is broadcast.
            Place::Local(_) => {}
        }
    }

    /// Returns which of these die when they are given back now, and the queues to be looked at behind the others.
    pub(crate) fn look_before_return(&self, held: &[Held]) -> (Vec<(u64, ShortStr, Reason)>, Vec<ShortStr>) {
        let (mut worn_out, mut looks) = (Vec::new(), Vec::new());
        for held in held {
            let Place::Recorded(number) = held.place else { continue };
            if self.is_worn_out(&held.queue, held.count) {
                worn_out.push((number, held.queue.clone(), Reason::DeliveryLimit));
            } else if (held.expires || self.policy(&held.queue).is_some()) && !looks.contains(&held.queue) {
                looks.push(held.queue.clone());
            }
        }
        (worn_out, looks)
    }

    /// Sends broadcast messages that were rejected where their queues send such.
    pub(crate) fn reject_local(&self, taken: &[Held]) {
        for held in taken {
            if let Place::Local(broadcast) = &held.place {
                self.keep_letter(&held.queue, Reason::Rejected, &broadcast.text);
            }
        }
    }

    /// Says whether a message that comes back now has come back too often for its queue.
    pub(crate) fn is_worn_out(&self, queue: &str, count: u32) -> bool {
        let limit = self.policy(queue).and_then(|policy| policy.delivery_limit);
        limit.is_some_and(|limit| count.saturating_add(1) > limit)
    }

    /// Says whether what is rejected in a queue goes elsewhere.
    pub(crate) fn dead_letters(&self, queue: &str) -> bool {
        self.policy(queue).is_some_and(|policy| policy.dead_letter_exchange.is_some())
    }
}
