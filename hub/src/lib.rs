//! The event loop of Kombu for Rust: one thread on [mio] for every transport, timers, callbacks and local tasks.
//!
//! ```
//! use std::time::Duration;
//! use kombu_hub::MioHub;
//!
//! let hub = MioHub::new()?;
//! hub.call_soon(|_| println!("first"));
//! hub.call_later(Duration::from_millis(5), |hub| {
//!     println!("second");
//!     hub.stop();
//! });
//! hub.run_forever()?;
//! # Ok::<(), kombu_core::Error>(())
//! ```
//!
//! Three ways to run the same code: on your own thread, with [`MioHub::run_forever`], [`run_once`](MioHub::run_once) or
//! [`block_on`](MioHub::block_on); on a thread of its own, which core starts through [`HubThreads`] when a connection was
//! registered with no hub; or both, with several hubs.
#![forbid(unsafe_code)]

mod builder;
mod close;
mod contract;
mod descriptor;
mod face;
mod hooks;
mod hub;
mod lane;
mod look_out;
mod park;
mod per_class;
mod poller;
mod report;
mod root;
mod run;
mod shared;
#[cfg(feature = "signal")]
mod signal;
mod slots;
mod sources;
mod state;
mod stats;
mod sync;
mod tasks;
mod thread;
mod timer;
mod timers;
mod turn;
mod watch;

pub use builder::HubBuilder;
pub use hub::MioHub;
pub use poller::MioPoller;
pub use stats::Stats;
pub use tasks::JoinHandle;
pub use thread::HubThreads;
pub use timer::Timer;
