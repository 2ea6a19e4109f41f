//! The face of a channel.

use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use kombu_core::{
    Channel, ChannelEvents, Confirm, ConsumerTag, Delivery, DeliverySink, DeliveryTag, Envelope, Malformed, Qos,
    Result, Settled, ShortStr,
};

use crate::channel_core::ChannelCore;
use crate::consumer::Consumer;
use crate::error::closed;

/// What core holds of a channel.
pub(crate) struct AmqpChannel(Arc<ChannelCore>);

impl AmqpChannel {
    pub(crate) fn new(core: Arc<ChannelCore>) -> Self {
        AmqpChannel(core)
    }
}

impl Drop for AmqpChannel {
    fn drop(&mut self) {
        let core = Arc::clone(&self.0);
        let handle = core.session.handle.clone();
        // What was settled is sent even if its hub is never turned again.
        core.flush_if_open();
        // Closed already, this does nothing.
        drop(handle.spawn(async move { core.close().await }));
    }
}

#[async_trait]
impl Channel for AmqpChannel {
    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()> {
        self.0.perform("exchange.declare", self.0.client.exchange_declare(method)).await
    }

    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        self.0.perform("exchange.delete", self.0.client.exchange_delete(method)).await
    }

    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        self.0.perform("exchange.bind", self.0.client.exchange_bind(method)).await
    }

    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        self.0.perform("exchange.unbind", self.0.client.exchange_unbind(method)).await
    }

    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        self.0.perform("queue.declare", self.0.client.queue_declare(method)).await
    }

    async fn queue_bind(&self, method: QueueBind) -> Result<()> {
        self.0.perform("queue.bind", self.0.client.queue_bind(method)).await
    }

    async fn queue_unbind(&self, method: QueueBind) -> Result<()> {
        self.0.perform("queue.unbind", self.0.client.queue_unbind(method)).await
    }

    async fn queue_purge(&self, queue: ShortStr) -> Result<u32> {
        self.0.perform("queue.purge", self.0.client.queue_purge(queue)).await
    }

    async fn queue_delete(&self, method: QueueDelete) -> Result<u32> {
        self.0.perform("queue.delete", self.0.client.queue_delete(method)).await
    }

    async fn basic_qos(&self, qos: Qos) -> Result<()> {
        self.0.settles.has_window(qos.prefetch_count);
        self.0.perform("basic.qos", self.0.client.basic_qos(qos)).await
    }

    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        self.0.session.consumes();
        let no_ack = method.no_ack;
        let (tag, incoming) = self.0.perform("basic.consume", self.0.client.basic_consume(method)).await?;
        let consumer = Consumer::new(tag.clone(), sink, incoming, no_ack);
        self.0.consumers().push(Arc::clone(&consumer));
        drop(self.0.session.handle.spawn(consumer.run(Arc::downgrade(&self.0))));
        Ok(tag)
    }

    async fn basic_cancel(&self, consumer_tag: ConsumerTag) -> Result<()> {
        let found = {
            let mut consumers = self.0.consumers();
            consumers.iter().position(|known| known.tag == consumer_tag).map(|index| consumers.swap_remove(index))
        };
        let Some(consumer) = found else { return Ok(()) };
        consumer.end();
        let cancelled = self.0.perform("basic.cancel", self.0.client.basic_cancel(&consumer_tag)).await;
        consumer.finish(&self.0);
        cancelled
    }

    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>> {
        if !method.no_ack {
            self.0.session.consumes();
        }
        let no_ack = method.no_ack;
        let fetched = self.0.perform("basic.get", self.0.client.basic_get(method)).await?;
        self.0.delivered(fetched.as_slice(), no_ack);
        Ok(fetched)
    }

    async fn basic_recover(&self) -> Result<()> {
        self.0.perform("basic.recover", self.0.client.basic_recover()).await?;
        self.0.recovered();
        Ok(())
    }

    fn basic_publish(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        self.0.publisher().publish(method, envelope)
    }

    fn poll_publish_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.0.session.is_closing() {
            return Poll::Ready(Err(closed()));
        }
        if let Some(error) = self.0.session.ended() {
            return Poll::Ready(Err(error));
        }
        self.0.session.backlog.poll_ready(cx).map(Ok)
    }

    fn basic_ack(&self, tag: DeliveryTag, multiple: bool) -> Settled {
        self.0.settle("basic.ack", tag, |core| {
            if multiple { core.settle_in_turn(tag, true, |client| client.ack(tag, true)) } else { core.ack_soon(tag) }
        })
    }

    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        self.0.settle("basic.nack", tag, |core| {
            core.settle_in_turn(tag, multiple, |client| client.nack(tag, multiple, requeue))
        })
    }

    fn set_aside(&self, delivery: &Delivery, queue: &ShortStr, reason: &str) -> Settled {
        self.0.set_aside(delivery, queue, reason)
    }

    async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        self.0.malformed(queue, limit).await
    }

    fn observe(&self, events: Arc<dyn ChannelEvents>) {
        self.0.observe(events);
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
