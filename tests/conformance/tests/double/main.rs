//! memory is a true double of RabbitMQ: random operations get the same answers and the same deliveries on both.
//!
//! The seed is printed; `KOMBU_DOUBLE_SEED=n` runs it again, `KOMBU_DOUBLE_ROUNDS=n` runs more, `KOMBU_DOUBLE_VERBOSE=1` tells
//! of each operation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    reason = "a test fails by panicking"
)]

mod operation;
mod side;

use std::time::{Duration, Instant};

use kombu_brokers::RabbitServer;

use self::operation::Rng;
use self::side::{PATIENCE, Side};

const OPERATIONS: usize = 120;

#[test]
fn memory_answers_as_rabbitmq_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: u64 = number("KOMBU_DOUBLE_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 7919);
    let rounds = number("KOMBU_DOUBLE_ROUNDS").unwrap_or(6);
    println!("seed {seed}, {rounds} rounds of {OPERATIONS} operations");
    kombu_memory::register();
    kombu_amqp::register();
    let server = RabbitServer::start();
    for round in 0..rounds {
        let seed = seed.wrapping_add(round).max(1);
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let prefix = format!("double-{}-{round}", std::process::id());
        let mut memory = Side::new("memory", &format!("memory://{prefix}"), &prefix);
        let mut rabbit = Side::new("RabbitMQ", &server.url(), &prefix);
        let mut story = Vec::new();
        for _ in 0..OPERATIONS {
            let operation = rng.operation();
            if std::env::var("KOMBU_DOUBLE_VERBOSE").is_ok() {
                println!("{operation:?}");
            }
            let answers = [memory.perform(&operation), rabbit.perform(&operation)];
            story.push(format!("{operation:?} -> {}", answers[0]));
            let told = story.join("\n  ");
            assert_eq!(
                answers[0], answers[1],
                "{} and {} disagree about {operation:?} (KOMBU_DOUBLE_SEED={seed}):\n  {told}",
                memory.name, rabbit.name
            );
            if operation.is_lazy() || answers[0].contains("Channel") {
                agree(&memory, &rabbit, seed, &told);
            }
        }
        memory.clean_up();
        rabbit.clean_up();
    }
}

/// Waits until both have the same messages ready.
fn agree(memory: &Side, rabbit: &Side, seed: u64, told: &str) {
    let (want, end) = (memory.counts(), Instant::now() + PATIENCE);
    loop {
        let got = rabbit.counts();
        if got == want {
            return;
        }
        assert!(
            Instant::now() < end,
            "ready messages: {want:?} on memory, {got:?} on RabbitMQ (KOMBU_DOUBLE_SEED={seed}):\n  {told}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
