//! Giving messages back.

use kombu_core::{Error, ErrorKind, Result};
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Gives unacknowledged messages back to lists, in their place: at the end that is served next.
///
/// A message that was handed to the application is marked as Kombu marks it, `redelivered` in the headers and in
/// `delivery_info`, and header `x-delivery-count` is counted up; everything else in its text stays byte for byte.
#[derive(Debug)]
pub(crate) struct Requeue<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Leaves alone what was recorded or renewed after this time, in seconds since 1970; `None` leaves nothing alone.
    pub(crate) not_after: Option<f64>,
    /// The messages, the one to be served last first: the reverse of the order of delivery.
    pub(crate) messages: &'a [GivenBack<'a>],
}

/// A message to give back.
#[derive(Clone, Debug)]
pub(crate) struct GivenBack<'a> {
    /// Its tag.
    pub(crate) tag: &'a str,
    /// Whether it was handed to the application.
    pub(crate) delivered: bool,
    /// Where it goes; at least one place.
    pub(crate) copies: Vec<Copy<'a>>,
}

/// One place where a message goes.
#[derive(Clone, Debug)]
pub(crate) struct Copy<'a> {
    /// The key of the list.
    pub(crate) list: &'a str,
    /// The delivery tag of this copy; `None` keeps the one it has. The second and further copies need one of their own.
    pub(crate) delivery_tag: Option<String>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeued {
    /// It is back.
    Done,
    /// It was not there any more.
    Gone,
    /// It was recorded or renewed too late to be given back.
    Fresh,
    /// It is no message, and is still where it was: [`SetAside`](super::SetAside) it.
    Malformed,
    /// The list is something else than a list, or may not be written to; the message is still where it was.
    Refused,
}

impl<'a> GivenBack<'a> {
    /// Returns a message that goes back into one list.
    pub(crate) fn new(tag: &'a str, list: &'a str, delivered: bool) -> Self {
        GivenBack { tag, delivered, copies: vec![Copy { list, delivery_tag: None }] }
    }
}

impl Requeue<'_> {
    /// Returns the command.
    ///
    /// # Errors
    ///
    /// `Internal` when a message has nowhere to go.
    pub(crate) fn command(&self) -> Result<Cmd> {
        let mut lists: Vec<&str> =
            self.messages.iter().flat_map(|message| &message.copies).map(|copy| copy.list).collect();
        lists.sort_unstable();
        lists.dedup();
        let mut command = script("requeue").evalsha(2 + lists.len());
        command.arg(self.keys.unacked()).arg(self.keys.unacked_index());
        for list in &lists {
            command.arg(*list);
        }
        match self.not_after {
            Some(time) => command.arg(format!("{time:.6}")),
            None => command.arg(""),
        };
        command.arg(self.keys.prefix());
        for message in self.messages {
            if message.copies.is_empty() {
                return Err(Error::new(ErrorKind::Internal, "a message is to be given back to no list")
                    .with("tag", message.tag));
            }
            command.arg(message.tag).arg(if message.delivered { "1" } else { "0" }).arg(message.copies.len());
            for copy in &message.copies {
                let number = lists.partition_point(|list| *list < copy.list) + 1;
                command.arg(number).arg(copy.delivery_tag.as_deref().unwrap_or_default());
            }
        }
        Ok(command)
    }

    /// Reads the answer: what became of each message.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: Value) -> Result<Vec<Requeued>> {
        let Value::Array(items) = &answer else { return Err(unexpected("requeue", &answer)) };
        let outcome = |item: &Value| match item {
            Value::Int(1) => Some(Requeued::Done),
            Value::Int(0) => Some(Requeued::Gone),
            Value::Int(-1) => Some(Requeued::Fresh),
            Value::Int(-2) => Some(Requeued::Malformed),
            Value::Int(-3) => Some(Requeued::Refused),
            _ => None,
        };
        items.iter().map(outcome).collect::<Option<_>>().ok_or_else(|| unexpected("requeue", &answer))
    }
}
