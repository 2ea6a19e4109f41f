//! Forgetting messages and giving them back: all of a tick in one command.

use std::collections::HashSet;
use std::sync::Arc;

use kombu_core::answer::AnswerBatch;
use kombu_core::{Error, ErrorKind, Result, Settled, ShortStr};
use kombu_virtual::death::Reason;
use redis::Value;

use crate::channel_core::ChannelCore;
use crate::connection::refusal;
use crate::dying::Dying;
use crate::request::Request;
use crate::scripts::{Ack, GivenBack, Requeue, Requeued, SetAside};
use crate::session::Session;

/// The settles of a connection since the last tick.
#[derive(Default)]
pub(crate) struct Pending {
    forget: Vec<Batch<u64>>,
    give_back: Vec<Batch<(u64, Arc<str>)>>,
    asides: Vec<Aside>,
    die: Vec<Batch<(u64, ShortStr, Reason)>>,
    /// The queues that are looked at once they have got something back.
    looks: Vec<ShortStr>,
}

struct Batch<T> {
    items: Vec<T>,
    owners: Owners,
    answers: Arc<AnswerBatch<()>>,
}

/// The channels that settled the items of a batch: each with the index after its last item.
#[derive(Default)]
pub(crate) struct Owners(Vec<(Arc<ChannelCore>, usize)>);

impl Owners {
    /// Makes the owners of `count` items that one channel settled.
    pub(crate) fn of(channel: &Arc<ChannelCore>, count: usize) -> Self {
        Owners(vec![(Arc::clone(channel), count)])
    }

    fn add(&mut self, channel: &Arc<ChannelCore>) {
        let count = self.0.last().map_or(0, |(_, end)| *end) + 1;
        match self.0.last_mut() {
            Some((last, end)) if Arc::ptr_eq(last, channel) => *end = count,
            _ => self.0.push((Arc::clone(channel), count)),
        }
    }

    fn owner(&self, index: usize) -> Option<&Arc<ChannelCore>> {
        let at = self.0.partition_point(|(_, end)| *end <= index);
        self.0.get(at).map(|(channel, _)| channel)
    }

    /// Returns each channel once.
    fn channels(&self) -> Vec<&Arc<ChannelCore>> {
        let mut channels: Vec<_> = self.0.iter().map(|(channel, _)| channel).collect();
        channels.sort_by_key(|channel| channel.id);
        channels.dedup_by_key(|channel| channel.id);
        channels
    }
}

impl<T> Batch<T> {
    /// Adds to the last batch, or to a new one when that is full: one batch is one command.
    fn add(batches: &mut Vec<Batch<T>>, channel: &Arc<ChannelCore>, item: T) -> Settled {
        if batches.last().is_none_or(|batch| batch.items.len() >= Ack::MAX_TAGS) {
            batches.push(Batch { items: Vec::new(), owners: Owners::default(), answers: AnswerBatch::new() });
        }
        // The lines above saw to it that there is one.
        let Some(batch) = batches.last_mut() else { return Settled::ready(Ok(())) };
        let index = u32::try_from(batch.items.len()).unwrap_or(u32::MAX);
        batch.items.push(item);
        batch.owners.add(channel);
        batch.answers.answer(index)
    }
}

impl Pending {
    /// Adds a message to be forgotten.
    pub(crate) fn forget(&mut self, channel: &Arc<ChannelCore>, number: u64) -> Settled {
        Batch::add(&mut self.forget, channel, number)
    }

    /// Adds a message to be given back to `list`.
    pub(crate) fn give_back(&mut self, channel: &Arc<ChannelCore>, number: u64, list: Arc<str>) -> Settled {
        Batch::add(&mut self.give_back, channel, (number, list))
    }

    /// Adds a message that leaves its queue dead.
    pub(crate) fn die(&mut self, channel: &Arc<ChannelCore>, number: u64, queue: ShortStr, reason: Reason) -> Settled {
        Batch::add(&mut self.die, channel, (number, queue, reason))
    }

    /// Has a queue looked at behind what is given back to it.
    pub(crate) fn look_at(&mut self, queue: &ShortStr) {
        if !self.looks.contains(queue) {
            self.looks.push(queue.clone());
        }
    }

    /// Adds a message to be moved to the malformed list of `queue`.
    pub(crate) fn set_aside(
        &mut self,
        channel: &Arc<ChannelCore>,
        number: u64,
        queue: ShortStr,
        reason: String,
    ) -> Settled {
        let answers = AnswerBatch::new();
        let answer = answers.answer(0);
        let channel = Some(Arc::clone(channel));
        self.asides.push(Aside { number, queue, reason, answers: Some(answers), channel, is_repeated: false });
        answer
    }

