//! A sink that stands between memory and the suite.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kombu_core::{Delivery, DeliverySink, Error, ShortStr};

use crate::envelope;
use crate::fault::Fault;
use crate::inside::Inside;
use crate::world::lock;

pub(crate) struct BrokenSink {
    fault: Fault,
    sink: Arc<dyn DeliverySink>,
    inside: Arc<Inside>,
    queue: ShortStr,
    no_ack: bool,
    has_started: AtomicBool,
    count: AtomicUsize,
    kept: Mutex<Option<Delivery>>,
}

impl BrokenSink {
    pub(crate) fn new(
        fault: Fault,
        sink: Arc<dyn DeliverySink>,
        inside: Arc<Inside>,
        queue: ShortStr,
        no_ack: bool,
    ) -> Self {
        BrokenSink {
            fault,
            sink,
            inside,
            queue,
            no_ack,
            has_started: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            kept: Mutex::default(),
        }
    }

    /// The consumer is started: what comes from now on is news.
    pub(crate) fn started(&self) {
        self.has_started.store(true, Ordering::Relaxed);
    }
}

impl DeliverySink for BrokenSink {
    fn deliver(&self, delivery: Delivery) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.no_ack {
            let held = (self.queue.clone(), Arc::clone(&delivery.envelope));
            lock(&self.inside.held).insert(delivery.tag.0, held);
        }
        let delivery = envelope::delivered(self.fault, delivery);
        match self.fault {
            Fault::MissesSecond if count == 2 => return,
            Fault::GiveBackStopsDelivery if self.inside.has_given_back.load(Ordering::Relaxed) => return,
            Fault::NewsNotDelivered if self.has_started.load(Ordering::Relaxed) => return,
            Fault::SwapsSeventh if count.is_multiple_of(7) => {
                *lock(&self.kept) = Some(delivery);
                return;
            }
            _ => {}
        }
        self.sink.deliver(delivery);
        let kept = lock(&self.kept).take();
        if let Some(kept) = kept {
            self.sink.deliver(kept);
        }
    }

    fn cancelled(&self, reason: Error) {
        match self.fault {
            Fault::NoCancelNotice => {}
            Fault::TwoCancelNotices => {
                self.sink.cancelled(reason.duplicate());
                self.sink.cancelled(reason);
            }
            _ => self.sink.cancelled(reason),
        }
    }
}
