//! Taking messages: claimed in batches while they flow, one at a time from whatever wakes an idle consumer.
//!
//! The `claim` script pops and records in one step. When a claim comes back short, its lists are empty, and the waiter is
//! armed; what the waiter pops is recorded by script, in one pipeline with the next claim. Nothing here knows what the waiter
//! is: a wake-up only says that a queue may have messages ([`MultiChannelPoller::wake`]).
//!
//! [`MultiChannelPoller::wake`]: crate::multi_channel_poller::MultiChannelPoller::wake

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kombu_core::delivery::Delivery;
use kombu_core::hub::Hub;
use kombu_core::reply::ReplySender;
use kombu_core::{Error, ErrorKind, Recovery, Result, ShortStr};
use redis::Value;

use crate::channel_core::ChannelCore;
use crate::connection::{command, refusal};
use crate::consumer::Consumer;
use crate::deliver::Raw;
use crate::envelope::Unacked;
use crate::malformed;
use crate::request::Request;
use crate::scripts::{Claim, ClaimList, Claimed, Record, Recorded};
use crate::session::Session;

/// A claim under way.
#[derive(Default)]
pub(crate) struct Taking {
    /// The number of the field of the first message.
    first: u64,
    count: usize,
    lists: Vec<TakenList>,
    /// Who fetches; none for consumers.
    fetch: Option<Fetch>,
}

/// A list that messages are taken off.
#[derive(Clone)]
pub(crate) struct TakenList {
    pub(crate) key: Arc<str>,
    pub(crate) queue: ShortStr,
    pub(crate) queue_json: Arc<str>,
    pub(crate) no_ack: bool,
}

/// A `basic.get`.
pub(crate) struct Fetch {
    pub(crate) channel: Arc<ChannelCore>,
    pub(crate) sender: ReplySender<Result<Option<Delivery>>>,
}

/// An element that a waiter popped, while it is being recorded.
pub(crate) struct Popped {
    number: u64,
    list: TakenList,
    text: Bytes,
    consumer: Arc<Consumer>,
}

impl Taking {
    /// Sends a claim of up to `count` messages off `lists`.
    pub(crate) fn submit(session: &Session, count: usize, lists: Vec<TakenList>, fetch: Option<Fetch>) {
        let first = session.take_fields(count as u64);
        let taking = Taking { first, count, lists, fetch };
        let bytes = taking.to_bytes(session);
        session.submit(Request::Take(Box::new(taking)), &bytes);
    }

    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let lists: Vec<ClaimList<'_>> = self
            .lists
            .iter()
            .map(|list| ClaimList { key: &list.key, queue_json: &list.queue_json, no_ack: list.no_ack })
            .collect();
        let claim = Claim {
            keys: &session.keys,
            consumer: &session.consumer,
            first_number: self.first,
            count: self.count,
            max_bytes: MAX_BYTES,
            max_message_size: session.options.max_message_size,
            lists: &lists,
            inboxes: &[],
        };
        claim.command().get_packed_command()
    }

    /// Says whether messages are gone when the answer is: they count as acknowledged when they are sent.
    pub(crate) fn is_lost_with_its_answer(&self) -> bool {
        self.lists.iter().all(|list| list.no_ack)
    }

    /// Returns the command that looks up which of the messages were recorded.
    pub(crate) fn write_recovery(&self, session: &Session) -> Vec<u8> {
        let mut out = Vec::new();
        command::head(&mut out, self.count + 2);
        command::word(&mut out, "HMGET");
        command::word(&mut out, session.keys.unacked());
        for number in self.first..self.first + self.count as u64 {
            command::word(&mut out, session.field(number));
        }
        out
    }
}

impl Popped {
    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let tag = session.field(self.number);
        let record = Record {
            keys: &session.keys,
            tag: &tag,
            queue: &self.list.queue,
            queue_json: &self.list.queue_json,
            max_message_size: session.options.max_message_size,
            text: &self.text,
        };
        record.command().get_packed_command()
    }
}

