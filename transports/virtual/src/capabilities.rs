//! What the layer can do.

use kombu_core::{Capabilities, Ordering, Priority, PriorityOrder, Support};

/// Returns what [`VirtualTransport`](crate::VirtualTransport) gives any store: everything it does is
/// [`Emulated`](Support::Emulated); what only a store can give (`durable`, `persistent`, `multi_process`) is [`No`](Support::No).
pub fn emulated() -> Capabilities {
    with(Support::Emulated)
}

/// Returns the same as [`emulated`], called [`Native`](Support::Native): for a store whose broker is the layer itself.
pub fn native() -> Capabilities {
    with(Support::Native)
}

fn with(support: Support) -> Capabilities {
    let mut can = Capabilities::default();
    for capability in [
        &mut can.exchange_topic,
        &mut can.exchange_fanout,
        &mut can.exchange_headers,
        &mut can.exchange_to_exchange,
        &mut can.alternate_exchange,
        &mut can.fanout_stored,
        &mut can.topology_registry,
        &mut can.exclusive,
        &mut can.auto_delete,
        &mut can.queue_expires,
        &mut can.delete_conditions,
        &mut can.queue_max_length,
        &mut can.single_active_consumer,
        &mut can.ack_multiple,
        &mut can.nack,
        &mut can.requeue_in_place,
        &mut can.redelivered,
        &mut can.delivery_count,
        &mut can.delivery_limit,
        &mut can.restore_on_close,
        &mut can.prefetch,
        &mut can.prefetch_global,
        &mut can.consumer_cancel_notice,
        &mut can.exclusive_consumer,
        &mut can.consumer_priority,
        &mut can.fair_dispatch,
        &mut can.message_ttl,
        &mut can.queue_ttl,
        &mut can.dead_letter,
        &mut can.delayed,
        &mut can.confirms,
        &mut can.mandatory_returns,
    ] {
        *capability = support;
    }
    can.priority = Some(Priority { levels: u8::MAX, order: PriorityOrder::HighFirst });
    can.ordering = Ordering::Queue;
    can
}
