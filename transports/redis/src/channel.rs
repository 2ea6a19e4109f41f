//! AMQP's methods on Redis.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kombu_core::delivery::{ConsumerTag, Delivery, DeliverySink};
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use kombu_core::reply::Reply;
use kombu_core::{
    Channel, ChannelEvents, Confirm, DeliveryTag, Envelope, Error, Malformed, Qos, Result, Scope, Settled, ShortStr,
    reply,
};
use redis::Value;

use crate::channel_core::{ChannelCore, How};
use crate::connection::{command, unexpected};
use crate::consumer::Consumer;
use crate::dying::Dying;
use crate::malformed;
use crate::session::{QUIESCE_INTERVAL, Session};
use crate::settle::{Owners, Returning};
use crate::take::{Fetch, TakenList, Taking, queue_json};
use crate::together::together;
use crate::unacked::Place;

/// A channel, as core holds it. Dropped without [`close`](Channel::close), it closes by itself.
pub(crate) struct RedisChannel(Arc<ChannelCore>);

impl RedisChannel {
    /// Wraps a channel.
    pub(crate) fn new(core: Arc<ChannelCore>) -> Self {
        RedisChannel(core)
    }

    fn session(&self) -> Result<&Arc<Session>> {
        match self.0.closed_error() {
            Some(error) => Err(error),
            None => Ok(&self.0.session),
        }
    }

    /// Returns the session when everything asked for before is on its way to the server: what is sent next is done after it.
    async fn in_order(&self) -> Result<&Arc<Session>> {
        let session = self.session()?;
        session.submit_settles();
        self.0.route_publishes().await?;
        self.session()
    }
}

impl RedisChannel {
    /// Ends the channel where an operation's error does.
    async fn answered<T>(&self, operation: &'static str, answer: Result<T>) -> Result<T> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let error = error.during(operation);
                if error.scope() == Scope::Channel {
                    self.0.end(error.duplicate()).await;
                }
                Err(error)
            }
        }
    }
}

impl Drop for RedisChannel {
    fn drop(&mut self) {
        if self.0.closed_error().is_none() {
            let core = Arc::clone(&self.0);
            // On a hub that has closed it cannot run; the messages come back by the visibility sweep.
            drop(self.0.session.handle.spawn(async move { core.close().await }));
        }
    }
}

