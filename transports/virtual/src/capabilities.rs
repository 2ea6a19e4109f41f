//! What the layer can do.

use kombu_core::{Capabilities, Ordering, Support};

/// Returns what [`VirtualTransport`](crate::VirtualTransport) gives any store: everything it does is
/// [`Emulated`](Support::Emulated), the rest is [`No`](Support::No).
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
        &mut can.fanout_stored,
        &mut can.topology_registry,
        &mut can.exclusive,
        &mut can.auto_delete,
        &mut can.delete_conditions,
        &mut can.ack_multiple,
        &mut can.nack,
        &mut can.requeue_in_place,
        &mut can.redelivered,
        &mut can.delivery_count,
        &mut can.restore_on_close,
        &mut can.prefetch,
        &mut can.prefetch_global,
        &mut can.consumer_cancel_notice,
        &mut can.exclusive_consumer,
        &mut can.fair_dispatch,
        &mut can.confirms,
        &mut can.mandatory_returns,
    ] {
        *capability = support;
    }
    can.ordering = Ordering::Queue;
    can
}
