//! What both are asked to do.

use kombu_core::ExchangeKind;

/// Something both are asked to do; numbers name queues and exchanges.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    DeclareQueue { queue: usize, durable: bool, arguments: usize },
    DeclareExchange { exchange: usize, kind: usize, durable: bool },
    Bind { queue: usize, exchange: usize, key: usize },
    Unbind { queue: usize, exchange: usize, key: usize },
    BindExchanges { source: usize, destination: usize, key: usize },
    UnbindExchanges { source: usize, destination: usize, key: usize },
    Publish { exchange: Option<usize>, key: usize, mandatory: bool, priority: u8 },
    Get { queue: usize, no_ack: bool },
    Ack { which: usize, multiple: bool },
    Nack { which: usize, multiple: bool, requeue: bool },
    BadTag,
    Recover,
    Purge { queue: usize },
    DeleteQueue { queue: usize, if_empty: bool },
    DeleteExchange { exchange: usize, if_unused: bool },
    Count { queue: usize },
    Reopen,
}

/// Routing keys and patterns; those of bindings to a headers exchange mean arguments.
pub(crate) const KEYS: [&str; 6] = ["a", "a.b", "*.b", "#", "a.#", ""];
pub(crate) const KINDS: [ExchangeKind; 4] =
    [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Fanout, ExchangeKind::Headers];

/// Chooses, from a seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn odds(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn operation(&mut self) -> Operation {
        let (queue, exchange, key) = (self.below(3), self.below(KINDS.len()), self.below(KEYS.len()));
        match self.below(40) {
            0..=3 => Operation::DeclareQueue {
                queue,
                durable: !self.odds(12),
                arguments: if self.odds(8) { self.below(5) } else { queue },
            },
            4..=6 => {
                let kind = if self.odds(10) { self.below(KINDS.len()) } else { exchange };
                Operation::DeclareExchange { exchange, kind, durable: !self.odds(15) }
            }
            7..=9 => Operation::Bind { queue, exchange, key },
            10 => Operation::Unbind { queue, exchange, key },
            11 if self.odds(3) => {
                Operation::UnbindExchanges { source: exchange, destination: self.below(KINDS.len()), key }
            }
            11 => Operation::BindExchanges { source: exchange, destination: self.below(KINDS.len()), key },
            12..=21 => Operation::Publish {
                exchange: (!self.odds(3)).then_some(exchange),
                key: if self.odds(2) { self.below(2) } else { key },
                mandatory: self.odds(3),
                priority: u8::try_from(self.below(7)).unwrap(),
            },
            22..=27 => Operation::Get { queue, no_ack: self.odds(4) },
            28..=30 => Operation::Ack { which: self.below(4), multiple: self.odds(3) },
            31..=33 => Operation::Nack { which: self.below(4), multiple: self.odds(4), requeue: !self.odds(3) },
            34 if self.odds(4) => Operation::BadTag,
            34 => Operation::Recover,
            35 => Operation::Purge { queue },
            36 if self.odds(2) => Operation::DeleteQueue { queue, if_empty: self.odds(2) },
            36 => Operation::DeleteExchange { exchange, if_unused: self.odds(2) },
            37..=38 => Operation::Count { queue },
            _ => Operation::Reopen,
        }
    }
}

impl Operation {
    /// Says whether an operation is settled elsewhere than on the channel that asked, so that the next look may come too early.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(
            self,
            Operation::Reopen
                | Operation::BadTag
                | Operation::Nack { .. }
                | Operation::Recover
                | Operation::Publish { .. }
        )
    }
}
