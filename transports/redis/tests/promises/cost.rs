//! What a message costs this process. Not a check: `cargo test --release -p kombu-redis --test promises -- --ignored --nocapture`.

use std::time::Instant;

use kombu_brokers::RedisServer;
use kombu_core::{Confirm, ExchangeKind};

use crate::common::{Rig, block_on};

#[test]
#[ignore = "prints figures; run it alone, in release"]
fn cost_of_a_message() {
    const COUNT: usize = 100_000;
    let server = RedisServer::start();
    let rig = Rig::new(&server);
    let channel = rig.channel();
    channel.exchange("e", ExchangeKind::Direct);
    channel.queue("q");
    channel.bind("q", "e", "k");
    let body = vec![b'x'; 200];
    for (exchange, key) in [("", "q"), ("e", "k")] {
        let (start, cpu) = (Instant::now(), cpu_time());
        let mut last: Vec<Confirm> = Vec::new();
        for _ in 0..COUNT {
            if last.len() == 2000 {
                last.drain(..).for_each(|confirm| drop(block_on(confirm).unwrap()));
            }
            last.push(channel.send(exchange, key, &body));
        }
        last.drain(..).for_each(|confirm| drop(block_on(confirm).unwrap()));
        print(&format!("publish to `{exchange}`"), COUNT, start, cpu);
        let inbox = channel.consume("q");
        let (start, cpu) = (Instant::now(), cpu_time());
        let mut got = 0;
        while got < COUNT {
            let deliveries = inbox.take(0);
            if deliveries.is_empty() {
                std::thread::park_timeout(std::time::Duration::from_micros(200));
            }
            got += deliveries.len();
            for delivery in deliveries {
                drop(channel.channel.basic_ack(delivery.tag, false));
            }
        }
        print("consume and ack", COUNT, start, cpu);
        channel.cancel(&inbox);
    }
}

fn print(what: &str, count: usize, start: Instant, cpu: f64) {
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_time() - cpu);
    println!("{what}: {:.0}/s, {:.2} µs CPU per message", count as f64 / wall, cpu * 1e6 / count as f64);
}

/// Seconds of CPU this process has used.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let own = stat.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0);
    let mut total = own;
    if let Ok(tasks) = std::fs::read_dir("/proc/self/task") {
        total = 0.0;
        for task in tasks.flatten() {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            total += stat.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    total / 1e9
}
