//! On Redis: everybody on one server, each in its own way of keeping what is not acknowledged.

use kombu_benches::bodies::Bodies;
use kombu_benches::contest::{Side, hold};
use kombu_benches::redis::{self as ours, Pace};
use kombu_benches::rig::Via;
use kombu_brokers::RedisServer;

use crate::options::Options;
use crate::{bare, fred, omniqueue};

/// Measures and prints.
pub(crate) fn measure(options: &Options, bodies: &Bodies) {
    let server = RedisServer::start();
    let (rounds, count) = (options.rounds, options.redis);
    let slow = count / 5;
    let envelope = ours::envelope(&server, bodies);
    println!("an envelope has {} bytes", envelope.len());
    hold(
        "Redis: published with confirms, 1024 under way, beside LPUSH of the same envelope, 64 under way",
        rounds,
        &mut [
            Side::new("ours, default exchange", || {
                ours::publish(&server, Via::Default, Pace::Pipelined, count * 2, bodies)
            }),
            Side::new("ours, direct exchange", || {
                ours::publish(&server, Via::Named, Pace::Pipelined, count * 2, bodies)
            }),
            Side::new("redis-benchmark -c 1", || bare::benchmark(&server, 1, &envelope, count * 2)),
            Side::new("redis-benchmark -c 50", || bare::benchmark(&server, 50, &envelope, count * 2)),
        ],
    );
    hold(
        "Redis: published one by one, each after the answer to the one before",
        rounds,
        &mut [
            Side::new("ours, default exchange", || ours::publish(&server, Via::Default, Pace::OneByOne, slow, bodies)),
            Side::new("ours, direct exchange", || ours::publish(&server, Via::Named, Pace::OneByOne, slow, bodies)),
            Side::new("redis-rs 1.8, bare LPUSH", || bare::push(&server, &envelope, slow)),
        ],
    );
    hold(
        "Redis: consumed and acknowledged one by one, default settings",
        rounds,
        &mut [
            Side::new("ours", || ours::consume(&server, count, bodies)),
            Side::new("redis-rs 1.8, BRPOP and Kombu's bookkeeping", || bare::consume(&server, slow, bodies)),
            Side::new("RustStream 0.7.7, .pipeline()", || fred::consume(&server, true, count, bodies)),
            Side::new("RustStream 0.7.7", || fred::consume(&server, false, slow, bodies)),
            Side::new("omniqueue 0.3", || omniqueue::consume(&server, slow, bodies)),
        ],
    );
}
