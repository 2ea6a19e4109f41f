//! What the tests share: a broker of their own, sinks that collect, and names for the usual calls.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeDeclare, QueueBind, QueueDeclare, QueueDeclared, QueueDelete,
};
use kombu_core::{
    BrokerUrl, Channel, ChannelEvents, Clock, Confirmation, Delivery, DeliverySink, DeliveryTag, Envelope, Error,
    ExchangeKind, FieldTable, Malformed, ManualClock, Qos, Result, Returned, ShortStr, SystemClock, Transport,
    TransportConfig, Value,
};
use kombu_memory as _;

/// A namespace nobody else in this process has.
pub(crate) struct Broker(String);

/// A broker whose time is turned by hand.
pub(crate) fn manual() -> (Broker, ManualClock) {
    let (broker, clock) = (Broker::new(), ManualClock::new());
    drop(connect_at(&broker.0, Arc::new(clock.clone())));
    (broker, clock)
}

impl Broker {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Broker(format!("memory://test-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn connect(&self) -> Arc<dyn Transport> {
        connect(&self.0)
    }

    /// Opens a channel on a connection of its own.
    pub(crate) fn channel(&self) -> Lane {
        let transport = self.connect();
        Lane(wait(transport.channel()).unwrap())
    }
}

pub(crate) fn connect(url: &str) -> Arc<dyn Transport> {
    connect_at(url, Arc::new(SystemClock))
}

/// Connects with a clock, which is the broker's if it is the first connection.
pub(crate) fn connect_at(url: &str, clock: Arc<dyn Clock>) -> Arc<dyn Transport> {
    let url: BrokerUrl = url.parse().unwrap();
    let options = url.query().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = TransportConfig { url, alternates: Vec::new(), options, clock };
    let transport = (kombu_core::registry::find("memory").unwrap().make)(config).unwrap();
    wait(transport.connect()).unwrap();
    transport
}

/// Blocks until a future is done.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

/// A channel with short names for what tests do all the time.
#[derive(Clone)]
pub(crate) struct Lane(pub(crate) Arc<dyn Channel>);

impl Lane {
    pub(crate) fn exchange(&self, name: &str, kind: ExchangeKind) {
        wait(self.0.exchange_declare(exchange(name, kind))).unwrap();
    }

    /// Declares a queue with arguments.
    pub(crate) fn queue_with<const N: usize>(&self, name: &str, arguments: [(&str, Value); N]) -> QueueDeclared {
        let method = QueueDeclare { arguments: FieldTable::from(arguments), ..queue(name) };
        wait(self.0.queue_declare(method)).unwrap()
    }

    /// Publishes to a queue what `change` makes of an empty message.
    pub(crate) fn send(&self, queue: &str, body: &str, change: impl FnOnce(&mut Envelope)) -> Result<Confirmation> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut envelope = Envelope { routing_key: queue.into(), body, ..Envelope::default() };
        change(&mut envelope);
        self.0.basic_publish(BasicPublish::default(), Arc::new(envelope)).take_now().unwrap()
    }

    pub(crate) fn reject(&self, tag: DeliveryTag) {
        self.0.basic_reject(tag, false).take_now().unwrap().unwrap();
    }

    pub(crate) fn queue(&self, name: &str) -> QueueDeclared {
        wait(self.0.queue_declare(queue(name))).unwrap()
    }

    pub(crate) fn bind(&self, queue: &str, exchange: &str, routing_key: &str) {
        wait(self.0.queue_bind(binding(queue, exchange, routing_key))).unwrap();
    }

