//! How long one message takes through the transport alone: `basic_publish`, delivery into a sink, `basic_ack`, all through
//! `dyn Channel`. Prints nanoseconds per message: the median of many short interleaved rounds, the best, and the ninth decile. On a
//! busy machine the best is what the code costs, the rest is what others take.
//!
//! Run it with `cargo run --release -p kombu-memory --example throughput`; an argument picks the scenarios whose name holds it.
#![allow(clippy::unwrap_used, clippy::panic_in_result_fn, reason = "a benchmark that cannot go on stops")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use kombu_core::method::{BasicConsume, BasicPublish, ExchangeDeclare, QueueBind, QueueDeclare};
use kombu_core::{
    Channel, Delivery, DeliverySink, DeliveryTag, Envelope, Error, ExchangeKind, FieldTable, Qos, Result, SystemClock,
    TransportConfig,
};

const ROUNDS: usize = 201;
const MESSAGES: u64 = 8_000;

type Scenario = (&'static str, fn(u64) -> f64);

fn main() {
    let scenarios: [Scenario; 7] = [
        ("the measuring itself", measuring),
        ("one thread, direct exchange, ack in turn", |count| one_thread(count, ExchangeKind::Direct, "key", 1)),
        ("one thread, default exchange, ack in turn", |count| one_thread(count, ExchangeKind::Direct, "", 1)),
        ("one thread, topic exchange, ack in turn", |count| one_thread(count, ExchangeKind::Topic, "a.*.#", 1)),
        ("one thread, fanout to 4 queues, per copy", |count| one_thread(count / 4, ExchangeKind::Fanout, "", 4) / 4.0),
        ("one thread, batches of 200", batches),
        ("two threads, publisher and acknowledger", two_threads),
    ];
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let scenarios: Vec<_> = scenarios.into_iter().filter(|(name, _)| name.contains(&wanted)).collect();
    let mut times = vec![Vec::new(); scenarios.len()];
    for _ in 0..ROUNDS {
        for (times, (_, run)) in times.iter_mut().zip(&scenarios) {
            times.push(run(MESSAGES));
        }
    }
    for (mut times, (name, _)) in times.into_iter().zip(scenarios) {
        times.sort_by(f64::total_cmp);
        let (best, median, worst) = (times[0], times[ROUNDS / 2], times[ROUNDS * 9 / 10]);
        let rate = 1e3 / median;
        println!("{name:<45} {median:7.1} ns ({best:.1} to {worst:.1}), {rate:.2} million/s");
    }
}

/// Publishes and acknowledges one message at a time; returns nanoseconds per publish.
fn one_thread(count: u64, kind: ExchangeKind, binding_key: &str, queues: usize) -> f64 {
    let channel = open();
    let names = queues_of(&channel, queues);
    let exchange = if kind == ExchangeKind::Direct && binding_key.is_empty() { "" } else { "bench" };
    if !exchange.is_empty() {
        declare(&channel, exchange, kind, &names, binding_key);
    }
    let routing_key = match binding_key {
        "a.*.#" => "a.b.c".into(),
        "" => names[0].clone(),
        key => key.to_owned(),
    };
    let sink = Arc::new(LastTag::default());
    names.iter().for_each(|queue| consume(&channel, queue, sink.clone()));
    let envelope = Arc::new(message(exchange, &routing_key));
    let start = Instant::now();
    for _ in 0..count {
        let mut confirm = channel.basic_publish(BasicPublish::default(), Arc::clone(&envelope));
        confirm.take_now().unwrap().unwrap();
        let last = sink.0.load(Ordering::Relaxed);
        for tag in last + 1 - queues as u64..=last {
            channel.basic_ack(DeliveryTag(tag), false).take_now().unwrap().unwrap();
        }
    }
    nanoseconds(start, count)
}

/// Does what the scenario of one thread does besides publishing and acknowledging, with the sink called directly.
fn measuring(count: u64) -> f64 {
    let sink: Arc<LastTag> = Arc::default();
    let dynamic: Arc<dyn DeliverySink> = sink.clone();
    let envelope = Arc::new(message("", "orders.0"));
    let start = Instant::now();
    for tag in 1..=count {
        let envelope = Arc::clone(&envelope);
        dynamic.deliver(Delivery { tag: DeliveryTag(tag), redelivered: false, delivery_count: Some(0), envelope });
        assert_eq!(sink.0.load(Ordering::Relaxed), tag);
    }
    nanoseconds(start, count)
}

/// Publishes 200 messages, then acknowledges them one by one.
fn batches(count: u64) -> f64 {
    let channel = open();
    let names = queues_of(&channel, 1);
    let sink = Arc::new(LastTag::default());
    consume(&channel, &names[0], sink);
    let envelope = Arc::new(message("", &names[0]));
    let start = Instant::now();
    let mut tag = 0;
    for _ in 0..count / 200 {
        for _ in 0..200 {
            channel.basic_publish(BasicPublish::default(), Arc::clone(&envelope)).take_now().unwrap().unwrap();
        }
        for _ in 0..200 {
            tag += 1;
            channel.basic_ack(DeliveryTag(tag), false).take_now().unwrap().unwrap();
        }
    }
    nanoseconds(start, count)
}

/// One thread publishes, another takes from the sink's queue and acknowledges.
fn two_threads(count: u64) -> f64 {
    let (publisher, consumer) = (open(), open());
    let names = queues_of(&publisher, 1);
    let sink = Arc::new(Inbox::default());
    consume(&consumer, &names[0], sink.clone());
    let envelope = Arc::new(message("", &names[0]));
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..count {
                publisher.basic_publish(BasicPublish::default(), Arc::clone(&envelope)).take_now().unwrap().unwrap();
            }
        });
        let mut batch = Vec::new();
        let mut seen = 0;
        while seen < count {
            std::mem::swap(&mut batch, &mut sink.0.lock().unwrap());
            if batch.is_empty() {
                std::thread::yield_now();
            }
            seen += batch.len() as u64;
            for delivery in batch.drain(..) {
                consumer.basic_ack(delivery.tag, false).take_now().unwrap().unwrap();
            }
        }
    });
    nanoseconds(start, count)
}

