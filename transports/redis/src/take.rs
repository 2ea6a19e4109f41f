//! Taking messages: claimed in batches while they flow, and after whatever wakes an idle consumer.
//!
//! The `claim` script pops and records in one step. When a claim finds less than a queue's consumers would have taken, the queue
//! is empty, and something waits for its next message. What a waiter has moved into an inbox is taken by the claim that
//! follows; what Kombu's `BRPOP` popped is recorded by script. Nothing here knows what the waiter is: a wake-up only says that a
//! queue may have messages ([`MultiChannelPoller::wake`]).
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
use crate::deliver::Raw;
use crate::envelope::Unacked;
use crate::malformed;
use crate::refused::{INTERVAL, is_passing};
use crate::request::Request;
use crate::scripts::{Claim, ClaimInbox, ClaimList, ClaimQueue, Claimed};
use crate::session::Session;
use crate::settle::Aside;
use crate::waiters::Inbox;

/// A claim under way.
#[derive(Default)]
pub(crate) struct Taking {
    /// Under which name.
    consumer: Arc<str>,
    /// The number of the field of the first message.
    first: u64,
    pub(crate) count: usize,
    pub(crate) lists: Vec<TakenList>,
    /// Inboxes of those lists.
    pub(crate) inboxes: Vec<Inbox>,
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
    /// How many messages may be taken off the lists of its queue.
    pub(crate) limit: usize,
}

/// A `basic.get`.
pub(crate) struct Fetch {
    pub(crate) channel: Arc<ChannelCore>,
    pub(crate) sender: ReplySender<Result<Option<Delivery>>>,
}

impl Taking {
    /// Sends a claim of up to `count` messages off `lists`.
    pub(crate) fn submit(
        session: &Arc<Session>,
        count: usize,
        lists: Vec<TakenList>,
        inboxes: Vec<Inbox>,
        fetch: Option<Fetch>,
    ) {
        let consumer = session.ensure_registered();
        let first = session.lock(&session.ledger).take(count, session.handle.now());
        let taking = Taking { consumer, first, count, lists, inboxes, fetch };
        let bytes = taking.to_bytes(session);
        session.submit(Request::Take(Box::new(taking)), &bytes);
    }

    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let mut queues: Vec<ClaimQueue<'_>> = Vec::new();
        let mut lists: Vec<ClaimList<'_>> = Vec::with_capacity(self.lists.len());
        for list in &self.lists {
            let queue = queues.iter().position(|queue| std::ptr::eq(queue.json, &*list.queue_json));
            let queue = queue.unwrap_or_else(|| {
                queues.push(ClaimQueue { json: &list.queue_json, no_ack: list.no_ack, limit: list.limit });
                queues.len() - 1
            });
            lists.push(ClaimList { key: &list.key, queue });
        }
        let place = |inbox: &Inbox| self.lists.iter().position(|list| list.key == inbox.list);
        let inboxes: Vec<ClaimInbox<'_>> = self
            .inboxes
            .iter()
            .filter_map(|inbox| Some(ClaimInbox { key: &inbox.inbox, list: place(inbox)? }))
            .collect();
        let claim = Claim {
            keys: &session.keys,
            consumer: &self.consumer,
            first_number: self.first,
            count: self.count,
            max_bytes: MAX_BYTES,
            max_message_size: session.options.max_message_size,
            notes_birth: session.has_registry(),
            queues: &queues,
            lists: &lists,
            inboxes: &inboxes,
        };
        claim.command().get_packed_command()
    }

    /// Takes other numbers: what was sent since may have used higher ones, and the server would take those for somebody else's.
    pub(crate) fn renumber(&mut self, session: &Session) {
        session.close_fields(self.numbers());
        self.first = session.lock(&session.ledger).take(self.count, session.handle.now());
    }

    fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.count as u64
    }

    /// Says whether messages are gone when the answer is: they count as acknowledged when they are sent.
    pub(crate) fn is_lost_with_its_answer(&self) -> bool {
        self.lists.iter().all(|list| list.no_ack)
    }

    /// Returns the command that looks up which of the messages were recorded.
    pub(crate) fn write_recovery(&self, session: &Session) -> Vec<u8> {
        let mut out = Vec::new();
        command::head(&mut out, self.count.max(1) + 2);
        command::word(&mut out, "HMGET");
        command::word(&mut out, session.keys.unacked());
        for number in self.first..self.first + self.count.max(1) as u64 {
            command::word(&mut out, format!("{}:{number}", self.consumer));
        }
        out
    }
}