    /// Answers what has gathered: it will not be sent.
    pub(crate) fn fail(self, error: &Error) {
        let answers = self.forget.into_iter().map(|batch| batch.answers);
        let answers = answers.chain(self.give_back.into_iter().map(|batch| batch.answers));
        let answers = answers.chain(self.die.into_iter().map(|batch| batch.answers));
        for answers in answers.chain(self.asides.into_iter().filter_map(|aside| aside.answers)) {
            answers.finish(Err(error.duplicate()), Vec::new());
        }
    }

    /// Sends what has gathered.
    pub(crate) fn submit(self, session: &Session) {
        for Batch { items: numbers, owners, answers } in self.forget {
            let settling = Settling { numbers, answers, owners, is_repeated: false };
            let bytes = settling.to_bytes(session);
            session.submit(Request::Settle(Box::new(settling)), &bytes);
        }
        for Batch { items, owners, answers } in self.give_back {
            let answers = Some(answers);
            Returning { items, delivered: true, answers, owners, is_repeated: false }.submit(session);
        }
        for Batch { items, owners, answers } in self.die {
            Dying { items, answers: Some(answers), owners, is_repeated: false }.submit(session);
        }
        session.look_at(&self.looks);
        for aside in self.asides {
            aside.submit(session);
        }
    }
}

/// Messages that are being forgotten.
pub(crate) struct Settling {
    numbers: Vec<u64>,
    answers: Arc<AnswerBatch<()>>,
    owners: Owners,
    /// It was sent before and the answer was lost: what is gone now was forgotten then.
    pub(crate) is_repeated: bool,
}

impl Settling {
    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let tags: Vec<String> = self.numbers.iter().map(|number| session.field(*number)).collect();
        Ack { keys: &session.keys, tags: &tags }.command().get_packed_command()
    }

    pub(crate) fn handle_answer(self, session: &Session, value: Value) {
        match read(value, Ack::read) {
            Ok(gone) => {
                session.close_fields(self.numbers.iter().copied());
                // Sent before, and the answer was lost: it was forgotten then, unless the lease was over meanwhile.
                let lost = gone.into_iter().filter(|gone| !(self.is_repeated && gone.is_registered));
                let failed = lost.map(|gone| (gone.index, lease_lost("ack"))).collect();
                self.finish(session, Ok(()), failed);
            }
            Err(error) => self.finish(session, Err(error), Vec::new()),
        }
    }

    /// Answers everybody who settled.
    pub(crate) fn finish(self, session: &Session, result: Result<()>, failed: Vec<(usize, Error)>) {
        finish(session, &self.owners, Some(&self.answers), result, failed);
    }
}

/// Messages that are being given back.
pub(crate) struct Returning {
    /// Numbers and lists, in the order of delivery.
    pub(crate) items: Vec<(u64, Arc<str>)>,
    /// Whether the application had them.
    pub(crate) delivered: bool,
    pub(crate) answers: Option<Arc<AnswerBatch<()>>>,
    /// Who is told of a failure; nobody when the application did not have them.
    pub(crate) owners: Owners,
    /// As in [`Settling`].
    pub(crate) is_repeated: bool,
}

impl Returning {
    /// Sends it.
    pub(crate) fn submit(self, session: &Session) {
        if self.items.is_empty() {
            return self.finish(session, Ok(()), Vec::new());
        }
        let bytes = self.to_bytes(session);
        session.submit(Request::Return(Box::new(self)), &bytes);
    }

    /// The indexes of the items in the order of the command: the one to be served last first.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.items[*index].0));
        order
    }

    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let order = self.order();
        let tags: Vec<String> = order.iter().map(|index| session.field(self.items[*index].0)).collect();
        let messages: Vec<GivenBack<'_>> = order
            .iter()
            .zip(&tags)
            .map(|(index, tag)| GivenBack::new(tag, &self.items[*index].1, self.delivered))
            .collect();
        let requeue = Requeue { keys: &session.keys, not_after: None, messages: &messages };
        // Each message has a list, so the command can be made.
        requeue.command().map(|command| command.get_packed_command()).unwrap_or_default()
    }

    pub(crate) fn handle_answer(self, session: &Session, value: Value) {
        let order = self.order();
        match read(value, Requeue::read) {
            Ok(outcomes) => {
                let failed = order.into_iter().zip(outcomes).filter_map(|(index, outcome)| {
                    if matches!(outcome, Requeued::Done | Requeued::Gone) {
                        session.close_fields([self.items[index].0]);
                    }
                    let error = match outcome {
                        Requeued::Done | Requeued::Fresh => return None,
                        // Sent before, and the answer was lost: it was given back then.
                        Requeued::Gone if self.is_repeated => return None,
                        Requeued::Gone => lease_lost("reject"),
                        Requeued::Malformed => {
                            Error::new(ErrorKind::Decode, "what was delivered is no message any more")
                        }
                        Requeued::Refused => Error::new(ErrorKind::PreconditionFailed, "the queue takes no messages"),
                    };
                    Some((index, error))
                });
                let failed = failed.collect();
                self.finish(session, Ok(()), failed);
            }
            Err(error) => self.finish(session, Err(error), Vec::new()),
        }
    }

    /// Answers everybody who gave something back.
    pub(crate) fn finish(self, session: &Session, result: Result<()>, failed: Vec<(usize, Error)>) {
        finish(session, &self.owners, self.answers.as_ref(), result, failed);
    }
}

