//! One AMQP channel through lapin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use kombu_core::method::{
    BasicConsume, BasicGet, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDeclared,
    QueueDelete,
};
use kombu_core::{
    ConsumerTag, Delivery, DeliveryTag, Envelope, Error, ErrorKind, ExchangeKind, FieldTable, Qos, Result, Returned,
    ShortStr, Value,
};
use lapin::message::BasicReturnMessage;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, BasicRecoverOptions, ChannelFlowOptions, ConfirmSelectOptions, ExchangeBindOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, ExchangeUnbindOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};

use super::table::short;
use super::{error, properties, table};
use crate::client::{ClientChannel, Flight, Incoming, Landed};
use crate::transport::MAX_BODY;

/// A channel of a lapin connection.
pub(super) struct LapinChannel {
    channel: Arc<lapin::Channel>,
    /// The largest frame that both ends take, in bytes.
    frame_max: usize,
    /// How many publishes were prepared.
    prepared: AtomicU64,
    /// The last of them that is known to have been written.
    departed: Arc<AtomicU64>,
    /// Something was settled, which the broker may refuse without having been asked anything.
    has_settled: AtomicBool,
}

impl LapinChannel {
    pub(super) fn new(channel: lapin::Channel, frame_max: u32) -> Self {
        // None at all is announced as 0.
        let frame_max = if frame_max == 0 { usize::MAX } else { usize::try_from(frame_max).unwrap_or(usize::MAX) };
        LapinChannel {
            channel: Arc::new(channel),
            frame_max,
            prepared: AtomicU64::new(0),
            departed: Arc::default(),
            has_settled: AtomicBool::new(false),
        }
    }

    /// Returns the arguments of a method, which goes into one frame.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when it would not, for which the broker would end the connection; `Encode`.
    fn arguments(&self, table: &FieldTable) -> Result<lapin::types::FieldTable> {
        if !table.is_empty() {
            self.fits("the arguments", table::size(table), BESIDE_ARGUMENTS)?;
        }
        table::write(table)
    }

    /// Refuses what takes more than a frame, together with what is in the frame `beside` it.
    fn fits(&self, what: &'static str, size: usize, beside: usize) -> Result<()> {
        let room = self.frame_max.saturating_sub(beside);
        if size <= room {
            return Ok(());
        }
        let frame_max = self.frame_max;
        let message =
            format!("{what} take {size} bytes; one frame has room for {room}, as `frame_max` is {frame_max} here");
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }
}

