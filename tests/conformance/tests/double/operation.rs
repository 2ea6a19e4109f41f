//! What both are asked to do.

use kombu_core::ExchangeKind;

use crate::entities::{EXCHANGES, KEYS, KINDS, LANES, QUEUES, ROUTED};

/// Something both are asked to do; numbers name queues, exchanges, keys and lanes.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    DeclareQueue {
        lane: usize,
        queue: usize,
        like: usize,
        durable: bool,
    },
    DeclareExchange {
        exchange: usize,
        kind: usize,
        durable: bool,
        internal: bool,
    },
    FindExchange {
        exchange: usize,
    },
    Bind {
        lane: usize,
        queue: usize,
        exchange: usize,
        key: usize,
    },
    Unbind {
        queue: usize,
        exchange: usize,
        key: usize,
    },
    BindExchanges {
        source: usize,
        destination: usize,
        key: usize,
    },
    UnbindExchanges {
        source: usize,
        destination: usize,
        key: usize,
    },
    /// Names the default exchange, or one of the broker's, where nobody may.
    Forbidden {
        what: usize,
    },
    Publish {
        to: To,
        mandatory: bool,
        priority: u8,
        expiry: Expiry,
    },
    Get {
        lane: usize,
        queue: usize,
        no_ack: bool,
    },
    Consume {
        lane: usize,
        queue: usize,
        prefetch: u16,
        no_ack: bool,
        exclusive: bool,
        priority: Option<i64>,
    },
    Cancel {
        lane: usize,
    },
    Ack {
        lane: usize,
        which: usize,
        multiple: bool,
    },
    Nack {
        lane: usize,
        which: usize,
        multiple: bool,
        requeue: bool,
    },
    Reject {
        lane: usize,
        which: usize,
        requeue: bool,
    },
    SettleAll {
        lane: usize,
        how: usize,
    },
    BadTag {
        lane: usize,
        multiple: bool,
    },
    Recover {
        lane: usize,
    },
    Purge {
        lane: usize,
        queue: usize,
    },
    DeleteQueue {
        lane: usize,
        queue: usize,
        if_empty: bool,
        if_unused: bool,
    },
    DeleteExchange {
        exchange: usize,
        if_unused: bool,
    },
    Count {
        lane: usize,
        queue: usize,
    },
    Reopen {
        lane: usize,
    },
    Reconnect,
}

/// Where a message is published to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Exchange { exchange: usize, key: usize },
    Queue(usize),
    Nowhere,
}

/// How long a message may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    Never,
    AtOnce,
    /// After the test.
    Late,
}