/// A message that is being moved to a list of malformed elements.
pub(crate) struct Aside {
    pub(crate) number: u64,
    pub(crate) queue: ShortStr,
    pub(crate) reason: String,
    pub(crate) answers: Option<Arc<AnswerBatch<()>>>,
    pub(crate) channel: Option<Arc<ChannelCore>>,
    /// As in [`Settling`].
    pub(crate) is_repeated: bool,
}

impl Aside {
    /// Sends it.
    pub(crate) fn submit(self, session: &Session) {
        let bytes = self.to_bytes(session);
        session.submit(Request::SetAside(Box::new(self)), &bytes);
    }

    pub(crate) fn to_bytes(&self, session: &Session) -> Vec<u8> {
        let tag = session.field(self.number);
        let aside = SetAside { keys: &session.keys, tag: &tag, queue: &self.queue, reason: &self.reason };
        // Text can always be written as JSON.
        aside.command().map(|command| command.get_packed_command()).unwrap_or_default()
    }

    pub(crate) fn handle_answer(self, session: &Session, value: Value) {
        match read(value, SetAside::read) {
            Ok(is_there) => {
                session.close_fields([self.number]);
                let is_lost = !is_there && !self.is_repeated;
                self.finish(session, if is_lost { Err(lease_lost("set_aside")) } else { Ok(()) });
            }
            Err(error) => self.finish(session, Err(error)),
        }
    }

    /// Answers whoever set it aside.
    pub(crate) fn finish(self, session: &Session, result: Result<()>) {
        let owners = self.channel.map(|channel| Owners::of(&channel, 1)).unwrap_or_default();
        finish(session, &owners, self.answers.as_ref(), result, Vec::new());
    }
}

pub(crate) fn read<T>(value: Value, read: impl FnOnce(Value) -> Result<T>) -> Result<T> {
    match &value {
        Value::ServerError(error) => Err(refusal(error)),
        _ => read(value),
    }
}

pub(crate) fn finish(
    session: &Session,
    owners: &Owners,
    answers: Option<&Arc<AnswerBatch<()>>>,
    result: Result<()>,
    failed: Vec<(usize, Error)>,
) {
    // Each channel is told of its first failure.
    let mut told: Vec<(Option<&Arc<ChannelCore>>, Error)> = Vec::new();
    match &result {
        Err(error) => {
            told.extend(owners.channels().into_iter().map(|channel| (Some(channel), error.duplicate())));
            if told.is_empty() {
                told.push((None, error.duplicate()));
            }
        }
        Ok(()) => {
            let mut seen = HashSet::new();
            for (index, error) in &failed {
                let owner = owners.owner(*index);
                if seen.insert(owner.map(|channel| channel.id)) {
                    told.push((owner, error.duplicate()));
                }
            }
        }
    }
    if let Some(answers) = answers {
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        answers.finish(result, failed.into_iter().map(|(index, error)| (number(index), error)).collect());
    }
    for (channel, error) in told {
        match channel {
            _ if error.kind() == ErrorKind::Closed => {}
            // Nobody handled it here, and somebody has it.
            None if error.kind() == ErrorKind::LeaseLost => {}
            Some(channel) => channel.report_settle_failed(error),
            None if session.warnings.allows("settle", session.handle.now()) => {
                tracing::warn!(broker = %session.target.label, %error, "a message could not be given back");
            }
            None => {}
        }
    }
}

#[cold]
pub(crate) fn lease_lost(operation: &'static str) -> Error {
    let message = "the message was given to somebody else meanwhile: this process gave no sign of life, or the server lost its data";
    Error::new(ErrorKind::LeaseLost, message).during(operation)
}
