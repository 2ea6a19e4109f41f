//! The transport of another process: it asks at the desk.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kombu_core::hub::Hub;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDeclared,
    QueueDelete,
};
use kombu_core::{
    BrokerUrl, Capabilities, Channel, ChannelEvents, Confirm, ConsumerTag, Delivery, DeliverySink, DeliveryTag,
    Envelope, Error, ErrorKind, Qos, Result, Settled, ShortStr, Transport,
};

use super::desk::address;
use super::lost;
use crate::world::lock;

/// Says whether this process is one that a check started.
pub(crate) fn is_guest() -> bool {
    std::env::var_os("KOMBU_CONFORMANCE_CHILD").is_some()
}

/// Consumes, which is all that a check's process does.
pub(crate) struct GuestTransport {
    name: String,
    capabilities: Arc<Capabilities>,
    stream: Mutex<Option<UnixStream>>,
}

impl GuestTransport {
    pub(crate) fn new(url: &BrokerUrl, capabilities: Arc<Capabilities>) -> Self {
        GuestTransport { name: url.host().unwrap_or_default().to_owned(), capabilities, stream: Mutex::default() }
    }
}

#[async_trait]
impl Transport for GuestTransport {
    fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.capabilities)
    }

    fn register_with_event_loop(&self, _hub: &dyn Hub) -> Result<()> {
        Ok(())
    }

    async fn connect(&self) -> Result<()> {
        let address = address(std::os::unix::process::parent_id(), &self.name);
        let stream = address.and_then(|address| UnixStream::connect_addr(&address));
        *lock(&self.stream) = Some(stream.map_err(|error| lost(&error.to_string()))?);
        Ok(())
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        let stream = lock(&self.stream).take().ok_or_else(|| lost("one channel is all there is"))?;
        Ok(Arc::new(GuestChannel { stream, window: AtomicU16::new(0) }))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct GuestChannel {
    stream: UnixStream,
    window: AtomicU16,
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "a guest only consumes"))
}

#[async_trait]
impl Channel for GuestChannel {
    async fn exchange_declare(&self, _method: ExchangeDeclare) -> Result<()> {
        unsupported()
    }

    async fn exchange_delete(&self, _method: ExchangeDelete) -> Result<()> {
        unsupported()
    }

    async fn queue_declare(&self, _method: QueueDeclare) -> Result<QueueDeclared> {
        unsupported()
    }

    async fn queue_bind(&self, _method: QueueBind) -> Result<()> {
        unsupported()
    }

    async fn queue_unbind(&self, _method: QueueBind) -> Result<()> {
        unsupported()
    }

    async fn queue_purge(&self, _queue: ShortStr) -> Result<u32> {
        unsupported()
    }

    async fn queue_delete(&self, _method: QueueDelete) -> Result<u32> {
        unsupported()
    }

    async fn basic_qos(&self, qos: Qos) -> Result<()> {
        self.window.store(qos.prefetch_count, Ordering::Relaxed);
        Ok(())
    }

    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        let failed = |error: std::io::Error| lost(&error.to_string());
        let order = format!("{} {}\n", self.window.load(Ordering::Relaxed), method.queue);
        (&self.stream).write_all(order.as_bytes()).map_err(failed)?;
        let lines = BufReader::new(self.stream.try_clone().map_err(failed)?).lines();
        std::thread::spawn(move || {
            for (number, _) in lines.map_while(std::io::Result::ok).enumerate() {
                let tag = DeliveryTag(number as u64 + 1);
                let envelope = Arc::new(Envelope::default());
                sink.deliver(Delivery { tag, redelivered: false, delivery_count: None, envelope });
            }
        });
        Ok("guest".into())
    }

    async fn basic_cancel(&self, _consumer_tag: ConsumerTag) -> Result<()> {
        Ok(())
    }

    async fn basic_get(&self, _method: BasicGet) -> Result<Option<Delivery>> {
        unsupported()
    }

    async fn basic_recover(&self) -> Result<()> {
        unsupported()
    }

    fn basic_publish(&self, _method: BasicPublish, _envelope: Arc<Envelope>) -> Confirm {
        Confirm::ready(unsupported())
    }

    fn basic_ack(&self, _tag: DeliveryTag, _multiple: bool) -> Settled {
        Settled::ready(unsupported())
    }

    fn basic_nack(&self, _tag: DeliveryTag, _multiple: bool, _requeue: bool) -> Settled {
        Settled::ready(unsupported())
    }

    fn observe(&self, _events: Arc<dyn ChannelEvents>) {}

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