    pub(crate) fn try_publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &str,
        mandatory: bool,
    ) -> Result<Confirmation> {
        let envelope = Arc::new(Envelope {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            ..Envelope::default()
        });
        self.0.basic_publish(BasicPublish { mandatory, timeout: None }, envelope).take_now().unwrap()
    }

    /// Publishes and returns how many queues got it.
    pub(crate) fn publish(&self, exchange: &str, routing_key: &str, body: &str) -> u32 {
        match self.try_publish(exchange, routing_key, body, false).unwrap() {
            Confirmation::Confirmed { queues: Some(queues) } => queues,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes every number of `range` to a queue.
    pub(crate) fn fill(&self, queue: &str, range: std::ops::Range<u32>) {
        range.for_each(|number| assert_eq!(self.publish("", queue, &number.to_string()), 1));
    }

    pub(crate) fn get(&self, queue: &str) -> Option<Delivery> {
        wait(self.0.basic_get(BasicGet { queue: queue.into(), no_ack: false })).unwrap()
    }

    /// Takes everything ready in a queue and returns the bodies.
    pub(crate) fn drain(&self, queue: &str) -> Vec<String> {
        let next = || wait(self.0.basic_get(BasicGet { queue: queue.into(), no_ack: true })).unwrap();
        std::iter::from_fn(next).map(|delivery| body(&delivery)).collect()
    }

    pub(crate) fn ready(&self, queue: &str) -> u32 {
        let method = QueueDeclare { queue: queue.into(), passive: true, ..QueueDeclare::default() };
        wait(self.0.queue_declare(method)).unwrap().message_count
    }

    pub(crate) fn qos(&self, prefetch_count: u16, global: bool) {
        wait(self.0.basic_qos(Qos { prefetch_count, global })).unwrap();
    }

    pub(crate) fn consume(&self, queue: &str) -> Arc<Collect> {
        let sink = Arc::new(Collect::default());
        self.consume_into(queue, sink.clone());
        sink
    }

    pub(crate) fn consume_into(&self, queue: &str, sink: Arc<dyn DeliverySink>) -> ShortStr {
        self.try_consume(BasicConsume { queue: queue.into(), ..BasicConsume::default() }, sink).unwrap()
    }

    pub(crate) fn try_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ShortStr> {
        wait(self.0.basic_consume(method, sink))
    }

    pub(crate) fn ack(&self, tag: DeliveryTag) {
        self.0.basic_ack(tag, false).take_now().unwrap().unwrap();
    }

    pub(crate) fn requeue(&self, tag: DeliveryTag) {
        self.0.basic_reject(tag, true).take_now().unwrap().unwrap();
    }

    pub(crate) fn delete(&self, queue: &str) -> Result<u32> {
        wait(self.0.queue_delete(QueueDelete { queue: queue.into(), ..QueueDelete::default() }))
    }

    pub(crate) fn close(&self) {
        wait(self.0.close()).unwrap();
    }
}

pub(crate) fn exchange(name: &str, kind: ExchangeKind) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: name.into(),
        kind,
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new(),
    }
}

pub(crate) fn queue(name: &str) -> QueueDeclare {
    QueueDeclare { queue: name.into(), ..QueueDeclare::default() }
}

pub(crate) fn binding(queue: &str, exchange: &str, routing_key: &str) -> QueueBind {
    QueueBind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        arguments: FieldTable::new(),
    }
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.envelope.body.to_vec()).unwrap()
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(body).collect()
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// A sink that keeps what it gets.
#[derive(Default)]
pub(crate) struct Collect {
    deliveries: Mutex<Vec<Delivery>>,
    cancelled: Mutex<Vec<Error>>,
}

impl Collect {
    pub(crate) fn len(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }

    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries.lock().unwrap())
    }

    pub(crate) fn take_bodies(&self) -> Vec<String> {
        bodies(&self.take())
    }

    pub(crate) fn cancelled(&self) -> Vec<Error> {
        std::mem::take(&mut self.cancelled.lock().unwrap())
    }
}

impl DeliverySink for Collect {
    fn deliver(&self, delivery: Delivery) {
        self.deliveries.lock().unwrap().push(delivery);
    }

    fn cancelled(&self, reason: Error) {
        self.cancelled.lock().unwrap().push(reason);
    }
}

/// An observer that keeps what it hears, as text.
#[derive(Default)]
pub(crate) struct Hear(Mutex<Vec<String>>);

impl Hear {
    pub(crate) fn on(lane: &Lane) -> Arc<Self> {
        let hear = Arc::new(Hear::default());
        lane.0.observe(hear.clone());
        hear
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl ChannelEvents for Hear {
    fn malformed(&self, malformed: Malformed) {
        self.note(format!("malformed {}", malformed.queue));
    }

    fn returned(&self, returned: Returned) {
        self.note(format!("returned {} {}", returned.code, returned.text));
    }

    fn blocked(&self, reason: Option<ShortStr>) {
        self.note(format!("blocked {reason:?}"));
    }

    fn settle_failed(&self, error: Error) {
        self.note(format!("settle failed {:?}", error.kind()));
    }

    fn disturbed(&self, error: Option<Error>) {
        self.note(format!("disturbed {error:?}"));
    }

    fn closed(&self, error: Error) {
        self.note(format!("closed {:?}", error.kind()));
    }
}
