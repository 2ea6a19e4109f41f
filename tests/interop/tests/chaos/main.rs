//! Everything that can go wrong, at random, with real processes: whatever was confirmed is consumed, doubles say so, what was
//! acknowledged is nobody else's to acknowledge, and nothing is left behind.
//!
//! What the processes did is counted from files they write, line by line, so that a killed one has said what it did. The short
//! form runs with all tests; `scripts/chaos` runs it for as long as it is told to. The faults follow from a seed, which is
//! printed; how the processes run does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

mod dice;
mod fault;
mod journal;
mod worker;
mod world;

use std::time::Duration;

use fault::Fault;
use world::World;

/// Python workers on the same queue. They lose what they took when they are killed or their server is, so only Rust is disturbed.
#[test]
fn rust_beside_python_loses_nothing() {
    World::start("beside Python", false, 2).run(&[
        (10, Fault::KillConsumer),
        (2, Fault::KillPublisher),
        (3, Fault::LeaveGracefully),
        (2, Fault::Freeze),
        (2, Fault::Stutter),
        (3, Fault::Cut),
        (2, Fault::CutInTheMiddle),
        (1, Fault::Blackhole),
        (1, Fault::Trickle),
        (2, Fault::ForgetScripts),
    ]);
}

/// A server that keeps what it has confirmed, and is killed all the same.
#[test]
fn nothing_is_lost_with_a_server_that_is_killed() {
    World::start("restarts", true, 0).run(&[
        (8, Fault::RestartServer),
        (6, Fault::KillConsumer),
        (1, Fault::KillPublisher),
        (2, Fault::LeaveGracefully),
        (1, Fault::Freeze),
        (3, Fault::KillClients),
        (2, Fault::Cut),
        (2, Fault::CutInTheMiddle),
        (1, Fault::Blackhole),
        (1, Fault::Trickle),
        (1, Fault::ForgetScripts),
    ]);
}

#[test]
#[ignore = "run by the other tests as a process of its own"]
fn publisher() {
    worker::publish();
}

#[test]
#[ignore = "run by the other tests as a process of its own"]
fn consumer() {
    worker::consume();
}

/// How long the faults last: twelve seconds, or as many as `KOMBU_CHAOS_SECONDS` says.
fn duration() -> Duration {
    let seconds = std::env::var("KOMBU_CHAOS_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(12))
}

/// Says whether this is the long form, which also waits until the dead are forgotten.
fn is_long() -> bool {
    std::env::var_os("KOMBU_CHAOS_SECONDS").is_some()
}

/// What the faults follow from: the time, or what `KOMBU_CHAOS_SEED` says.
fn seed() -> u64 {
    let seed = std::env::var("KOMBU_CHAOS_SEED").ok().map(|text| text.parse().expect("a number"));
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    seed.unwrap_or_else(now)
}
