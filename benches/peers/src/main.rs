//! Prints how fast Kombu for Rust is beside other Rust libraries: same program, same bodies, in turn.
//! `benches/README.md` has the rules.
#![allow(clippy::expect_used, reason = "a benchmark that cannot measure should stop")]

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "redis")]
mod bare;
#[cfg(feature = "redis")]
mod fred;
#[cfg(feature = "amqp")]
mod lapin;
mod memory;
#[cfg(feature = "redis")]
mod omniqueue;
mod options;
#[cfg(feature = "redis")]
mod redis;
mod ruststream;

use std::process::ExitCode;

use kombu_benches::bodies::Bodies;
use options::Options;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let bodies = Bodies::new(options.body_size);
    println!("{} rounds, bodies of {} bytes, every message counted and compared", options.rounds, options.body_size);
    if options.wants("memory") {
        memory::measure(&options, &bodies);
    }
    #[cfg(feature = "redis")]
    if options.wants("redis") {
        redis::measure(&options, &bodies);
    }
    #[cfg(feature = "amqp")]
    if options.wants("amqp") {
        amqp::measure(&options, &bodies);
    }
    ExitCode::SUCCESS
}
