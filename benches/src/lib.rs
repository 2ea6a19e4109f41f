//! Benchmarks of Kombu for Rust. Never published; `benches/README.md` says how to run them and by which rules they measure.
//!
//! | Program | What it answers |
//! |---|---|
//! | `side_by_side` | how fast we are beside Python Kombu, in the same run |
//! | `peers/` | how fast we are beside other Rust libraries; a workspace of its own |
//! | `count`, `allocations` | how much work one message is: run by `scripts/budget`, which compares it with `budget.json` |
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_in_result,
    clippy::panic_in_result_fn,
    clippy::missing_panics_doc,
    reason = "a benchmark that cannot measure should stop"
)]

#[cfg(feature = "brokers")]
pub mod amqp;
pub mod bodies;
pub mod contest;
pub mod cpu;
pub mod memory;
pub mod null;
pub mod options;
#[cfg(feature = "brokers")]
pub mod python;
#[cfg(feature = "brokers")]
pub mod redis;
pub mod report;
pub mod rig;
pub mod sample;
pub mod workload;
