//! What is done once the broker's mutex is released.

use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;

use kombu_core::{ChannelEvents, Error, Malformed, Returned};

use crate::message::QueueMessage;
use crate::queue::QueueKey;
use crate::turn::Turn;

/// Collects, under the broker's mutex, whatever runs code of the application: deliveries, notices, and drops. Nothing of it
/// happens before the mutex is released.
///
/// The common case, one delivery or one dropped message, is held in place; the lists of all others are lent by the thread and
/// given back, so that no call allocates once they have grown.
#[derive(Default)]
pub(crate) struct Afterwards {
    turn: Option<Turn>,
    dropped: Option<QueueMessage>,
    more: Option<Box<More>>,
}

/// The lists behind the first of each kind.
#[derive(Default)]
pub(crate) struct More {
    pub(crate) turns: Vec<Turn>,
    pub(crate) dropped: Vec<QueueMessage>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) garbage: Vec<Box<dyn Any + Send>>,
    /// Queues that have more to deliver than one holding of the mutex is worth.
    pub(crate) unfinished: Vec<QueueKey>,
}

/// Something the observer of a channel learns.
pub(crate) enum Notice {
    Returned(Arc<dyn ChannelEvents>, Returned),
    Malformed(Arc<dyn ChannelEvents>, Malformed),
    SettleFailed(Arc<dyn ChannelEvents>, Error),
    Closed(Arc<dyn ChannelEvents>, Error),
}

impl Notice {
    fn tell(self) {
        match self {
            Notice::Returned(events, returned) => events.returned(returned),
            Notice::Malformed(events, malformed) => events.malformed(malformed),
            Notice::SettleFailed(events, error) => events.settle_failed(error),
            Notice::Closed(events, error) => events.closed(error),
        }
    }
}

thread_local! {
    static LENT: Cell<Option<Box<More>>> = const { Cell::new(None) };
}

impl Afterwards {
    #[inline]
    pub(crate) fn turn(&mut self, turn: Turn) {
        if self.turn.is_none() {
            self.turn = Some(turn);
        } else {
            self.more().turns.push(turn);
        }
    }

    #[inline]
    pub(crate) fn drop_message(&mut self, message: QueueMessage) {
        if self.dropped.is_none() {
            self.dropped = Some(message);
        } else {
            self.more().dropped.push(message);
        }
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.more().notices.push(notice);
    }

    /// Drops `thing` with the mutex released.
    pub(crate) fn discard(&mut self, thing: impl Any + Send) {
        self.more().garbage.push(Box::new(thing));
    }

    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_with(|| LENT.try_with(Cell::take).ok().flatten().unwrap_or_default())
    }

    /// Does everything, in the order in which it was collected kind by kind; returns a queue that has more to deliver. Called with
    /// no lock held, again and again until it returns `None`.
    #[inline]
    pub(crate) fn run(&mut self) -> Option<QueueKey> {
        drop(self.dropped.take());
        if let Some(turn) = self.turn.take() {
            turn.run();
        }
        if self.more.is_some() { self.run_more() } else { None }
    }

    fn run_more(&mut self) -> Option<QueueKey> {
        let mut more = self.more.take()?;
        more.turns.drain(..).for_each(Turn::run);
        more.notices.drain(..).for_each(Notice::tell);
        more.dropped.clear();
        more.garbage.clear();
        let unfinished = more.unfinished.pop();
        if more.unfinished.is_empty() {
            // A thread that is ending keeps no buffers.
            _ = LENT.try_with(|lent| lent.set(Some(more)));
        } else {
            self.more = Some(more);
        }
        unfinished
    }
}
