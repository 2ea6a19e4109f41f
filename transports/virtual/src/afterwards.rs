//! What is done once the broker's mutex is released.

use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;

use kombu_core::{ChannelEvents, Envelope, Error, Malformed};

use crate::message::QueueMessage;
use crate::queue::QueueKey;
use crate::turn::Turn;

/// Collects, under the broker's mutex, whatever runs code of the application: deliveries, notices, and drops. Nothing of it
/// happens before the mutex is released.
///
/// The lists are lent by the thread and given back, so that no call allocates once they have grown; a call that collects nothing
/// does not look for them.
#[derive(Default)]
pub(crate) struct Afterwards(Option<Box<Lists>>);

/// What was collected, kind by kind.
#[derive(Default)]
pub(crate) struct Lists {
    pub(crate) turns: Vec<Turn>,
    pub(crate) envelopes: Vec<Arc<Envelope>>,
    pub(crate) messages: Vec<QueueMessage>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) garbage: Vec<Box<dyn Any + Send>>,
    /// Queues that have more to deliver than one holding of the mutex is worth.
    pub(crate) unfinished: Vec<QueueKey>,
}

/// Something the observer of a channel learns.
pub(crate) enum Notice {
    Malformed(Arc<dyn ChannelEvents>, Malformed),
    SettleFailed(Arc<dyn ChannelEvents>, Error),
    Closed(Arc<dyn ChannelEvents>, Error),
}

impl Notice {
    fn tell(self) {
        match self {
            Notice::Malformed(events, malformed) => events.malformed(malformed),
            Notice::SettleFailed(events, error) => events.settle_failed(error),
            Notice::Closed(events, error) => events.closed(error),
        }
    }
}

thread_local! {
    static LENT: Cell<Option<Box<Lists>>> = const { Cell::new(None) };
}

impl Afterwards {
    /// Hands a delivery over.
    pub(crate) fn turn(&mut self, turn: Option<Turn>) {
        if let Some(turn) = turn {
            self.lists().turns.push(turn);
        }
    }

    /// Drops a message.
    pub(crate) fn drop_envelope(&mut self, envelope: Arc<Envelope>) {
        self.lists().envelopes.push(envelope);
    }

    /// Tells an observer.
    pub(crate) fn notice(&mut self, notice: Notice) {
        self.lists().notices.push(notice);
    }

    /// Drops anything else.
    pub(crate) fn discard(&mut self, thing: impl Any + Send) {
        self.lists().garbage.push(Box::new(thing));
    }

    pub(crate) fn lists(&mut self) -> &mut Lists {
        self.0.get_or_insert_with(|| LENT.try_with(Cell::take).ok().flatten().unwrap_or_default())
    }

    /// Does everything, with no lock held; `go_on` serves a queue that has more to deliver.
    #[inline]
    pub(crate) fn run(self, go_on: impl FnMut(QueueKey, &mut Afterwards)) {
        if let Some(lists) = self.0 {
            lists.run(go_on);
        }
    }
}

impl Lists {
    #[inline(never)]
    fn run(mut self: Box<Self>, mut go_on: impl FnMut(QueueKey, &mut Afterwards)) {
        loop {
            self.turns.drain(..).for_each(Turn::run);
            self.notices.drain(..).for_each(Notice::tell);
            self.envelopes.drain(..).for_each(Envelope::leave);
            self.messages.clear();
            self.garbage.clear();
            let Some(queue) = self.unfinished.pop() else { break };
            let mut after = Afterwards(Some(self));
            go_on(queue, &mut after);
            match after.0 {
                Some(lists) => self = lists,
                None => return,
            }
        }
        // A thread that is ending keeps no buffers.
        _ = LENT.try_with(|lent| lent.set(Some(self)));
    }
}