#[async_trait]
impl Channel for RedisChannel {
    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()> {
        let answer = self.in_order().await?.exchange_declare(method).await;
        self.answered("exchange.declare", answer).await
    }

    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        let answer = self.in_order().await?.exchange_delete(method).await;
        self.answered("exchange.delete", answer).await
    }

    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        let answer = self.in_order().await?.exchange_bind(method).await;
        self.answered("exchange.bind", answer).await
    }

    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        let answer = self.in_order().await?.exchange_unbind(method).await;
        self.answered("exchange.unbind", answer).await
    }

    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        let answer = self.in_order().await?.queue_declare(method).await;
        self.answered("queue.declare", answer).await
    }

    async fn queue_bind(&self, method: QueueBind) -> Result<()> {
        let answer = self.in_order().await?.queue_bind(method).await;
        self.answered("queue.bind", answer).await
    }

    async fn queue_unbind(&self, method: QueueBind) -> Result<()> {
        let answer = self.in_order().await?.queue_unbind(method).await;
        self.answered("queue.unbind", answer).await
    }

    async fn queue_purge(&self, queue: ShortStr) -> Result<u32> {
        let session = self.in_order().await?;
        let purged = session.queue_purge(&queue).await;
        self.answered("queue.purge", purged.map_err(|error| error.with("queue", &queue))).await
    }

    async fn queue_delete(&self, method: QueueDelete) -> Result<u32> {
        let answer = self.in_order().await?.queue_delete(method).await;
        self.answered("queue.delete", answer).await
    }

    async fn basic_qos(&self, qos: Qos) -> Result<()> {
        self.session()?;
        self.0.set_qos(qos);
        Ok(())
    }

    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        let session = self.session()?;
        let checked = session.check_queue(&method.queue).await;
        self.answered("basic.consume", checked).await?;
        let consumed = self.0.consume(session, method, sink).await;
        let (tag, subscribed, arrived) = self.answered("basic.consume", consumed).await?;
        if let Some(subscribed) = subscribed
            && let Err(error) = subscribed.await.unwrap_or_else(|| Err(crate::connection::closed()))
        {
            if let Some(consumer) = self.0.remove_consumer(&tag) {
                session.end_consumer(&consumer).await;
            }
            return Err(error.during("basic.consume"));
        }
        if let Some(arrived) = arrived {
            // It consumes all the same where nothing can wait for it now.
            within(session, ARRIVAL_PATIENCE, arrived).await;
        }
        Ok(tag)
    }

    async fn basic_cancel(&self, consumer_tag: ConsumerTag) -> Result<()> {
        let session = self.in_order().await?;
        if let Some(consumer) = self.0.remove_consumer(&consumer_tag) {
            session.end_consumer(&consumer).await;
        }
        Ok(())
    }

    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>> {
        let session = self.in_order().await?;
        let checked = session.check_queue(&method.queue).await;
        self.answered("basic.get", checked).await?;
        let json = queue_json(&method.queue)?;
        let lists = session.keys.lists(&method.queue).map(|key| TakenList {
            key: key.into(),
            queue: method.queue.clone(),
            queue_json: Arc::clone(&json),
            no_ack: method.no_ack,
            limit: 1,
        });
        let (sender, reply) = reply::channel();
        let lists = lists.collect();
        session.renew_expiry(&method.queue);
        Taking::submit(session, 1, lists, Vec::new(), Some(Fetch { channel: Arc::clone(&self.0), sender }));
        reply.await.unwrap_or_else(|| Err(crate::connection::closed()))
    }

    async fn basic_recover(&self) -> Result<()> {
        self.session()?;
        self.0.give_back_all().await
    }

    fn basic_publish(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        self.0.publish(method, envelope)
    }

    fn poll_publish_ready(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.0.closed_error() {
            Some(error) => Poll::Ready(Err(error)),
            None => self.0.session.backlog.poll_ready(cx).map(Ok),
        }
    }

    fn basic_ack(&self, tag: DeliveryTag, multiple: bool) -> Settled {
        self.0.settle(tag, multiple, How::Forget)
    }

    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        self.0.settle(tag, multiple, if requeue { How::GiveBack } else { How::Reject })
    }

    fn still_has(&self, tag: DeliveryTag) -> bool {
        !self.0.session.may_have_lost_something() && !self.0.has_withdrawn() || self.0.still_has(tag)
    }

    fn set_aside(&self, delivery: &Delivery, _: &ShortStr, reason: &str) -> Settled {
        self.0.settle(delivery.tag, false, How::SetAside(reason))
    }

    async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let session = self.session()?;
        let key = session.keys.malformed(&queue);
        let last = (limit - 1).to_string();
        let found = session.call(1, |out| command::command(out, &["LRANGE", &key, "0", &last])).await?;
        let Value::Array(entries) = found else { return Err(unexpected("LRANGE", &found)) };
        let read = |entry| match entry {
            Value::BulkString(entry) => Some(malformed::read(&queue, &Bytes::from(entry))),
            _ => None,
        };
        Ok(entries.into_iter().filter_map(read).collect())
    }

    fn observe(&self, events: Arc<dyn ChannelEvents>) {
        self.0.observe(Some(events));
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

impl ChannelCore {
    async fn consume(
        self: &Arc<Self>,
        session: &Arc<Session>,
        method: BasicConsume,
        sink: Arc<dyn DeliverySink>,
    ) -> Result<(ConsumerTag, Option<Reply<Result<()>>>, Option<Reply<()>>)> {
        let tag = self.name_consumer(method.consumer_tag.clone())?;
        let consumer = Consumer::new(tag.clone(), &method, session.next_consumer(), sink, self)?;
        session.topology.add_consumer(&method.queue, method.exclusive)?;
        if let Err(error) = session.join(&consumer, true).await {
            session.topology.remove_consumer(&method.queue);
            return Err(error);
        }
        // The channel may have ended meanwhile.
        if let Err(error) = self.add_consumer(Arc::clone(&consumer)) {
            session.end_consumer(&consumer).await;
            return Err(error);
        }
        let mut poller = session.poller();
        poller.add(session, &consumer)?;
        let subscribed = poller.listener.add(session, &consumer);
        let arrived = poller.arrive(&consumer.queue);
        drop(poller);
        session.start_sweeping();
        session.touch();
        Ok((tag, subscribed, arrived))
    }

    /// Closes the channel as it was asked to.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<()> {
        if !self.mark_ended(None) {
            // Somebody else has ended it, and may not be done yet.
            while self.session.has_channel(self.id) {
                self.session.handle.sleep(QUIESCE_INTERVAL).await;
            }
            return Ok(());
        }
        let closed = self.wind_up().await;
        self.observe(None);
        closed
    }

    /// Ends the channel because of an error.
    pub(crate) async fn end(self: &Arc<Self>, error: Error) {
        if !self.mark_ended(Some(&error)) {
            return;
        }
        for consumer in self.end_consumers().await {
            consumer.sink.cancelled(error.duplicate());
        }
        if let Err(error) = self.wind_up().await {
            self.report_settle_failed(error);
        }
        self.report_closed(error);
        self.observe(None);
    }

    /// Ends the consumers, sends what is queued, and gives everything back.
    async fn wind_up(self: &Arc<Self>) -> Result<()> {
        self.end_consumers().await;
        let given_back = self.give_back_all().await;
        // Everything that was sent before is answered before this.
        let flushed = within(&self.session, CLOSE_PATIENCE, self.flush_publishes()).await;
        self.session.forget_channel(self.id);
        given_back.and(flushed.unwrap_or(Ok(())))
    }

    /// Ends every consumer and returns them.
    async fn end_consumers(self: &Arc<Self>) -> Vec<Arc<Consumer>> {
        let consumers = self.take_consumers();
        // All at once: what is taken for one of them while another ends would find the channel closed.
        for consumer in &consumers {
            consumer.cancel();
            self.session.poller().discard(consumer);
        }
        together(consumers.iter().map(|consumer| self.session.end_consumer(consumer))).await;
        consumers
    }

    /// Waits until every publish called before knows its queues and is on its way.
    async fn route_publishes(&self) -> Result<()> {
        let waits = !self.session.lock(&self.publishes).is_empty();
        if waits {
            // A publish sends its read before it waits here, so the reads are answered before this.
            self.session.barrier().await?;
        }
        Ok(())
    }

    async fn flush_publishes(&self) -> Result<()> {
        self.route_publishes().await?;
        self.session.barrier().await
    }

    /// Gives every unsettled delivery back and waits until the server has them.
    async fn give_back_all(self: &Arc<Self>) -> Result<()> {
        self.session.submit_settles();
        let held = self.take_unacked();
        let (worn_out, looks) = self.session.look_before_return(&held);
        let items: Vec<_> = held
            .iter()
            .filter(|held| !self.session.is_worn_out(&held.queue, held.count))
            .filter_map(|held| match held.place {
                Place::Recorded(number) => Some((number, Arc::clone(&held.list))),
                Place::Local(_) | Place::Nowhere => None,
            })
            .collect();
        let consumers: Vec<_> = held.iter().filter_map(|held| held.consumer.clone()).collect();
        self.session.return_local(held);
        let mut answers = Vec::new();
        for items in items.chunks(GIVE_BACK_AT_ONCE).rev() {
            let batch = kombu_core::answer::AnswerBatch::new();
            answers.push(batch.answer(0));
            let owners = Owners::of(self, items.len());
            Returning { items: items.to_vec(), delivered: true, answers: Some(batch), owners, is_repeated: false }
                .submit(&self.session);
        }
        if !worn_out.is_empty() {
            let batch = kombu_core::answer::AnswerBatch::new();
            answers.push(batch.answer(0));
            let owners = Owners::of(self, worn_out.len());
            Dying { items: worn_out, answers: Some(batch), owners, is_repeated: false }.submit(&self.session);
        }
        self.session.look_at(&looks);
        consumers.iter().for_each(|consumer| consumer.return_credit());
        self.session.touch();
        for answer in answers {
            match within(&self.session, CLOSE_PATIENCE, answer).await {
                // A message that is gone is nobody's to give back.
                Some(Err(error)) if error.kind() != kombu_core::ErrorKind::LeaseLost => return Err(error),
                Some(_) => {}
                None => return Err(Error::new(kombu_core::ErrorKind::Timeout, "the server does not answer")),
            }
        }
        Ok(())
    }
}

