//! The atomics [`park`](crate::park) is built on; the loom test puts its own in this place.

pub(crate) use std::sync::atomic;
