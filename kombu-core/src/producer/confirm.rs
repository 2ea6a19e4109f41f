//! What came of a publish: the broker's answer, or an error that says where the message was going.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use super::{Producer, Shared};
use crate::answer::{Answer, Confirmation, Returned};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::pending::{Pending, Sent};
use crate::short_str::ShortStr;

/// The broker has the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// How many queues got it, where the transport knows; for a broadcast, how many receivers. `Some(0)`: it matched no queue
    /// and is gone; [`mandatory`](super::Publish::mandatory) makes that an error.
    pub queues: Option<u32>,
}

/// Where a message goes: what an error says of it. `N` is [`ShortStr`], borrowed or owned.
pub(super) struct Address<N> {
    pub(super) exchange: N,
    pub(super) routing_key: N,
}

impl Address<&ShortStr> {
    pub(super) fn into_owned(self) -> Address<ShortStr> {
        Address { exchange: self.exchange.clone(), routing_key: self.routing_key.clone() }
    }
}

/// Gives an answer to come its deadline.
#[inline(never)]
pub(super) fn confirm_later(
    producer: &Producer,
    timeout: Duration,
    answer: Answer<Confirmation>,
    address: Address<ShortStr>,
) -> Pending<Confirmed> {
    match producer.shared.connection.inner.terms("basic.publish", timeout) {
        Ok(terms) => {
            let shared = Arc::clone(&producer.shared);
            Pending::new(terms.of_publish(Sent::Yes), read_later(shared, address, answer))
        }
        Err(error) => Pending::ready(Err(error)),
    }
}

pub(super) async fn read_later(
    shared: Arc<Shared>,
    address: Address<ShortStr>,
    answer: Answer<Confirmation>,
) -> Result<Confirmed> {
    let result = answer.await;
    read_answer(&shared, &address, result)
}

#[inline]
pub(super) fn read_answer(
    shared: &Shared,
    address: &Address<impl Borrow<ShortStr>>,
    result: Result<Confirmation>,
) -> Result<Confirmed> {
    match result {
        Ok(Confirmation::Confirmed { queues }) => {
            if queues == Some(0) {
                shared.tell_unroutable(address.exchange.borrow(), address.routing_key.borrow());
            }
            Ok(Confirmed { queues })
        }
        Ok(Confirmation::Returned(returned)) => Err(came_back(&returned, address)),
        Err(error) => Err(addressed(answerless(error), address)),
    }
}

#[cold]
fn came_back(returned: &Returned, address: &Address<impl Borrow<ShortStr>>) -> Error {
    addressed(Error::new(ErrorKind::Returned, format!("{} {}", returned.code, returned.text)), address)
}

/// A publish that was handed to the transport and got no answer may have reached the broker, unless the transport says not.
fn answerless(error: Error) -> Error {
    match error.kind() {
        ErrorKind::ConnectionLost | ErrorKind::Timeout | ErrorKind::Closed | ErrorKind::ChannelGone
            if error.outcome().is_none() =>
        {
            error.with_outcome(Outcome::Unknown)
        }
        _ => error,
    }
}

#[cold]
pub(super) fn addressed(error: Error, address: &Address<impl Borrow<ShortStr>>) -> Error {
    let error = error
        .during("basic.publish")
        .with("exchange", address.exchange.borrow())
        .with("routing_key", address.routing_key.borrow());
    if error.outcome().is_some() { error } else { error.with_outcome(Outcome::NotSent) }
}
