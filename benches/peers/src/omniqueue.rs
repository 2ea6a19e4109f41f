//! omniqueue on its Redis streams: received in batches of 256, its largest read, and acknowledged one by one, as its traits have it.

use std::time::Duration;

use kombu_benches::bodies::{Bodies, Tally};
use kombu_benches::sample::Sample;
use kombu_brokers::RedisServer;
use omniqueue::backends::{RedisBackend, RedisConfig};
use tokio::runtime::Builder;

use crate::fred::pending;

const STREAM: &str = "bench.omniqueue";

/// Consumes and acknowledges `count` messages, until the server has the last ack.
pub(crate) fn consume(server: &RedisServer, count: u64, bodies: &Bodies) -> Sample {
    server.command(&["DEL", STREAM]);
    server.command(&["XGROUP", "CREATE", STREAM, "bench", "0", "MKSTREAM"]);
    let runtime = Builder::new_current_thread().enable_all().build().expect("the system has what a runtime needs");
    let sample = runtime.block_on(async {
        let config = RedisConfig {
            dsn: server.url(),
            max_connections: 8,
            reinsert_on_nack: false,
            queue_key: STREAM.to_owned(),
            delayed_queue_key: String::new(),
            delayed_lock_key: String::new(),
            consumer_group: "bench".to_owned(),
            consumer_name: "bench".to_owned(),
            payload_key: "payload".to_owned(),
            ack_deadline_ms: 60_000,
            dlq_config: None,
            sentinel_config: None,
        };
        let built = RedisBackend::builder(config).build_pair().await;
        let (producer, mut consumer) = built.expect("the server is there");
        for index in 0..count {
            producer.send_raw(&bodies.bytes_at(index).to_vec()).await.expect("it answers");
        }
        let mut tally = Tally::default();
        let begin = Sample::start();
        while tally.count < count {
            let deliveries = consumer.receive_all(256, Duration::from_secs(1)).await.expect("the stream is full");
            for mut delivery in deliveries {
                tally.add(&delivery.take_payload().expect("it has one"));
                assert!(delivery.ack().await.is_ok());
            }
        }
        let sample = begin.end(count);
        assert_eq!(tally, bodies.tally(count));
        sample
    });
    assert_eq!(pending(server, STREAM), 0);
    server.command(&["DEL", STREAM]);
    sample
}
