//! A transport on a hub of its own, used through the traits as core uses it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use kombu_brokers::{PATIENCE, RedisServer, eventually};
use kombu_core::delivery::{Delivery, DeliverySink};
use kombu_core::hub::{HubFactory, HubHandle};
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeDeclare, QueueBind, QueueDeclare, QueueDeclared,
};
use kombu_core::{
    BrokerUrl, Channel, ChannelEvents, Confirm, Confirmation, DeliveryTag, Envelope, Error, ExchangeKind, FieldTable,
    Malformed, Properties, Qos, Result, Returned, Settled, ShortStr, SystemClock, Transport, TransportConfig, registry,
    reply,
};
use kombu_hub::HubThreads;

/// Makes sure that the transport is linked.
pub(crate) fn link() {
    kombu_redis::register();
}

/// A connected transport on a hub thread of its own.
pub(crate) struct Rig {
    pub(crate) handle: HubHandle,
    pub(crate) transport: Arc<dyn Transport>,
}

impl Rig {
    /// Connects to `server`.
    pub(crate) fn new(server: &RedisServer) -> Self {
        Rig::at(&server.url())
    }

    /// Connects to `url`.
    pub(crate) fn at(url: &str) -> Self {
        Rig::try_at(url, FieldTable::new()).unwrap()
    }

    /// Connects to `server` with transport options.
    pub(crate) fn with(server: &RedisServer, options: FieldTable) -> Self {
        Rig::try_at(&server.url(), options).unwrap()
    }

    /// Tries to connect.
    pub(crate) fn try_at(url: &str, options: FieldTable) -> Result<Self> {
        link();
        let mut alternates = BrokerUrl::parse_list(url)?;
        let url = alternates.remove(0);
        let entry = registry::find(url.scheme())?;
        // As core does.
        let mut options = options;
        options.extend(url.query().iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let transport = (entry.make)(TransportConfig { url, alternates, options, clock: Arc::new(SystemClock) })?;
        let handle = HubThreads.dedicated("test-hub")?.io();
        let (sender, registered) = reply::channel();
        let registering = Arc::clone(&transport);
        handle.call_soon(move |hub| sender.send(registering.register_with_event_loop(hub.io())));
        block_on(registered).unwrap()?;
        let rig = Rig { handle, transport };
        let connecting = Arc::clone(&rig.transport);
        rig.run(async move { connecting.connect().await })?;
        Ok(rig)
    }

    /// Runs a future on the hub's thread, as core does, and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        block_on(self.handle.spawn(future)).expect("the hub lives")
    }

    /// Opens a channel.
    pub(crate) fn channel(&self) -> TestChannel {
        let transport = Arc::clone(&self.transport);
        let channel = self.run(async move { transport.channel().await }).unwrap();
        let events = Arc::new(Events::default());
        channel.observe(Arc::clone(&events) as Arc<dyn ChannelEvents>);
        TestChannel { handle: self.handle.clone(), channel, events }
    }

    /// Closes the transport.
    pub(crate) fn close(&self) -> Result<()> {
        let transport = Arc::clone(&self.transport);
        self.run(async move { transport.close().await })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let transport = Arc::clone(&self.transport);
        // A hub that a test has stopped already closes nothing.
        let _ = block_on(self.handle.spawn(async move { transport.close().await }));
        self.handle.stop();
    }
}

/// A channel, with blocking methods.
#[derive(Clone)]
pub(crate) struct TestChannel {
    pub(crate) handle: HubHandle,
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) events: Arc<Events>,
}