impl Session {
    /// Uses what a claim brought.
    pub(crate) fn handle_taken(self: &Arc<Self>, hub: &dyn Hub, taking: Taking, value: Value) {
        let claimed = match value {
            Value::ServerError(error) if error.code() == LEASE_LOST => return self.handle_lost_lease(hub, taking),
            Value::ServerError(error) => {
                if taking.fetch.is_some() && is_passing(&error) {
                    return self.fetch_later(taking);
                }
                Err(refusal(&error))
            }
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
        self.close_fields(number..taking.numbers().end);
        // A list that was refused may have more. The waiter, armed after a short claim, runs into it and says so.
        let is_short = raws.len() < taking.count && bytes < MAX_BYTES && asides.is_empty();
        self.report_set_aside(taking.fetch.as_ref().map(|fetch| &fetch.channel), asides);
        self.finish_take(hub, taking, raws, is_short);
    }

    /// Uses what was found of a claim whose answer was lost.
    pub(crate) fn handle_recovered(self: &Arc<Self>, hub: &dyn Hub, mut taking: Taking, value: Value) {
        // Whether the inboxes were emptied is not known.
        self.poller().waiters.soil(&std::mem::take(&mut taking.inboxes));
        let Value::Array(values) = value else {
            return self.finish_take(hub, taking, Vec::new(), false);
        };
        let mut raws = Vec::new();
        for (number, value) in taking.numbers().zip(values) {
            let Value::BulkString(value) = value else {
                self.close_fields([number]);
                continue;
            };
            match self.recovered(&taking, Bytes::from(value)) {
                Ok((text, list)) => raws.push(Raw { text, number: Some(number), list }),
                Err((queue, reason)) => {
                    let channel = None;
                    Aside { number, queue, reason, answers: None, channel, is_repeated: false }.submit(self);
                }
            }
        }
        self.finish_take(hub, taking, raws, false);
    }

    /// Returns a message of a claim and the list it was taken off, or the queue it is set aside for and why.
    fn recovered(&self, taking: &Taking, value: Bytes) -> Result<(Bytes, TakenList), (ShortStr, String)> {
        let entry = Unacked::read(&value, &self.limits)
            .map_err(|error| (self.options.unacked_key.as_str().into(), error.to_string()))?;
        let queue = entry.routing_key.clone();
        let of_queue = || taking.lists.iter().filter(|list| list.queue == queue && !list.no_ack);
        // An envelope that cannot be read is set aside when it is read to be delivered.
        let own = entry.envelope(&self.limits).ok().map(|received| self.keys.list_for(&queue, received.list_priority));
        let list = of_queue().find(|list| own.as_deref() == Some(&*list.key)).or_else(|| of_queue().next());
        match list {
            Some(list) => Ok((entry.text, list.clone())),
            None => Err((queue, "taken from a queue that was not asked for".to_owned())),
        }
    }

    /// Ends a claim that got no answer.
    pub(crate) fn handle_lost_take(&self, taking: Taking, error: &Error) {
        self.close_fields(taking.numbers());
        match taking.fetch {
            // The sockets come back by themselves; it is not for core to make the connection anew.
            Some(fetch) => {
                fetch.sender.send(Err(error.duplicate().during("basic.get").recoverable_by(Recovery::Retry)));
            }
            None => {
                self.poller().handle_failed_take(&taking);
                self.touch();
            }
        }
    }

    fn handle_refused_take(self: &Arc<Self>, hub: &dyn Hub, taking: Taking, error: Error) {
        self.close_fields(taking.numbers());
        if let Some(fetch) = taking.fetch {
            return fetch.sender.send(Err(error.during("basic.get")));
        }
        if self.warnings.allows("claim", hub.now()) {
            tracing::warn!(broker = %self.target.label, %error, "messages cannot be taken; trying again");
        }
        self.poller().handle_failed_take(&taking);
        self.pause_taking(hub);
    }

    /// Fetches once the server takes commands again.
    fn fetch_later(self: &Arc<Self>, taking: Taking) {
        self.close_fields(taking.numbers());
        let session = Arc::clone(self);
        drop(self.handle.spawn(async move {
            session.handle.sleep(INTERVAL).await;
            if taking.fetch.as_ref().is_some_and(|fetch| !fetch.sender.is_abandoned()) {
                Taking::submit(&session, taking.count, taking.lists, Vec::new(), taking.fetch);
            }
        }));
    }

    /// The server knows our name no more: nothing was taken. It is done under another.
    fn handle_lost_lease(self: &Arc<Self>, hub: &dyn Hub, taking: Taking) {
        let again = self.lose_lease(&taking.consumer);
        self.close_fields(taking.numbers());
        match taking.fetch {
            Some(fetch) if again => {
                let error = Error::new(ErrorKind::ConnectionLost, "the server does not keep what it is told");
                fetch.sender.send(Err(error.during("basic.get").recoverable_by(Recovery::Retry)));
            }
            Some(fetch) => Taking::submit(self, taking.count, taking.lists, Vec::new(), Some(fetch)),
            None => {
                self.poller().handle_failed_take(&taking);
                if again {
                    self.pause_taking(hub);
                }
            }
        }
        self.touch();
    }

    /// Takes nothing for a moment, after a refusal.
    pub(crate) fn pause_taking(self: &Arc<Self>, hub: &dyn Hub) {
        if !self.poller().pause() {
            return;
        }
        let session = Arc::downgrade(self);
        hub.call_later(
            PAUSE,
            Box::new(move |_| {
                if let Some(session) = session.upgrade() {
                    session.poller().go_on();
                    session.touch();
                }
            }),
        );
    }

    fn finish_take(self: &Arc<Self>, hub: &dyn Hub, taking: Taking, raws: Vec<Raw>, is_short: bool) {
        if taking.fetch.is_some() {
            return self.finish_fetch(taking, raws);
        }
        let (chosen, unwanted) = {
            let mut poller = self.poller();
            poller.handle_taken(&taking, &raws, is_short);
            poller.choose(raws)
        };
        self.give_back_raw(unwanted);
        if !is_short {
            self.tick_early(hub);
        }
        self.deliver(chosen);
        self.touch();
    }

    fn finish_fetch(self: &Arc<Self>, taking: Taking, raws: Vec<Raw>) {
        let Some(Fetch { channel, sender }) = taking.fetch else { return };
        if sender.is_abandoned() {
            return self.give_back_raw(raws);
        }
        let Some(raw) = raws.into_iter().next() else { return sender.send(Ok(None)) };
        let no_ack = raw.list.no_ack;
        let number = raw.number;
        match self.read(raw) {
            Ok(arrived) if self.is_expired(&arrived) || arrived.is_only_for_waiting() => {
                self.expire(arrived);
                // The message behind it may be a good one.
                Taking::submit(self, 1, taking.lists, Vec::new(), Some(Fetch { channel, sender }));
            }
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
                Taking::submit(self, 1, taking.lists, Vec::new(), Some(Fetch { channel, sender }));
            }
        }
    }
}

/// Returns the name of a queue in JSON, as the scripts want it.
pub(crate) fn queue_json(queue: &str) -> Result<Arc<str>> {
    Ok(Claim::queue_json(queue).map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()))?.into())
}

/// A claim stops after this many bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
const PAUSE: Duration = Duration::from_secs(1);
/// What the scripts say to a consumer that is not registered.
pub(crate) const LEASE_LOST: &str = "LEASELOST";
