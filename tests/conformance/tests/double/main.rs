//! memory is a true double of RabbitMQ: random operations get the same answers and the same deliveries on both.
//!
//! The seed is printed; `KOMBU_DOUBLE_SEED=n` runs it again, `KOMBU_DOUBLE_ROUNDS=n` runs more, `KOMBU_DOUBLE_VERBOSE=1` tells
//! of each operation. A story that they answer differently is shortened before it is shown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    reason = "a test fails by panicking"
)]

mod entities;
mod lane;
mod link;
mod operation;
mod side;
mod story;

use kombu_brokers::RabbitServer;

use self::operation::Rng;

const OPERATIONS: usize = 160;

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
        let seed = seed.wrapping_add(round);
        let story = Rng::new(seed).story(OPERATIONS);
        let prefix = format!("double-{}-{round}", std::process::id());
        if let Err(why) = story::tell(&server.url(), &prefix, &story) {
            let shorter = story::shortened(&server.url(), &prefix, &story);
            let (count, why) = shorter.map_or((story.len(), why), |(shorter, why)| (shorter.len(), why));
            panic!("memory and RabbitMQ differ (KOMBU_DOUBLE_SEED={seed}, shortened to {count} operations):\n  {why}");
        }
    }
}