impl Session {
    /// Ends a consumer; its queue goes with it if it says so.
    async fn end_consumer(self: &Arc<Self>, consumer: &Arc<Consumer>) {
        consumer.cancel();
        self.poller().discard(consumer);
        self.touch();
        if self.poller().consumers_of(&consumer.queue).is_empty() {
            // A waiter that still waits for the queue would move its next message: to the same place, but late.
            let queue = consumer.queue.clone();
            within(self, CLOSE_PATIENCE, self.quiesce(move |poller| !poller.is_taking_from(&queue))).await;
        }
        if let Some(Err(error)) = within(self, CLOSE_PATIENCE, self.part(consumer)).await {
            tracing::debug!(queue = %consumer.queue, %error, "a consumer that ended goes with the lease");
        }
        if self.topology.remove_consumer(&consumer.queue) && !self.has_registry() {
            let method = QueueDelete { queue: consumer.queue.clone(), if_unused: true, if_empty: false };
            if let Some(Err(error)) = within(self, CLOSE_PATIENCE, self.queue_delete(method)).await {
                tracing::debug!(queue = %consumer.queue, %error, "an auto-delete queue could not be deleted");
            }
        }
    }

    /// Renews the expiry of a queue that is used.
    fn renew_expiry(&self, queue: &str) {
        let Some(expires) = self.topology.expires(queue) else { return };
        let lists: Vec<String> = self.keys.lists(queue).collect();
        let replies = u32::try_from(lists.len()).unwrap_or(1);
        self.send_quietly("PEXPIRE", replies, |out| {
            for list in &lists {
                command::command(out, &["PEXPIRE", list, &expires.to_string()]);
            }
        });
    }
}

/// Drives `future` until `limit` has passed; `None` when it has.
pub(crate) async fn within<T>(session: &Session, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut sleep = session.handle.sleep(limit);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        std::pin::Pin::new(&mut sleep).poll(cx).map(|()| None)
    })
    .await
}

/// How long each part of closing waits for a server that does not answer.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a consumer that comes waits for its turn to begin.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(1);
const GIVE_BACK_AT_ONCE: usize = 500;
