//! Which queues do more than keep messages in order: those with a time to live, a limit, or a dead-letter exchange.
//!
//! The arguments of such queues are in one hash on the server. Every client reads it when it connects, and again when the server tells
//! that it has changed (`CLIENT TRACKING`; without that, every second lease, [`REREAD`]). So a queue without a policy costs nothing: what is published
//! to it is pushed as Kombu does. What is published to a queue whose policy is not known yet is found by the next look at it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kombu_core::serialization::json;
use kombu_core::{ErrorKind, FieldTable, Result, ShortStr, Value as Argument};
use kombu_virtual::QueueDefinition;
use kombu_virtual::policy::Policy;
use redis::Value;

use crate::connection::{command, refusal};
use crate::definition::pairs;
use crate::request::Request;
use crate::session::Session;

/// What the server has told of policies.
#[derive(Default)]
pub(crate) struct Policies {
    known: HashMap<ShortStr, Arc<Policy>>,
    /// Whether the server is asked.
    is_asked: bool,
    /// Whether it refuses to tell when its answer changes.
    is_told_nothing: bool,
}

impl Session {
    /// Returns what a queue does beyond keeping messages in order, if it does and the server has told.
    pub(crate) fn policy(&self, queue: &str) -> Option<Arc<Policy>> {
        if !self.has_policies.load(Ordering::Acquire) {
            return None;
        }
        self.lock(&self.policies).known.get(queue).cloned()
    }

    /// Notes the policy of a queue that was declared here.
    pub(crate) fn note_policy(&self, queue: &ShortStr, policy: Policy) {
        self.lock(&self.policies).known.insert(queue.clone(), Arc::new(policy));
        self.has_policies.store(true, Ordering::Release);
    }

    /// Forgets the policy of a queue that is deleted; on the server it goes with the queue.
    pub(crate) fn forget_policy(&self, queue: &str) {
        self.lock(&self.policies).known.remove(queue);
    }

    /// A connection stands: everything is asked for anew.
    pub(crate) fn handle_up_for_policies(&self, is_told_nothing: bool) {
        {
            let mut policies = self.lock(&self.policies);
            policies.is_told_nothing = is_told_nothing;
            policies.is_asked = false;
        }
        self.ask_for_policies();
    }

    /// Asks for the policies, when something is due, and what time it is; and to be told when that changes.
    pub(crate) fn ask_for_policies(&self) {
        let is_tracking = {
            let mut policies = self.lock(&self.policies);
            if std::mem::replace(&mut policies.is_asked, true) {
                return;
            }
            self.is_tracking() && !policies.is_told_nothing
        };
        let (policies, due) = (self.keys.policies(), self.keys.due());
        let submitted = self.command.submit(Request::Policies, if is_tracking { 6 } else { 5 }, None, |_, out| {
            if is_tracking {
                // It holds for all of a transaction.
                command::command(out, &["CLIENT", "CACHING", "YES"]);
            }
            command::command(out, &["MULTI"]);
            command::command(out, &["HGETALL", &policies]);
            command::command(out, &["ZRANGE", &due, "0", "0", "WITHSCORES"]);
            command::command(out, &["TIME"]);
            command::command(out, &["EXEC"]);
        });
        if submitted.is_err() {
            self.handle_lost_policies();
        }
        self.touch();
    }

    /// Uses the server's answer.
    pub(crate) fn handle_policies(&self, value: Value) {
        let is_tracking = {
            let mut policies = self.lock(&self.policies);
            policies.is_asked = false;
            self.is_tracking() && !policies.is_told_nothing
        };
        match value {
            Value::ServerError(_) if is_tracking => {
                // Perhaps it only must not be asked to tell.
                return self.handle_up_for_policies(true);
            }
            Value::Array(parts) => {
                let [policies, due, time] = parts.as_slice() else { return };
                self.use_policies(policies);
                if let Some(now) = time_of(time) {
                    self.note_time(now);
                }
                self.expect_of_others(first_score(due));
            }
            Value::ServerError(error) if self.warnings.allows("policies", self.handle.now()) => {
                let error = refusal(&error);
                tracing::warn!(broker = %self.target.label, %error, "cannot read which queues have a policy");
            }
            _ => {}
        }
        if !is_tracking {
            self.ask_after(REREAD * self.options.lease);
        }
    }

    /// The question has no answer; the next connection asks again.
    pub(crate) fn handle_lost_policies(&self) {
        self.lock(&self.policies).is_asked = false;
    }

    fn use_policies(&self, answer: &Value) {
        let mut known = HashMap::new();
        for (queue, text) in pairs(answer) {
            let queue = ShortStr::from(queue);
            match read_text(&queue, text.as_bytes()) {
                Ok(Some(policy)) => drop(known.insert(queue, Arc::new(policy))),
                Ok(None) => {}
                Err(error) if self.warnings.allows("policy", self.handle.now()) => {
                    tracing::warn!(%queue, %error, "the policy of a queue cannot be read; it has none here");
                }
                Err(_) => {}
            }
        }
        let mut policies = self.lock(&self.policies);
        self.has_policies.store(!known.is_empty(), Ordering::Release);
        policies.known = known;
    }

    /// The server tells that a key has changed; says whether it was one of these.
    pub(crate) fn handle_policy_changed(&self, key: &str) -> bool {
        if key == self.keys.policies() {
            self.ask_for_policies();
            return true;
        }
        if key == self.keys.due() {
            self.ask_after(ASK_AGAIN);
            return true;
        }
        false
    }

