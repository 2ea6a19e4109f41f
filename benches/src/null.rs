//! A transport that does nothing: what is left is the cost of core and hub.
//!
//! `null://` hands each published message to the only consumer at once and forgets every answer. Queues, exchanges and windows
//! do not exist. It breaks most promises of a transport; nothing but a benchmark may use it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use kombu::Qos;
use kombu_core::delivery::{ConsumerTag, Delivery, DeliverySink, DeliveryTag};
use kombu_core::hub::Hub;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDeclared,
    QueueDelete,
};
use kombu_core::{
    Capabilities, Channel, ChannelEvents, Confirm, Confirmation, Envelope, Result, Settled, ShortStr, Support,
    Transport, TransportConfig, TransportEntry, registry,
};

/// Makes `null://` known to this process.
pub fn register() {
    registry::register(TransportEntry {
        name: "null",
        schemes: &["null"],
        description: "nothing, for benchmarks of everything else",
        make: |_: TransportConfig| Ok(Arc::new(NullTransport::default())),
    });
}

#[derive(Default)]
struct NullTransport(Arc<Consumers>);

/// The sink of the only consumer, shared by all channels.
#[derive(Default)]
struct Consumers {
    sink: Mutex<Option<Arc<dyn DeliverySink>>>,
    last_tag: AtomicU64,
}

#[async_trait]
impl Transport for NullTransport {
    fn capabilities(&self) -> Arc<Capabilities> {
        // What every broker does, so that core looks no closer at a message than it does for those.
        static CAN: LazyLock<Arc<Capabilities>> = LazyLock::new(|| {
            let mut can = Capabilities::default();
            (can.message_ttl, can.prefetch) = (Support::Native, Support::Native);
            Arc::new(can)
        });
        Arc::clone(&CAN)
    }

    fn register_with_event_loop(&self, _hub: &dyn Hub) -> Result<()> {
        Ok(())
    }

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        Ok(Arc::new(NullChannel(Arc::clone(&self.0))))
    }

    async fn close(&self) -> Result<()> {
        self.0.sink.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}

struct NullChannel(Arc<Consumers>);

#[async_trait]
impl Channel for NullChannel {
    async fn exchange_declare(&self, _method: ExchangeDeclare) -> Result<()> {
        Ok(())
    }

    async fn exchange_delete(&self, _method: ExchangeDelete) -> Result<()> {
        Ok(())
    }

    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        Ok(QueueDeclared { queue: method.queue, ..QueueDeclared::default() })
    }

    async fn queue_bind(&self, _method: QueueBind) -> Result<()> {
        Ok(())
    }

    async fn queue_unbind(&self, _method: QueueBind) -> Result<()> {
        Ok(())
    }

    async fn queue_purge(&self, _queue: ShortStr) -> Result<u32> {
        Ok(0)
    }

    async fn queue_delete(&self, _method: QueueDelete) -> Result<u32> {
        Ok(0)
    }

    async fn basic_qos(&self, _qos: Qos) -> Result<()> {
        Ok(())
    }

    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        *self.0.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
        Ok(method.consumer_tag)
    }

    async fn basic_cancel(&self, _consumer_tag: ConsumerTag) -> Result<()> {
        self.0.sink.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    async fn basic_get(&self, _method: BasicGet) -> Result<Option<Delivery>> {
        Ok(None)
    }

    async fn basic_recover(&self) -> Result<()> {
        Ok(())
    }

    fn basic_publish(&self, _method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        let tag = DeliveryTag(self.0.last_tag.fetch_add(1, Ordering::Relaxed) + 1);
        let sink = self.0.sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sink) = sink {
            sink.deliver(Delivery { tag, redelivered: false, delivery_count: None, envelope });
        }
        Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(1) }))
    }

    fn basic_ack(&self, _tag: DeliveryTag, _multiple: bool) -> Settled {
        Settled::ready(Ok(()))
    }

    fn basic_nack(&self, _tag: DeliveryTag, _multiple: bool, _requeue: bool) -> Settled {
        Settled::ready(Ok(()))
    }

    fn observe(&self, _events: Arc<dyn ChannelEvents>) {}

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
