//! The conformance suite of Kombu for Rust: the promises of a transport and of a hub, one small check each.
//!
//! A transport's author writes three lines, and knows afterwards what the transport really does:
//!
//! ```no_run
//! // tests/conformance.rs, with `harness = false` in Cargo.toml
//! # mod my_transport { pub const ENTRY: kombu_core::TransportEntry = kombu_core::TransportEntry {
//! #     name: "mine", schemes: &["mine"], description: "", make: |_| unreachable!() }; }
//! fn main() -> std::process::ExitCode {
//!     kombu_conformance::run(my_transport::ENTRY, "KOMBU_TEST_URL")
//! }
//! ```
//!
//! [`Suite`] takes more: a broker to start, hooks that restart it or cut its links, a clock turned by hand, failures that are
//! known. The program works under `cargo test` and `cargo nextest run`:
//!
//! ```text
//! cargo test --test conformance                          all checks
//! cargo test --test conformance -- topic                 those with `topic` in their name; --exact, --list
//! cargo test --test conformance -- --explain topic_table promise, steps, what RabbitMQ does, where it is written
//! cargo test --test conformance -- --report md           also json and tap
//! cargo test --test conformance -- --seed 42 --stress 10 the same random cases, ten times over
//! ```
//!
//! **PASS** is a promise kept, **FAIL** one broken. **SKIP** is one the transport does not make: its capability is not declared,
//! and the suite has seen that core refuses what would need it. **NOT RUN** needs something the harness does not offer, such as
//! a way to restart the broker. The exit code is 0 when every promise that is made is kept, 1 when one is broken or a known
//! failure passes, and 2 when the suite could not run: it is never green by accident. `KOMBU_CONFORMANCE=optional` makes that 2 a
//! loud 0, for machines without the broker.
//!
//! RabbitMQ is the reference: what fails there is a wrong check. Absence is proven by a sentinel that is published behind what
//! must not come, not by waiting; real time appears only as patience.
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod broker;
mod check;
mod checks;
mod child;
mod failure;
mod ground;
mod lane;
mod matcher;
mod need;
mod outcome;
mod probe;
mod published;
mod report;
mod rng;
mod runner;
mod sink;
mod suite;
mod user;

pub use broker::Broker;
pub use check::{Check, Group};
pub use checks::all as checks;
pub use need::Hook;
pub use outcome::{CheckResult, Outcome};
pub use report::{Format, Report};
pub use suite::{Suite, run};