impl Session {
    /// Uses what a claim brought.
    pub(crate) fn handle_taken(self: &Arc<Self>, hub: &dyn Hub, taking: Taking, value: Value) {
        let claimed = match value {
            Value::ServerError(error) => Err(refusal(&error)),
            value => Claim::read(value),
        };
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => return self.handle_refused_take(hub, taking, error),
        };
        let mut number = taking.first;
        let mut raws = Vec::with_capacity(claimed.len());
        let mut asides = Vec::new();
        let mut bytes = 0;
        for one in claimed {
            match one {
                Claimed::Message { list, text } => {
                    let Some(list) = taking.lists.get(list).cloned() else { continue };
                    bytes += text.len();
                    let recorded = (!list.no_ack).then(|| {
                        number += 1;
                        number - 1
                    });
                    raws.push(Raw { text, number: recorded, list });
                }
                Claimed::SetAside { list, entry } => {
                    let Some(list) = taking.lists.get(list) else { continue };
                    asides.push(malformed::read(&list.queue, &entry));
                }
            }
        }
        // A list that was refused may have more. The waiter, armed after a short claim, runs into it and says so.
        let is_short = raws.len() < taking.count && bytes < MAX_BYTES && asides.is_empty();
        self.report_set_aside(taking.fetch.as_ref().map(|fetch| &fetch.channel), asides);
        self.finish_take(taking, raws, is_short);
    }

    /// Uses what was found of a claim whose answer was lost.
    pub(crate) fn handle_recovered(self: &Arc<Self>, taking: Taking, value: Value) {
        let Value::Array(values) = value else {
            return self.finish_take(taking, Vec::new(), false);
        };
        let mut raws = Vec::new();
        for (number, value) in (taking.first..).zip(values) {
            let Value::BulkString(value) = value else { continue };
            let Ok(unacked) = Unacked::read(&Bytes::from(value), &self.limits) else { continue };
            let list = taking.lists.iter().find(|list| list.queue == unacked.routing_key && !list.no_ack);
            if let Some(list) = list.cloned() {
                raws.push(Raw { text: unacked.text, number: Some(number), list });
            }
        }
        self.finish_take(taking, raws, false);
    }

    /// Ends a claim that got no answer.
    pub(crate) fn handle_lost_take(&self, taking: Taking, error: &Error) {
        match taking.fetch {
            // The sockets come back by themselves; it is not for core to make the connection anew.
            Some(fetch) => {
                fetch.sender.send(Err(error.duplicate().during("basic.get").recoverable_by(Recovery::Retry)));
            }
            None => {
                self.poller().handle_taken(&taking.lists, false, None);
                self.touch();
            }
        }
    }

    fn handle_refused_take(self: &Arc<Self>, hub: &dyn Hub, taking: Taking, error: Error) {
        if let Some(fetch) = taking.fetch {
            return fetch.sender.send(Err(error.during("basic.get")));
        }
        if self.warnings.allows("claim", hub.now()) {
            tracing::warn!(broker = %self.target.label, %error, "messages cannot be taken; trying again");
        }
        self.poller().handle_taken(&taking.lists, false, None);
        self.pause_taking(hub);
    }

    /// Takes nothing for a moment, after a refusal.
    pub(crate) fn pause_taking(self: &Arc<Self>, hub: &dyn Hub) {
        self.poller().set_paused(true);
        let session = Arc::downgrade(self);
        hub.call_later(
            PAUSE,
            Box::new(move |_| {
                if let Some(session) = session.upgrade() {
                    session.poller().set_paused(false);
                    session.touch();
                }
            }),
        );
    }

    fn finish_take(self: &Arc<Self>, taking: Taking, raws: Vec<Raw>, is_short: bool) {
        if let Some(fetch) = taking.fetch {
            return self.finish_fetch(fetch, taking.lists, raws);
        }
        let mut unwanted = Vec::new();
        let mut chosen: Vec<(Arc<Consumer>, Raw)> = Vec::with_capacity(raws.len());
        {
            let mut poller = self.poller();
            poller.handle_taken(&taking.lists, is_short, raws.first().map(|raw| &raw.list.queue));
            for raw in raws {
                match poller.choose(&raw.list.queue, raw.list.no_ack) {
                    Some(consumer) => chosen.push((consumer, raw)),
                    None => unwanted.push(raw),
                }
            }
        }
        self.give_back_raw(unwanted);
        self.deliver(chosen);
        self.touch();
    }

    fn finish_fetch(self: &Arc<Self>, fetch: Fetch, lists: Vec<TakenList>, raws: Vec<Raw>) {
        let Fetch { channel, sender } = fetch;
        if sender.is_abandoned() {
            return self.give_back_raw(raws);
        }
        let Some(raw) = raws.into_iter().next() else { return sender.send(Ok(None)) };
        let no_ack = raw.list.no_ack;
        let number = raw.number;
        match self.read(raw) {
            Ok(arrived) => {
                let mut deliveries = Vec::new();
                match channel.admit(None, no_ack, vec![arrived], &mut deliveries) {
                    Ok(()) => sender.send(Ok(deliveries.pop())),
                    Err(arrived) => {
                        self.give_back_arrived(arrived);
                        sender.send(Err(channel.closed_error().unwrap_or_else(crate::connection::closed)));
                    }
                }
            }
            Err((malformed, queue)) => {
                self.set_malformed_aside(&channel, malformed, number, queue);
                // The message behind it may be a good one.
                Taking::submit(self, 1, lists, Some(Fetch { channel, sender }));
            }
        }
    }

    /// An element that a waiter popped: recorded, delivered, or given back.
    pub(crate) fn handle_element(self: &Arc<Self>, list: TakenList, text: Bytes, consumer: Option<Arc<Consumer>>) {
        let Some(consumer) = consumer else {
            let mut bytes = Vec::new();
            command::command(&mut bytes, &[b"RPUSH", list.key.as_bytes(), &text]);
            return self.submit(Request::GiveBack, &bytes);
        };
        if consumer.no_ack {
            return self
                .deliver(vec![(consumer, Raw { text, number: None, list: TakenList { no_ack: true, ..list } })]);
        }
        let popped = Popped { number: self.take_fields(1), list, text, consumer };
        let bytes = popped.to_bytes(self);
        self.submit(Request::Record(Box::new(popped)), &bytes);
    }

    /// Delivers a message that is recorded now.
    pub(crate) fn handle_recorded(self: &Arc<Self>, hub: &dyn Hub, popped: Popped, value: Value) {
        let recorded = match value {
            Value::ServerError(error) => Err(refusal(&error)),
            value => Record::read(value),
        };
        let Popped { number, list, text, consumer } = popped;
        match recorded {
            Ok(Recorded::Unacked) => self.deliver(vec![(consumer, Raw { text, number: Some(number), list })]),
            Ok(Recorded::SetAside(entry)) => {
                consumer.return_credit();
                self.report_set_aside(consumer.channel.upgrade().as_ref(), vec![malformed::read(&list.queue, &entry)]);
            }
            Err(error) => {
                consumer.return_credit();
                if self.warnings.allows("record", self.handle.now()) {
                    tracing::warn!(broker = %self.target.label, %error, "a message cannot be recorded; it goes back");
                }
                self.handle_element(list, text, None);
                // The waiter would pop it again at once.
                self.pause_taking(hub);
            }
        }
        self.touch();
    }
}

/// Returns the name of a queue in JSON, as the scripts want it.
pub(crate) fn queue_json(queue: &str) -> Result<Arc<str>> {
    Ok(Claim::queue_json(queue).map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()))?.into())
}

/// A claim stops after this many bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
const PAUSE: Duration = Duration::from_secs(1);