/// Chooses, from a seed.
pub(crate) struct Rng {
    state: u64,
    /// The queues that a story is mostly about, so that things happen to each other in it.
    focus: [usize; 3],
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng { state: seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15), focus: [0; 3] };
        rng.focus = [(); 3].map(|()| rng.below(QUEUES));
        rng
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % limit as u64).unwrap()
    }

    fn odds(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn queue(&mut self) -> usize {
        if self.odds(4) { self.below(QUEUES) } else { self.focus[self.below(self.focus.len())] }
    }

    /// Returns a story: some entities to begin with, and then anything.
    pub(crate) fn story(&mut self, count: usize) -> Vec<Operation> {
        let declared = (0..QUEUES).map(|queue| Operation::DeclareQueue { lane: 0, queue, like: queue, durable: true });
        let kinds = (0..EXCHANGES).map(|exchange| Operation::DeclareExchange {
            exchange,
            kind: exchange,
            durable: true,
            internal: false,
        });
        let mut story: Vec<_> = declared.chain(kinds).collect();
        story.retain(|_| !self.odds(8));
        while story.len() < count {
            story.push(self.operation());
        }
        story
    }

    fn operation(&mut self) -> Operation {
        let (lane, queue) = (self.below(LANES), self.queue());
        match self.below(64) {
            0..=3 => self.declaration(lane, queue),
            4..=9 => self.binding(lane),
            10..=27 => self.publish(),
            28..=32 => Operation::Get { lane, queue, no_ack: self.odds(4) },
            33..=39 => Operation::Consume {
                lane,
                queue,
                prefetch: u16::try_from(self.below(4)).unwrap(),
                no_ack: self.odds(6),
                exclusive: self.odds(10),
                priority: self.odds(5).then(|| i64::try_from(self.below(3)).unwrap()),
            },
            40..=41 => Operation::Cancel { lane },
            42..=53 => self.settle(lane),
            54 if self.odds(3) => Operation::BadTag { lane, multiple: self.odds(2) },
            54..=55 => Operation::Recover { lane },
            56 => Operation::Purge { lane, queue },
            57 => Operation::DeleteQueue { lane, queue, if_empty: self.odds(3), if_unused: self.odds(3) },
            58 if self.odds(2) => Operation::Forbidden { what: self.below(6) },
            58 => Operation::DeleteExchange { exchange: self.below(EXCHANGES), if_unused: self.odds(2) },
            59..=61 => Operation::Count { lane, queue },
            62 => Operation::Reopen { lane },
            _ if self.odds(2) => Operation::Reconnect,
            _ => Operation::FindExchange { exchange: self.below(EXCHANGES) },
        }
    }

    fn declaration(&mut self, lane: usize, queue: usize) -> Operation {
        if self.odds(3) {
            let exchange = self.below(EXCHANGES);
            let kind = if self.odds(10) { self.below(KINDS.len()) } else { exchange };
            return Operation::DeclareExchange { exchange, kind, durable: !self.odds(15), internal: self.odds(12) };
        }
        let like = if self.odds(10) { self.below(QUEUES) } else { queue };
        Operation::DeclareQueue { lane, queue, like, durable: !self.odds(12) }
    }

    fn binding(&mut self, lane: usize) -> Operation {
        let (queue, exchange, key) = (self.below(ROUTED), self.below(EXCHANGES), self.below(KEYS.len()));
        match self.below(10) {
            0 => Operation::Unbind { queue, exchange, key },
            1 => Operation::UnbindExchanges { source: exchange, destination: self.below(EXCHANGES), key },
            2 => Operation::BindExchanges { source: exchange, destination: self.below(EXCHANGES), key },
            _ => Operation::Bind { lane, queue, exchange, key },
        }
    }

    fn publish(&mut self) -> Operation {
        let key = if self.odds(2) { self.below(2) } else { self.below(KEYS.len()) };
        let to = match self.below(12) {
            0..=6 => To::Queue(self.queue()),
            7 if self.odds(3) => To::Queue(self.below(QUEUES)),
            8 if self.odds(5) => To::Nowhere,
            _ => To::Exchange { exchange: self.below(EXCHANGES), key },
        };
        let expiry = match self.below(8) {
            0 => Expiry::AtOnce,
            1 => Expiry::Late,
            _ => Expiry::Never,
        };
        // What expires behind a more urgent message is looked at when that one goes; RabbitMQ also leaves it before less urgent ones.
        let priority = if matches!(expiry, Expiry::AtOnce) { 0 } else { u8::try_from(self.below(7)).unwrap() };
        Operation::Publish { to, mandatory: self.odds(3), priority, expiry }
    }

    fn settle(&mut self, lane: usize) -> Operation {
        let which = self.below(4);
        match self.below(12) {
            0..=4 => Operation::Ack { lane, which, multiple: self.odds(3) },
            5..=8 => Operation::Nack { lane, which, multiple: self.odds(3), requeue: !self.odds(3) },
            9..=10 => Operation::Reject { lane, which, requeue: self.odds(2) },
            _ => Operation::SettleAll { lane, how: self.below(3) },
        }
    }
}

impl Operation {
    /// The lane whose channel an error of this operation ends; publishing has a channel of its own.
    pub(crate) fn lane(&self) -> usize {
        match *self {
            Operation::DeclareQueue { lane, .. }
            | Operation::Bind { lane, .. }
            | Operation::Get { lane, .. }
            | Operation::Consume { lane, .. }
            | Operation::Cancel { lane }
            | Operation::Ack { lane, .. }
            | Operation::Nack { lane, .. }
            | Operation::Reject { lane, .. }
            | Operation::SettleAll { lane, .. }
            | Operation::BadTag { lane, .. }
            | Operation::Recover { lane }
            | Operation::Purge { lane, .. }
            | Operation::DeleteQueue { lane, .. }
            | Operation::Count { lane, .. }
            | Operation::Reopen { lane } => lane,
            _ => 0,
        }
    }

    /// Says whether the answer may come before the broker did what was asked.
    pub(crate) fn settles(&self) -> bool {
        matches!(
            self,
            Operation::Ack { .. } | Operation::Nack { .. } | Operation::Reject { .. } | Operation::SettleAll { .. }
        )
    }
}

/// The kind of exchange a number means.
pub(crate) fn kind(number: usize) -> ExchangeKind {
    KINDS[number % KINDS.len()].clone()
}