#[async_trait]
impl ClientChannel for LapinChannel {
    fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()> {
        let options = ExchangeDeclareOptions {
            passive: method.passive,
            durable: method.durable,
            auto_delete: method.auto_delete,
            internal: method.internal,
            nowait: false,
        };
        let name = short(&method.exchange, "the exchange's name")?;
        short(method.kind.as_str(), "the exchange's type")?;
        let declared =
            self.channel.exchange_declare(name, kind(&method.kind), options, self.arguments(&method.arguments)?);
        answered(declared.await)
    }

    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        let options = ExchangeDeleteOptions { if_unused: method.if_unused, nowait: false };
        answered(self.channel.exchange_delete(short(&method.exchange, "the exchange's name")?, options).await)
    }

    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        let bound = self.channel.exchange_bind(
            short(&method.destination, "the destination's name")?,
            short(&method.source, "the source's name")?,
            short(&method.routing_key, "the binding key")?,
            ExchangeBindOptions { nowait: false },
            self.arguments(&method.arguments)?,
        );
        answered(bound.await)
    }

    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        let unbound = self.channel.exchange_unbind(
            short(&method.destination, "the destination's name")?,
            short(&method.source, "the source's name")?,
            short(&method.routing_key, "the binding key")?,
            ExchangeUnbindOptions { nowait: false },
            self.arguments(&method.arguments)?,
        );
        answered(unbound.await)
    }

    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        let options = QueueDeclareOptions {
            passive: method.passive,
            durable: method.durable,
            exclusive: method.exclusive,
            auto_delete: method.auto_delete,
            nowait: false,
        };
        let name = short(&method.queue, "the queue's name")?;
        let declared = answered(self.channel.queue_declare(name, options, self.arguments(&method.arguments)?).await)?;
        Ok(QueueDeclared {
            queue: ShortStr::from(declared.name().as_str()),
            message_count: declared.message_count(),
            consumer_count: declared.consumer_count(),
        })
    }

    async fn queue_bind(&self, method: QueueBind) -> Result<()> {
        let bound = self.channel.queue_bind(
            short(&method.queue, "the queue's name")?,
            short(&method.exchange, "the exchange's name")?,
            short(&method.routing_key, "the binding key")?,
            QueueBindOptions { nowait: false },
            self.arguments(&method.arguments)?,
        );
        answered(bound.await)
    }

    async fn queue_unbind(&self, method: QueueBind) -> Result<()> {
        let unbound = self.channel.queue_unbind(
            short(&method.queue, "the queue's name")?,
            short(&method.exchange, "the exchange's name")?,
            short(&method.routing_key, "the binding key")?,
            self.arguments(&method.arguments)?,
        );
        answered(unbound.await)
    }

    async fn queue_purge(&self, queue: ShortStr) -> Result<u32> {
        answered(
            self.channel.queue_purge(short(&queue, "the queue's name")?, QueuePurgeOptions { nowait: false }).await,
        )
    }

    async fn queue_delete(&self, method: QueueDelete) -> Result<u32> {
        let options = QueueDeleteOptions { if_unused: method.if_unused, if_empty: method.if_empty, nowait: false };
        answered(self.channel.queue_delete(short(&method.queue, "the queue's name")?, options).await)
    }

    async fn basic_qos(&self, qos: Qos) -> Result<()> {
        answered(self.channel.basic_qos(qos.prefetch_count, BasicQosOptions { global: qos.global }).await)
    }

    async fn basic_consume(&self, method: BasicConsume) -> Result<(ConsumerTag, Incoming)> {
        let options =
            BasicConsumeOptions { no_local: false, no_ack: method.no_ack, exclusive: method.exclusive, nowait: false };
        let consuming = self.channel.basic_consume(
            short(&method.queue, "the queue's name")?,
            short(&method.consumer_tag, "the consumer tag")?,
            options,
            self.arguments(&method.arguments)?,
        );
        let consumer = answered(consuming.await)?;
        let tag = ShortStr::from(consumer.tag().as_str());
        let incoming = consumer.map(|delivery| match delivery {
            Ok(delivery) => Ok(read_delivery(delivery)),
            Err(error) => Err(error::read(&error)),
        });
        Ok((tag, incoming.boxed()))
    }

    async fn basic_cancel(&self, consumer_tag: &ConsumerTag) -> Result<()> {
        let tag = short(consumer_tag, "the consumer tag")?;
        answered(self.channel.basic_cancel(tag, BasicCancelOptions { nowait: false }).await)
    }

    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>> {
        let queue = short(&method.queue, "the queue's name")?;
        let fetched = answered(self.channel.basic_get(queue, BasicGetOptions { no_ack: method.no_ack }).await)?;
        Ok(fetched.map(|message| read_delivery(message.delivery)))
    }

    async fn basic_recover(&self) -> Result<()> {
        answered(self.channel.basic_recover(BasicRecoverOptions { requeue: true }).await)
    }

    async fn confirm_select(&self) -> Result<()> {
        answered(self.channel.confirm_select(ConfirmSelectOptions { nowait: false }).await)
    }

    async fn close(&self) -> Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        // The broker answers our close of a channel that it closes at that moment as well; lapin, which has forgotten the
        // channel by then, ends the whole connection over that. After an answer it has nothing left to refuse.
        if self.has_settled.load(Ordering::Acquire) {
            answered(self.channel.channel_flow(ChannelFlowOptions { active: true }).await)?;
        }
        answered(self.channel.close(200, "OK".into()).await)
    }

    fn publish(&self, mandatory: bool, envelope: &Arc<Envelope>) -> Result<Flight> {
        let exchange = short(&envelope.exchange, "the exchange's name")?;
        let routing_key = short(&envelope.routing_key, "the routing key")?;
        let size = u64::try_from(envelope.body.len()).unwrap_or(u64::MAX);
        if size > MAX_BODY {
            let message = format!("the body takes {size} bytes; RabbitMQ allows {MAX_BODY} at the most");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if !envelope.headers.is_empty() {
            self.fits("headers and properties", properties::size(envelope), FRAME)?;
        }
        let properties = properties::write(envelope)?;
        let (channel, envelope, departed) =
            (Arc::clone(&self.channel), Arc::clone(envelope), Arc::clone(&self.departed));
        let number = self.prepared.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Box::pin(async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            let published = channel.basic_publish(exchange, routing_key, options, &envelope.body, properties);
            let confirm = answered(published.await)?;
            departed.fetch_max(number, Ordering::Release);
            let confirmation = answered(confirm.await)?;
            let is_nacked = confirmation.is_nack();
            let returned = confirmation.take_message().map(|message| Box::new(read_returned(message)));
            Ok(Landed { is_nacked, returned })
        }))
    }

    fn departed(&self) -> u64 {
        self.departed.load(Ordering::Acquire)
    }

    fn ack(&self, tag: DeliveryTag, multiple: bool) -> Result<()> {
        self.has_settled.store(true, Ordering::Release);
        queued(self.channel.basic_ack(tag.0, BasicAckOptions { multiple }).now_or_never())
    }

    fn nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Result<()> {
        self.has_settled.store(true, Ordering::Release);
        queued(self.channel.basic_nack(tag.0, BasicNackOptions { multiple, requeue }).now_or_never())
    }
}