    /// Asks once more when `wait` has passed.
    fn ask_after(&self, wait: Duration) {
        if std::mem::replace(&mut self.lock(&self.due).asks_later, true) {
            return;
        }
        let session = self.me.clone();
        let sleep = self.handle.sleep(wait);
        drop(self.handle.spawn(async move {
            sleep.await;
            if let Some(session) = session.upgrade() {
                session.lock(&session.due).asks_later = false;
                if !session.is_closing() {
                    session.ask_for_policies();
                }
            }
        }));
    }
}

/// Returns what a declaration says about the life of messages, and how that is kept.
///
/// # Errors
///
/// `PreconditionFailed` for arguments RabbitMQ finds wrong.
pub(crate) fn policy_of(queue: &str, definition: &QueueDefinition) -> Result<Option<(Policy, Vec<u8>)>> {
    let Some((policy, arguments)) = read_policy(queue, definition)? else { return Ok(None) };
    Ok(Some((policy, json::to_vec(&arguments)?)))
}

/// Reads what a declaration says about the life of messages, with those of its arguments that say it.
fn read_policy(queue: &str, definition: &QueueDefinition) -> Result<Option<(Policy, FieldTable)>> {
    let mut said = definition.clone();
    let is_about_life =
        |name: &ShortStr, value: &Argument| LIFE.contains(&name.as_str()) && !matches!(value, Argument::Null);
    let about_life = definition.arguments.iter().filter(|(name, value)| is_about_life(name, value));
    said.arguments = about_life.map(|(name, value)| (name.clone(), value.clone())).collect();
    if said.arguments.is_empty() {
        return Ok(None);
    }
    let policy = Policy::of(queue, &said)?.filter(|policy| lives(policy));
    Ok(policy.map(|policy| (*policy, said.arguments)))
}

fn read_text(queue: &str, text: &[u8]) -> Result<Option<Policy>> {
    let mut definition = QueueDefinition::default();
    // Those of a quorum queue; for another it says nothing here.
    definition.durable = true;
    definition.arguments = match json::read(text)? {
        Argument::Map(arguments) => arguments,
        _ => return Err(kombu_core::Error::new(ErrorKind::Decode, "a policy is no JSON object")),
    };
    Ok(read_policy(queue, &definition)?.map(|(policy, _)| policy))
}

/// Says whether a policy is about the life of messages.
fn lives(policy: &Policy) -> bool {
    policy.message_ttl.is_some()
        || policy.max_length.is_some()
        || policy.max_length_bytes.is_some()
        || policy.dead_letter_exchange.is_some()
        || policy.delivery_limit.is_some()
}

/// Returns the score of the first element, however it is written.
fn first_score(answer: &Value) -> Option<u64> {
    let Value::Array(items) = answer else { return None };
    let score = match items.as_slice() {
        [Value::Array(pair), ..] => pair.get(1)?,
        [_, score, ..] => score,
        _ => return None,
    };
    let score = match score {
        Value::Double(score) => *score,
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        _ => return None,
    };
    Some(score.max(0.0) as u64)
}

fn time_of(answer: &Value) -> Option<u64> {
    let Value::Array(parts) = answer else { return None };
    let number = |part: Option<&Value>| match part {
        Some(Value::BulkString(text)) => std::str::from_utf8(text).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    Some(number(parts.first())? * 1000 + number(parts.get(1))? / 1000)
}

/// The arguments that are about the life of messages, and the one that says which of them are allowed.
pub(crate) const LIFE: [&str; 8] = [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-delivery-limit",
    "x-max-length",
    "x-max-length-bytes",
    "x-message-ttl",
    "x-overflow",
    "x-queue-type",
];

/// How long after something became due, or was done, everybody else looks what is due next.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a server is asked that cannot tell: every so many leases.
const REREAD: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_life_of_messages_is_kept() {
        let mut definition = QueueDefinition::default();
        assert!(read_policy("q", &definition).unwrap().is_none());
        definition.arguments = FieldTable::from([("x-expires", Argument::from("5000")), ("x-unknown", 1.into())]);
        assert!(read_policy("q", &definition).unwrap().is_none());
        definition.arguments.insert("x-message-ttl", 134_217_728_000_i64);
        let (policy, arguments) = read_policy("q", &definition).unwrap().unwrap();
        assert_eq!(policy.message_ttl, Some(Duration::from_secs(134_217_728)));
        assert_eq!(arguments, FieldTable::from([("x-message-ttl", 134_217_728_000_i64)]));
        let again = read_text("q", &json::to_vec(&arguments).unwrap()).unwrap().unwrap();
        assert_eq!(again, policy);
        definition.arguments.insert("x-message-ttl", -1);
        assert_eq!(read_policy("q", &definition).unwrap_err().kind(), ErrorKind::PreconditionFailed);
    }

    #[test]
    fn scores_and_times_are_read_in_both_protocols() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let flat = Value::Array(vec![text("q"), text("1795351911250")]);
        let nested = Value::Array(vec![Value::Array(vec![text("q"), Value::Double(1_795_351_911_250.0)])]);
        for answer in [flat, nested] {
            assert_eq!(first_score(&answer), Some(1_795_351_911_250));
        }
        assert_eq!(first_score(&Value::Array(Vec::new())), None);
        assert_eq!(time_of(&Value::Array(vec![text("12"), text("34567")])), Some(12_034));
    }
}