impl TestChannel {
    fn run<T, F>(&self, call: impl FnOnce(Arc<dyn Channel>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        block_on(self.handle.spawn(call(Arc::clone(&self.channel)))).expect("the hub lives")
    }

    pub(crate) fn exchange(&self, exchange: &str, kind: ExchangeKind) {
        self.try_exchange(exchange, kind).unwrap();
    }

    pub(crate) fn try_exchange(&self, exchange: &str, kind: ExchangeKind) -> Result<()> {
        self.try_exchange_with(exchange, kind, FieldTable::new())
    }

    /// Declares an exchange that holds messages until they are due, and routes them as a `kind` exchange does then.
    pub(crate) fn delayed_exchange(&self, exchange: &str, kind: &str) {
        let arguments = FieldTable::from([("x-delayed-type", kind)]);
        self.try_exchange_with(exchange, ExchangeKind::Other("x-delayed-message".into()), arguments).unwrap();
    }

    fn try_exchange_with(&self, exchange: &str, kind: ExchangeKind, arguments: FieldTable) -> Result<()> {
        let method = ExchangeDeclare {
            exchange: exchange.into(),
            kind,
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments,
        };
        self.run(|channel| async move { channel.exchange_declare(method).await })
    }

    pub(crate) fn queue(&self, queue: &str) -> QueueDeclared {
        self.declare(QueueDeclare { queue: queue.into(), ..QueueDeclare::default() }).unwrap()
    }

    pub(crate) fn declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        self.run(|channel| async move { channel.queue_declare(method).await })
    }

    pub(crate) fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let method = bind(queue, exchange, key);
        self.run(|channel| async move { channel.queue_bind(method).await }).unwrap();
    }

    pub(crate) fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        let method = bind(queue, exchange, key);
        self.run(|channel| async move { channel.queue_unbind(method).await }).unwrap();
    }

    pub(crate) fn call<T: Send + 'static, F>(&self, call: impl FnOnce(Arc<dyn Channel>) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.run(call)
    }

    pub(crate) fn qos(&self, prefetch_count: u16, global: bool) {
        self.run(|channel| async move { channel.basic_qos(Qos { prefetch_count, global }).await }).unwrap();
    }

    pub(crate) fn consume(&self, queue: &str) -> Inbox {
        self.try_consume(BasicConsume { queue: queue.into(), ..BasicConsume::default() }).unwrap()
    }

    pub(crate) fn try_consume(&self, method: BasicConsume) -> Result<Inbox> {
        let sink = Arc::new(Sink::default());
        let kept = Arc::clone(&sink);
        let tag = self.run(|channel| async move { channel.basic_consume(method, kept).await })?;
        Ok(Inbox { tag, sink })
    }

    pub(crate) fn cancel(&self, inbox: &Inbox) {
        let tag = inbox.tag.clone();
        self.run(|channel| async move { channel.basic_cancel(tag).await }).unwrap();
    }

    pub(crate) fn get(&self, queue: &str) -> Option<Delivery> {
        let method = BasicGet { queue: queue.into(), no_ack: false };
        self.run(|channel| async move { channel.basic_get(method).await }).unwrap()
    }

    pub(crate) fn send(&self, exchange: &str, key: &str, body: impl AsRef<[u8]>) -> Confirm {
        self.channel.basic_publish(BasicPublish::default(), envelope(exchange, key, body))
    }

    /// Publishes with a time-out.
    pub(crate) fn send_within(&self, timeout: Duration, exchange: &str, key: &str, body: impl AsRef<[u8]>) -> Confirm {
        let method = BasicPublish { timeout: Some(timeout), ..BasicPublish::default() };
        self.channel.basic_publish(method, envelope(exchange, key, body))
    }

    pub(crate) fn publish(&self, exchange: &str, key: &str, body: impl AsRef<[u8]>) -> Option<u32> {
        match block_on(self.send(exchange, key, body)).unwrap() {
            Confirmation::Confirmed { queues } => queues,
            other => panic!("not confirmed: {other:?}"),
        }
    }

    pub(crate) fn ack(&self, tag: DeliveryTag) -> Result<()> {
        block_on(self.channel.basic_ack(tag, false))
    }

    pub(crate) fn settle(&self, settled: Settled) -> Result<()> {
        block_on(settled)
    }

    pub(crate) fn close(&self) -> Result<()> {
        self.run(|channel| async move { channel.close().await })
    }
}

fn bind(queue: &str, exchange: &str, key: &str) -> QueueBind {
    QueueBind { queue: queue.into(), exchange: exchange.into(), routing_key: key.into(), arguments: FieldTable::new() }
}

/// Says whether something waits for messages.
pub(crate) fn is_waiting(server: &RedisServer) -> bool {
    let clients = server.command(&["CLIENT", "LIST"]);
    clients.text().lines().any(|line| line.contains(" flags=b "))
}