fn nanoseconds(start: Instant, count: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

#[derive(Default)]
struct LastTag(AtomicU64);

impl DeliverySink for LastTag {
    fn deliver(&self, delivery: Delivery) {
        self.0.store(delivery.tag.0, Ordering::Relaxed);
    }

    fn cancelled(&self, _: Error) {}
}

#[derive(Default)]
struct Inbox(Mutex<Vec<Delivery>>);

impl DeliverySink for Inbox {
    fn deliver(&self, delivery: Delivery) {
        self.0.lock().unwrap().push(delivery);
    }

    fn deliver_all(&self, deliveries: &mut Vec<Delivery>) {
        self.0.lock().unwrap().append(deliveries);
    }

    fn cancelled(&self, _: Error) {}
}

fn message(exchange: &str, routing_key: &str) -> Envelope {
    Envelope { exchange: exchange.into(), routing_key: routing_key.into(), ..Envelope::default() }
}

/// A channel of a broker of its own, or of the same one as the call before when nothing was declared there.
fn open() -> Arc<dyn Channel> {
    static TRANSPORT: OnceLock<Arc<dyn kombu_core::Transport>> = OnceLock::new();
    let transport = TRANSPORT.get_or_init(|| {
        let config = TransportConfig {
            url: "memory://throughput".parse().unwrap(),
            alternates: Vec::new(),
            options: FieldTable::new(),
            clock: Arc::new(SystemClock),
        };
        let transport = (kombu_memory::ENTRY.make)(config).unwrap();
        now(transport.connect()).unwrap();
        transport
    });
    now(transport.channel()).unwrap()
}

fn queues_of(channel: &Arc<dyn Channel>, count: usize) -> Vec<String> {
    let declare = |number| {
        let queue = format!("orders.{number}").into();
        let declared = channel.queue_declare(QueueDeclare { queue, auto_delete: true, ..QueueDeclare::default() });
        now(declared).unwrap().queue.to_string()
    };
    (0..count).map(declare).collect()
}

fn declare(channel: &Arc<dyn Channel>, exchange: &str, kind: ExchangeKind, queues: &[String], binding_key: &str) {
    let _ =
        now(channel
            .exchange_delete(kombu_core::method::ExchangeDelete { exchange: exchange.into(), ..Default::default() }));
    now(channel.exchange_declare(ExchangeDeclare {
        exchange: exchange.into(),
        kind,
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new(),
    }))
    .unwrap();
    for queue in queues {
        now(channel.queue_bind(QueueBind {
            queue: queue.as_str().into(),
            exchange: exchange.into(),
            routing_key: binding_key.into(),
            arguments: FieldTable::new(),
        }))
        .unwrap();
    }
}

fn consume(channel: &Arc<dyn Channel>, queue: &str, sink: Arc<dyn DeliverySink>) {
    now(channel.basic_qos(Qos { prefetch_count: 256, global: false })).unwrap();
    now(channel.basic_consume(BasicConsume { queue: queue.into(), ..BasicConsume::default() }, sink)).unwrap();
}

/// The answers of this transport are there at once.
fn now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the answer is not there"),
    }
}