/// What frames a frame: type, channel, length, end.
const FRAME: usize = 8;
/// What may be in a frame beside a method's arguments: four names of 255 bytes, numbers, the frame itself.
const BESIDE_ARGUMENTS: usize = 1100;

fn answered<T>(result: lapin::Result<T>) -> Result<T> {
    result.map_err(|error| error::read(&error))
}

/// The frame is queued at the first poll; what follows only says when it was written.
fn queued(written: Option<lapin::Result<()>>) -> Result<()> {
    answered(written.unwrap_or(Ok(())))
}

fn kind(kind: &ExchangeKind) -> lapin::ExchangeKind {
    match kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Headers => lapin::ExchangeKind::Headers,
        other => lapin::ExchangeKind::Custom(other.as_str().to_owned()),
    }
}

fn read_delivery(delivery: lapin::message::Delivery) -> Delivery {
    let (tag, redelivered) = (DeliveryTag(delivery.delivery_tag), delivery.redelivered);
    let envelope = read_envelope(delivery);
    let count = envelope.headers.get("x-delivery-count").and_then(Value::as_u64);
    let delivery_count = count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Delivery { tag, redelivered, delivery_count, envelope: envelope.share() }
}

fn read_returned(message: BasicReturnMessage) -> Returned {
    let (code, text) = (message.reply_code, ShortStr::from(message.reply_text.as_str()));
    Returned { code, text, envelope: Arc::new(read_envelope(message.delivery)) }
}

fn read_envelope(delivery: lapin::message::Delivery) -> Envelope {
    let (properties, headers) = properties::read(&delivery.properties);
    Envelope {
        exchange: ShortStr::from(delivery.exchange.as_str()),
        routing_key: ShortStr::from(delivery.routing_key.as_str()),
        properties,
        headers,
        body: delivery.data.into(),
    }
}
