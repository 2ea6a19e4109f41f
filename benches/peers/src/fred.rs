//! RustStream's Redis broker on Redis streams, as a service of its own runtime: with `.pipeline()`, which is its quickest, settles
//! leave together; and as it is without.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use kombu_benches::bodies::{Bodies, Tally};
use kombu_benches::sample::{Running, Sample};
use kombu_brokers::RedisServer;
use ruststream::{Broker, ConnectedBroker, OutgoingMessage, Publisher};
use ruststream_fred::stream::prelude::*;
use tokio::runtime::Builder;

const STREAM: &str = "bench.ruststream";

/// The bytes of a delivery, with no codec.
#[derive(Deserialized)]
struct Frame<'a>(&'a [u8]);

/// What came, since the first.
struct Came {
    tally: Tally,
    since: Running,
}

// A handler is a function.
static CAME: Mutex<Option<Came>> = Mutex::new(None);

#[subscriber(RedisStream::new(STREAM).group("bench").start_id(StreamStart::Beginning))]
async fn take(frame: &Frame<'_>) -> HandlerOutcome {
    let mut came = came();
    came.get_or_insert_with(|| Came { tally: Tally::default(), since: Sample::start() }).tally.add(frame.0);
    HandlerOutcome::ack()
}

fn came() -> MutexGuard<'static, Option<Came>> {
    // Nothing panics while the lock is held.
    CAME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count_came() -> u64 {
    came().as_ref().map_or(0, |came| came.tally.count)
}

/// Consumes and acknowledges `count` messages, from the first one until the server has the last ack: its start is not measured, as
/// ours is not.
pub(crate) fn consume(server: &RedisServer, is_pipelined: bool, count: u64, bodies: &Bodies) -> Sample {
    server.command(&["DEL", STREAM]);
    server.command(&["XGROUP", "CREATE", STREAM, "bench", "0", "MKSTREAM"]);
    *came() = None;
    let runtime = Builder::new_current_thread().enable_all().build().expect("the system has what a runtime needs");
    let sample = runtime.block_on(async {
        let connected = RedisBroker::standalone(server.url()).connect().await.expect("the server is there");
        let publisher = connected.publisher();
        for chunk in (0..count).collect::<Vec<_>>().chunks(256) {
            let publish = |index: &u64| publisher.publish(OutgoingMessage::new(STREAM, bodies.bytes_at(*index)), None);
            for published in join_all(chunk.iter().map(publish)).await {
                published.expect("it answers");
            }
        }
        connected.shutdown().await.expect("the server is there");
        let broker = RedisBroker::standalone(server.url());
        let app = RustStream::new(AppInfo::new("bench", "0.1.0"));
        let app = app.with_broker(broker, |b| {
            if is_pipelined {
                b.include(take.pipeline());
            } else {
                b.include(take);
            }
        });
        let running = app.start().await.expect("the server is there");
        while count_came() < count || pending(server, STREAM) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let Came { tally, since } = came().take().expect("some came");
        let sample = since.end(count);
        running.shutdown().await.expect("the server is there");
        assert_eq!(tally, bodies.tally(count));
        sample
    });
    server.command(&["DEL", STREAM]);
    sample
}

/// Returns how many messages of `stream` are delivered and not acknowledged.
pub(crate) fn pending(server: &RedisServer, stream: &str) -> i64 {
    match server.command(&["XPENDING", stream, "bench"]) {
        kombu_brokers::Reply::Array(items) => items.first().map_or(0, kombu_brokers::Reply::int),
        other => unreachable!("XPENDING answers with a list, not {other:?}"),
    }
}
