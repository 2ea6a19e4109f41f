//! Where a transport hands in the deliveries of a consumer.

use std::sync::Arc;

use super::core::ConsumerCore;
use super::inbox::State;
use crate::delivery::{Delivery, DeliverySink, Put};
use crate::error::Error;

/// Takes the deliveries of one queue of a consumer.
pub(super) struct Sink {
    core: Arc<ConsumerCore>,
    origin: u32,
}

impl Sink {
    pub(super) fn new(core: Arc<ConsumerCore>, origin: u32) -> Self {
        Sink { core, origin }
    }

    /// Says whether nobody listens any more: the consumer has ended, or was started again on another channel.
    #[inline]
    fn is_deaf(&self, state: &State) -> bool {
        self.core.inbox.is_finished() || state.origins.has_forgotten(self.origin)
    }
}

impl DeliverySink for Sink {
    fn deliver(&self, delivery: Delivery) {
        let news = {
            let mut state = self.core.inbox.lock();
            // It stays unsettled and goes back when the channel closes. Requeued here, it might come straight back.
            if self.is_deaf(&state) {
                return;
            }
            state.waiting.push_back((self.origin, delivery));
            state.news()
        };
        self.core.notify(news);
    }

    fn deliver_all(&self, deliveries: &mut Vec<Delivery>) {
        let news = {
            let mut state = self.core.inbox.lock();
            if self.is_deaf(&state) {
                drop(state);
                deliveries.clear();
                return;
            }
            state.waiting.extend(deliveries.drain(..).map(|delivery| (self.origin, delivery)));
            state.news()
        };
        self.core.notify(news);
    }

    #[inline]
    fn put(&self, delivery: Delivery) -> Put {
        let mut state = self.core.inbox.lock();
        if self.is_deaf(&state) {
            return Put::Refused(delivery);
        }
        state.waiting.push_back((self.origin, delivery));
        if state.wants_wake() { Put::Wake } else { Put::In }
    }

    fn wake(&self) {
        let news = self.core.inbox.lock().put_news();
        self.core.notify(news);
    }

    fn comes_back(&self) -> bool {
        self.core.has_runs()
    }

    fn put_all(&self, deliveries: &mut Vec<Delivery>) {
        let mut state = self.core.inbox.lock();
        if !self.is_deaf(&state) {
            state.waiting.extend(deliveries.drain(..).map(|delivery| (self.origin, delivery)));
        }
    }

    fn waiting(&self) -> usize {
        self.core.inbox.lock().waiting.len()
    }

    fn cancelled(&self, reason: Error) {
        self.core.failed(reason);
    }
}
