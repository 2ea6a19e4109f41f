//! RustStream's broker in memory, driven by hand: its publisher, its subscription's stream and its messages' `ack`, with no
//! runtime of its own above them. That is its quickest documented way.
//!
//! Its broker keeps the buffer it is handed, so each publish hands over one of its own, made from the bytes of the body.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use futures_util::{FutureExt, Stream, StreamExt};
use kombu_benches::bodies::{Bodies, Tally};
use kombu_benches::memory::{BATCH, LEAD};
use kombu_benches::sample::Sample;
use ruststream::memory::{MemoryBroker, MemoryPublisher};
use ruststream::{Broker, ConnectedBroker, IncomingMessage, OutgoingMessage, Publisher, Subscribe, Subscriber};
use tokio::runtime::Builder;
use tokio::task::coop::unconstrained;

const NAME: &str = "bench.queue";

/// As [`kombu_benches::memory::one_thread`]: a batch is published, then it is consumed and acknowledged, and again.
pub(crate) fn one_thread(count: u64, bodies: &Bodies) -> Sample {
    run(async {
        let connected = MemoryBroker::new().connect().await.expect("the broker is in this process");
        let publisher = connected.publisher();
        let mut subscriber = connected.subscribe(NAME).await.expect("the broker is in this process");
        let mut tally = Tally::default();
        let begin = Sample::start();
        {
            let mut stream = pin!(subscriber.stream());
            let mut published = 0;
            while published < count {
                for _ in 0..BATCH.min(count - published) {
                    publish(&publisher, published, bodies);
                    published += 1;
                }
                while tally.count < published {
                    consume(&mut stream, &mut tally).await;
                }
            }
        }
        let sample = begin.end(count);
        assert_eq!(tally, bodies.tally(count));
        connected.shutdown().await.expect("the broker is in this process");
        sample
    })
}

/// As [`kombu_benches::memory::two_threads`]: a second thread publishes, no further ahead than ours.
pub(crate) fn two_threads(count: u64, bodies: &Bodies) -> Sample {
    run(async {
        let connected = MemoryBroker::new().connect().await.expect("the broker is in this process");
        let mut subscriber = connected.subscribe(NAME).await.expect("the broker is in this process");
        let start = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let thread = {
            let (start, received, bodies) = (Arc::clone(&start), Arc::clone(&received), bodies.clone());
            let publisher = connected.publisher();
            thread::spawn(move || {
                while !start.load(Ordering::Acquire) {
                    thread::park();
                }
                for index in 0..count {
                    while index - received.load(Ordering::Acquire) >= LEAD {
                        thread::yield_now();
                    }
                    publish(&publisher, index, &bodies);
                }
            })
        };
        let mut tally = Tally::default();
        let begin = Sample::start();
        start.store(true, Ordering::Release);
        thread.thread().unpark();
        {
            let mut stream = pin!(subscriber.stream());
            while tally.count < count {
                consume(&mut stream, &mut tally).await;
                received.store(tally.count, Ordering::Release);
            }
        }
        let sample = begin.end(count);
        assert!(thread.join().is_ok());
        assert_eq!(tally, bodies.tally(count));
        connected.shutdown().await.expect("the broker is in this process");
        sample
    })
}

#[inline]
fn publish(publisher: &MemoryPublisher, index: u64, bodies: &Bodies) {
    let message = OutgoingMessage::new(NAME, bodies.bytes_at(index));
    let published = publisher.publish(message, None).now_or_never();
    published.expect("it stores at once").expect("the broker is open");
}

#[inline]
async fn consume<M, E>(stream: &mut (impl Stream<Item = Result<M, E>> + Unpin), tally: &mut Tally)
where
    M: IncomingMessage,
    E: std::fmt::Debug,
{
    let message = stream.next().await.expect("the subscription goes on").expect("it cannot fail");
    tally.add(message.payload());
    message.ack().await.expect("the broker is open");
}

/// Runs `work` on this thread's runtime, without tokio's count of polls, after which it would look at other tasks.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().build().expect("the system gives a runtime what it needs");
    runtime.block_on(unconstrained(work))
}
