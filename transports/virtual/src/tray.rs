//! Deliveries on their way to one consumer.

use std::sync::Arc;

use kombu_core::Delivery;

use crate::turn::{Outlet, Turn};

/// Hands deliveries to a sink, or keeps them for an application that [comes back](kombu_core::DeliverySink::comes_back) for them: while it is
/// busy, a delivery takes no lock but the broker's, and many are handed over under one.
pub(crate) struct Tray {
    pub(crate) outlet: Arc<Outlet>,
    comes_back: bool,
    /// The application was told of a delivery and has not come back for the last time: what follows is kept.
    is_expected: bool,
    kept: Vec<Delivery>,
}

impl Tray {
    pub(crate) fn new(outlet: Arc<Outlet>) -> Self {
        Tray { comes_back: outlet.comes_back(), outlet, is_expected: false, kept: Vec::new() }
    }

    /// Hands a delivery over, or keeps it. What is returned is to be run when the broker's mutex is released.
    #[inline]
    pub(crate) fn offer(&mut self, delivery: Delivery) -> Option<Turn> {
        if self.is_expected {
            self.kept.push(delivery);
            return None;
        }
        let turn = self.outlet.offer(delivery);
        self.is_expected = self.comes_back && !matches!(turn, Some(Turn::HandOver(_)));
        turn
    }

    /// Hands over what was kept: the application came back, or nothing follows. Returns what the sink has no use for any more.
    pub(crate) fn hand_over(&mut self) -> Vec<Delivery> {
        if self.kept.is_empty() {
            self.is_expected = false;
        } else {
            self.outlet.put_all(&mut self.kept);
        }
        // Empty, but for a sink that is deaf; then it is the buffer's end.
        if self.kept.is_empty() { Vec::new() } else { std::mem::take(&mut self.kept) }
    }

    /// Takes back what was not handed over.
    pub(crate) fn discard(&mut self) -> Vec<Delivery> {
        let mut discarded = self.outlet.discard();
        discarded.append(&mut self.kept);
        discarded
    }
}
