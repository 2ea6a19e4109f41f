//! A delivery costs no allocation beyond the message itself, once the buffers have grown.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Broker, Lane};
use counting::allocations;
use kombu_core::method::BasicPublish;
use kombu_core::{Delivery, DeliverySink, DeliveryTag, Envelope, Error, ExchangeKind};

mod counting {
    //! A global allocator that counts the allocations of each thread.
    #![allow(unsafe_code, reason = "a global allocator cannot be written without")]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
    }

    fn count() {
        // A thread that is ending is not counted.
        _ = COUNT.try_with(|count| count.set(count.get() + 1));
    }

    // SAFETY: every call goes to the system's allocator unchanged.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: the caller keeps the contract of `dealloc`.
            unsafe { System.dealloc(pointer, layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count();
            // SAFETY: the caller keeps the contract of `realloc`.
            unsafe { System.realloc(pointer, layout, size) }
        }
    }

    /// Returns how many allocations this thread makes while `act` runs.
    pub(super) fn allocations(act: impl FnOnce()) -> u64 {
        let before = COUNT.get();
        act();
        COUNT.get() - before
    }
}

#[derive(Default)]
struct LastTag(AtomicU64);

impl DeliverySink for LastTag {
    fn deliver(&self, delivery: Delivery) {
        self.0.store(delivery.tag.0, Ordering::Relaxed);
    }

    fn cancelled(&self, _: Error) {}
}

fn envelope(exchange: &str, routing_key: &str) -> Arc<Envelope> {
    Arc::new(Envelope { exchange: exchange.into(), routing_key: routing_key.into(), ..Envelope::default() })
}

fn publish(lane: &Lane, envelope: &Arc<Envelope>) {
    lane.0.basic_publish(BasicPublish::default(), Arc::clone(envelope)).take_now().unwrap().unwrap();
}

/// Runs `round` until the buffers have grown, and then counts.
fn settled_allocations(mut round: impl FnMut()) -> u64 {
    (0..600).for_each(|_| round());
    allocations(|| (0..600).for_each(|_| round()))
}

#[test]
fn publish_deliver_and_ack_allocate_nothing() {
    let lane = Broker::new().channel();
    lane.queue("q");
    let sink = Arc::new(LastTag::default());
    lane.consume_into("q", sink.clone());
    for kind in [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Fanout] {
        let name = kind.to_string();
        lane.exchange(&name, kind);
        lane.bind("q", &name, "a.b");
    }
    for (exchange, key) in [("", "q"), ("direct", "a.b"), ("topic", "a.b"), ("fanout", "a.b")] {
        let envelope = envelope(exchange, key);
        let count = settled_allocations(|| {
            publish(&lane, &envelope);
            lane.ack(DeliveryTag(sink.0.load(Ordering::Relaxed)));
        });
        assert_eq!(count, 0, "through `{exchange}`");
    }
}

#[test]
fn a_fanout_to_many_allocates_nothing() {
    let lane = Broker::new().channel();
    lane.exchange("all", ExchangeKind::Fanout);
    let sink = Arc::new(LastTag::default());
    for number in 0..10 {
        let queue = format!("q{number}");
        lane.queue(&queue);
        lane.bind(&queue, "all", "");
        lane.consume_into(&queue, sink.clone());
    }
    let envelope = envelope("all", "any");
    let count = settled_allocations(|| {
        publish(&lane, &envelope);
        let last = sink.0.load(Ordering::Relaxed);
        (last - 9..=last).for_each(|tag| lane.ack(DeliveryTag(tag)));
    });
    assert_eq!(count, 0);
}

#[test]
fn batches_and_backlogs_allocate_nothing() {
    let lane = Broker::new().channel();
    lane.queue("q");
    lane.qos(50, false);
    let sink = Arc::new(LastTag::default());
    lane.consume_into("q", sink.clone());
    let envelope = envelope("", "q");
    let count = settled_allocations(|| {
        // More than the window holds: a part waits in the queue, and one settle brings many deliveries.
        (0..120).for_each(|_| publish(&lane, &envelope));
        while lane.0.basic_ack(DeliveryTag(sink.0.load(Ordering::Relaxed)), true).take_now().unwrap().is_ok() {
            if sink.0.load(Ordering::Relaxed).is_multiple_of(120) {
                break;
            }
        }
        lane.0.basic_ack(DeliveryTag(0), true).take_now().unwrap().unwrap();
    });
    assert_eq!(count, 0);
}

#[test]
fn giving_back_allocates_nothing() {
    let lane = Broker::new().channel();
    lane.queue("q");
    let envelope = envelope("", "q");
    let sink = Arc::new(LastTag::default());
    lane.consume_into("q", sink.clone());
    let count = settled_allocations(|| {
        publish(&lane, &envelope);
        lane.requeue(DeliveryTag(sink.0.load(Ordering::Relaxed)));
        lane.ack(DeliveryTag(sink.0.load(Ordering::Relaxed)));
    });
    assert_eq!(count, 0);
}
