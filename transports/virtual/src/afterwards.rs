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

    /// Does everything, with no lock held; `go_on` serves a queue that has more to deliver.
    #[inline]
    pub(crate) fn run(self, go_on: impl FnMut(QueueKey, &mut Afterwards)) {
        let Afterwards { turn, dropped, more } = self;
        drop(dropped);
        if let Some(turn) = turn {
            turn.run();
        }
        if let Some(more) = more {
            more.run(go_on);
        }
    }
}

impl More {
    #[inline(never)]
    fn run(mut self: Box<Self>, mut go_on: impl FnMut(QueueKey, &mut Afterwards)) {
        loop {
            self.turns.drain(..).for_each(Turn::run);
            self.notices.drain(..).for_each(Notice::tell);
            self.dropped.clear();
            self.garbage.clear();
            let Some(queue) = self.unfinished.pop() else { break };
            let mut after = Afterwards { turn: None, dropped: None, more: Some(self) };
            go_on(queue, &mut after);
            drop(after.dropped.take());
            if let Some(turn) = after.turn.take() {
                turn.run();
            }
            self = match after.more {
                Some(more) => more,
                None => return,
            };
        }
        // A thread that is ending keeps no buffers.
        _ = LENT.try_with(|lent| lent.set(Some(self)));
    }
}