/// Returns the names of all keys but those that say who consumes, and how much was declared.
pub(crate) fn keys(server: &RedisServer) -> Vec<String> {
    let says_who = |key: &String| {
        key.starts_with("_kombu.rs.consumer")
            || key.starts_with("_kombu.rs.mark.")
            || key == "_kombu.rs.dead"
            || key == "_kombu.rs.history"
    };
    server.keys().into_iter().filter(|key| !says_who(key)).collect()
}

/// Makes a message.
pub(crate) fn envelope(exchange: &str, key: &str, body: impl AsRef<[u8]>) -> Arc<Envelope> {
    prioritised(exchange, key, body, None)
}

/// Makes a message with a priority.
pub(crate) fn prioritised(exchange: &str, key: &str, body: impl AsRef<[u8]>, priority: Option<u8>) -> Arc<Envelope> {
    let mut properties = Properties::default();
    properties.set_content(Some("text/plain".into()), Some("utf-8".into()));
    properties.priority = priority;
    Arc::new(Envelope {
        exchange: exchange.into(),
        routing_key: key.into(),
        properties,
        headers: kombu_core::Headers::empty(),
        body: Bytes::copy_from_slice(body.as_ref()),
    })
}

/// What a consumer got.
#[derive(Default)]
pub(crate) struct Sink {
    deliveries: Mutex<Vec<Delivery>>,
    cancelled: Mutex<Option<Error>>,
}

impl DeliverySink for Sink {
    fn deliver(&self, delivery: Delivery) {
        self.deliveries.lock().unwrap().push(delivery);
    }

    fn cancelled(&self, reason: Error) {
        *self.cancelled.lock().unwrap() = Some(reason);
    }
}

/// A consumer and what it got.
pub(crate) struct Inbox {
    pub(crate) tag: ShortStr,
    sink: Arc<Sink>,
}

impl Inbox {
    /// Waits until at least `count` deliveries are there and takes them all.
    #[track_caller]
    pub(crate) fn take(&self, count: usize) -> Vec<Delivery> {
        self.wait(count);
        std::mem::take(&mut *self.sink.deliveries.lock().unwrap())
    }

    /// Waits until at least `count` deliveries are there.
    #[track_caller]
    pub(crate) fn wait(&self, count: usize) {
        let came = eventually(PATIENCE, || self.len() >= count);
        assert!(came, "{} of {count} deliveries came", self.len());
    }

    /// Returns how many deliveries are there.
    pub(crate) fn len(&self) -> usize {
        self.sink.deliveries.lock().unwrap().len()
    }

    /// Waits until the consumer is cancelled and returns why.
    #[track_caller]
    pub(crate) fn cancelled(&self) -> Error {
        assert!(eventually(PATIENCE, || self.sink.cancelled.lock().unwrap().is_some()), "never cancelled");
        self.sink.cancelled.lock().unwrap().take().unwrap()
    }
}

/// What a channel reported.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) malformed: Mutex<Vec<Malformed>>,
    pub(crate) disturbed: Mutex<Vec<Option<Error>>>,
    pub(crate) settle_failed: Mutex<Vec<Error>>,
    pub(crate) closed: Mutex<Vec<Error>>,
}

impl ChannelEvents for Events {
    fn malformed(&self, malformed: Malformed) {
        self.malformed.lock().unwrap().push(malformed);
    }
    fn returned(&self, _returned: Returned) {}
    fn blocked(&self, _reason: Option<ShortStr>) {}
    fn settle_failed(&self, error: Error) {
        self.settle_failed.lock().unwrap().push(error);
    }
    fn disturbed(&self, error: Option<Error>) {
        self.disturbed.lock().unwrap().push(error);
    }
    fn closed(&self, error: Error) {
        self.closed.lock().unwrap().push(error);
    }
}

/// Returns the bodies as texts.
pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.envelope.body).into_owned()).collect()
}

/// Returns an option table.
pub(crate) fn options<V: Into<kombu_core::Value>, const N: usize>(entries: [(&str, V); N]) -> FieldTable {
    FieldTable::from(entries)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread; a minute at most.
#[track_caller]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let start = std::time::Instant::now();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no answer for a minute");
        std::thread::park_timeout(Duration::from_secs(1));
    }
}
