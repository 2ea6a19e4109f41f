//! A transport whose broker can be taken away: memory behind a switch.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a broken setup should stop the test")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use kombu::core::hub::Hub;
use kombu::core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDeclared,
    QueueDelete,
};
use kombu::core::{
    BrokerUrl, Capabilities, Channel, ChannelEvents, Confirm, ConsumerTag, Delivery, DeliverySink, DeliveryTag,
    Envelope, Qos, Settled, Transport, TransportConfig, TransportEntry, registry,
};
use kombu::{Error, ErrorKind, Result, Scope, ShortStr};

/// The switch of one broker; all transports of one URL hang on it.
#[derive(Default)]
pub(crate) struct Switch {
    is_off: AtomicBool,
    pub(crate) connects: AtomicUsize,
    observers: Mutex<Vec<Arc<dyn ChannelEvents>>>,
}

fn switches() -> &'static Mutex<HashMap<String, Arc<Switch>>> {
    static SWITCHES: OnceLock<Mutex<HashMap<String, Arc<Switch>>>> = OnceLock::new();
    SWITCHES.get_or_init(Mutex::default)
}

impl Switch {
    /// Returns the switch of the broker `flaky://name`.
    pub(crate) fn of(name: &str) -> Arc<Switch> {
        static REGISTERED: OnceLock<()> = OnceLock::new();
        REGISTERED.get_or_init(|| {
            registry::register(TransportEntry {
                name: "flaky",
                schemes: &["flaky"],
                description: "memory behind a switch, for tests",
                make,
            });
        });
        Arc::clone(switches().lock().unwrap().entry(name.to_owned()).or_default())
    }

    /// Takes the broker away: connections die, and none is made.
    pub(crate) fn off(&self) {
        self.is_off.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Gives it back.
    pub(crate) fn on(&self) {
        self.is_off.store(false, Ordering::SeqCst);
    }

    /// Cuts every connection once.
    pub(crate) fn cut(&self) {
        let observers = std::mem::take(&mut *self.observers.lock().unwrap());
        for observer in observers {
            observer.closed(lost());
        }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the switch is off").in_scope(Scope::Connection)
}

fn make(mut config: TransportConfig) -> Result<Arc<dyn Transport>> {
    let name = config.url.host().unwrap_or_default().to_owned();
    config.url = format!("memory://{name}").parse::<BrokerUrl>()?;
    let memory = (registry::find("memory")?.make)(config)?;
    Ok(Arc::new(Flaky { memory, switch: Switch::of(&name), channels: Mutex::default() }))
}

struct Flaky {
    memory: Arc<dyn Transport>,
    switch: Arc<Switch>,
    channels: Mutex<Vec<Arc<dyn Channel>>>,
}

#[async_trait]
impl Transport for Flaky {
    fn capabilities(&self) -> Arc<Capabilities> {
        self.memory.capabilities()
    }

    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        self.memory.register_with_event_loop(hub)
    }

    async fn connect(&self) -> Result<()> {
        if self.switch.is_off.load(Ordering::SeqCst) {
            return Err(lost());
        }
        self.switch.connects.fetch_add(1, Ordering::SeqCst);
        self.memory.connect().await
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        let memory = self.memory.channel().await?;
        self.channels.lock().unwrap().push(Arc::clone(&memory));
        Ok(Arc::new(FlakyChannel { memory, switch: Arc::clone(&self.switch) }))
    }

    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}

struct FlakyChannel {
    memory: Arc<dyn Channel>,
    switch: Arc<Switch>,
}

#[async_trait]
impl Channel for FlakyChannel {
    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()> {
        self.memory.exchange_declare(method).await
    }
    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        self.memory.exchange_delete(method).await
    }
    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        self.memory.queue_declare(method).await
    }
    async fn queue_bind(&self, method: QueueBind) -> Result<()> {
        self.memory.queue_bind(method).await
    }
    async fn queue_unbind(&self, method: QueueBind) -> Result<()> {
        self.memory.queue_unbind(method).await
    }
    async fn queue_purge(&self, queue: ShortStr) -> Result<u32> {
        self.memory.queue_purge(queue).await
    }
    async fn queue_delete(&self, method: QueueDelete) -> Result<u32> {
        self.memory.queue_delete(method).await
    }
    async fn basic_qos(&self, qos: Qos) -> Result<()> {
        self.memory.basic_qos(qos).await
    }
    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        self.memory.basic_consume(method, sink).await
    }
    async fn basic_cancel(&self, consumer_tag: ConsumerTag) -> Result<()> {
        self.memory.basic_cancel(consumer_tag).await
    }
    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>> {
        self.memory.basic_get(method).await
    }
    async fn basic_recover(&self) -> Result<()> {
        self.memory.basic_recover().await
    }
    fn basic_publish(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        self.memory.basic_publish(method, envelope)
    }
    fn basic_ack(&self, tag: DeliveryTag, multiple: bool) -> Settled {
        self.memory.basic_ack(tag, multiple)
    }
    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        self.memory.basic_nack(tag, multiple, requeue)
    }
    fn observe(&self, events: Arc<dyn ChannelEvents>) {
        self.switch.observers.lock().unwrap().push(Arc::clone(&events));
        self.memory.observe(events);
    }
    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}
