//! Publishes that got no answer before their connection was lost.

use std::sync::{Arc, Mutex, PoisonError};

use super::inner::Inner;
use super::live::Live;
use crate::answer::Confirm;
use crate::channel::Unconfirmed;
use crate::error::{Error, ErrorKind, Result};
use crate::method::BasicPublish;

/// What is to be published again on the next connection, in its order.
#[derive(Default)]
pub(super) struct Unanswered(Mutex<Vec<Unconfirmed>>);

impl Unanswered {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn add(&self, publishes: Vec<Unconfirmed>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(publishes);
    }

    fn take(&self) -> Vec<Unconfirmed> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// Keeps publishes for the next connection; a closing one has none.
    pub(super) fn keep_unconfirmed(&self, publishes: Vec<Unconfirmed>, error: &Error) {
        if self.is_closing() {
            publishes.into_iter().for_each(|publish| publish.fail(error));
        } else {
            self.unanswered.add(publishes);
        }
    }

    /// Fails what was kept: there will be no next connection.
    pub(super) fn fail_unconfirmed(&self, error: &Error) {
        self.unanswered.take().into_iter().for_each(|publish| publish.fail(error));
    }

    /// Publishes again what got no answer, before anything new. What the broker may have says so in header `x-republished`;
    /// what nobody waits for any more, or waits for in vain, is given up.
    pub(super) fn publish_again(&self, live: &Arc<Live>) -> Result<()> {
        let hub = self.hub()?.clone();
        let mut answers: Vec<(Confirm, _)> = Vec::new();
        for publish in self.unanswered.take() {
            let left = publish.deadline.map(|deadline| deadline.saturating_duration_since(hub.now()));
            if left.is_some_and(|left| left.is_zero()) {
                publish.fail(&Error::new(ErrorKind::Timeout, "the broker was not back in time"));
                continue;
            }
            let mut envelope = publish.envelope;
            if publish.was_sent && envelope.headers.get("x-republished").is_none() {
                Arc::make_mut(&mut envelope).headers.table_mut().insert("x-republished", true);
            }
            let method = BasicPublish { timeout: left, ..publish.method };
            answers.push((live.channel.basic_publish(method, envelope), publish.answer));
        }
        if !answers.is_empty() {
            drop(hub.spawn(async move {
                for (confirm, answer) in answers {
                    answer.send(confirm.await);
                }
            }));
        }
        Ok(())
    }
}
