//! One channel.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use kombu_core::{
    Channel, ChannelEvents, Confirm, ConsumerTag, Delivery, DeliverySink, DeliveryTag, Envelope, Error, ErrorKind,
    Malformed, Outcome, Qos, Result, Scope, Settled, ShortStr,
};

use crate::afterwards::{Afterwards, Notice};
use crate::channel_record::ChannelKey;
use crate::put_off::{Put, PutOff};
use crate::refusal;
use crate::state::{State, Verdict};
use crate::store::QueueStore;
use crate::transport::VirtualConnection;

/// A [`Channel`] of a [`VirtualTransport`](crate::VirtualTransport). Every answer is there when the call returns, but for
/// `basic_cancel` and `close`, which wait for another thread that is handing a delivery over at that moment. Dropping it closes it.
pub(crate) struct VirtualChannel<S: QueueStore> {
    connection: Arc<VirtualConnection<S>>,
    key: ChannelKey,
    /// Why the broker closed the channel.
    fate: Arc<OnceLock<Error>>,
    put_off: Arc<PutOff>,
}

impl<S: QueueStore> VirtualChannel<S> {
    pub(crate) fn open(connection: &Arc<VirtualConnection<S>>) -> Self {
        let (fate, put_off) = (Arc::default(), Arc::default());
        let key = connection
            .broker
            .with(|state, _| state.open_channel(connection.key, Arc::clone(&fate), Arc::clone(&put_off)));
        VirtualChannel { connection: Arc::clone(connection), key, fate, put_off }
    }

    /// Calls the broker; an error of scope `Channel` ends the channel.
    #[inline]
    fn call<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State<S>, ChannelKey, &mut Afterwards) -> Result<T>,
    ) -> Result<T> {
        self.call_at(operation, ErrorKind::Closed, true, act)
    }

    /// Calls the broker; with `rings`, after everything is done whose time has come.
    #[inline]
    fn call_at<T>(
        &self,
        operation: &'static str,
        when_gone: ErrorKind,
        rings: bool,
        act: impl FnOnce(&mut State<S>, ChannelKey, &mut Afterwards) -> Result<T>,
    ) -> Result<T> {
        self.connection.broker.with(|state, after| {
            if !state.has_channel(self.key) {
                return Err(refusal::gone(when_gone, self.fate.get()).during(operation));
            }
            if rings {
                state.ring(after);
            }
            act(state, self.key, after).map_err(|error| self.fail(state, error.during(operation), after))
        })
    }

    #[cold]
    fn fail(&self, state: &mut State<S>, error: Error, after: &mut Afterwards) -> Error {
        match error.scope() {
            Scope::Channel => state.fail_channel(self.key, &error, after),
            Scope::Connection => state.fail_connection(self.key, &error, after),
            _ => {}
        }
        error
    }

    #[inline]
    fn settle(&self, operation: &'static str, tag: DeliveryTag, multiple: bool, verdict: Verdict<'_>) -> Settled {
        let settled = self.call_at(operation, ErrorKind::ChannelGone, false, |state, channel, after| {
            let settled = if multiple {
                state.carry_out_acks(channel, after);
                // AMQP: tag 0 with `multiple` means all.
                state.settle_up_to(channel, (tag.0 != 0).then_some(tag), verdict, after).map(|()| None)
            } else {
                state.settle(channel, tag, verdict, after)
            };
            settled.map_err(|error| {
                let error = error.during(operation);
                if let Some(events) = state.events(channel) {
                    after.notice(Notice::SettleFailed(events, error.duplicate()));
                }
                error
            })
        });
        Settled::ready(settled.map(|envelope| envelope.into_iter().for_each(Envelope::leave)))
    }
}

#[async_trait]
impl<S: QueueStore> Channel for VirtualChannel<S> {
    async fn exchange_declare(&self, method: ExchangeDeclare) -> Result<()> {
        self.call("exchange.declare", |state, _, _| state.exchange_declare(method))
    }

    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        self.call("exchange.bind", |state, _, _| state.exchange_bind(method))
    }

    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        self.call("exchange.unbind", |state, _, after| state.exchange_unbind(method, after))
    }

    async fn exchange_delete(&self, method: ExchangeDelete) -> Result<()> {
        self.call("exchange.delete", |state, _, after| state.exchange_delete(&method, after))
    }

    async fn queue_declare(&self, method: QueueDeclare) -> Result<QueueDeclared> {
        self.call("queue.declare", |state, channel, after| state.queue_declare(channel, method, after))
    }

    async fn queue_bind(&self, method: QueueBind) -> Result<()> {
        self.call("queue.bind", |state, channel, _| state.queue_bind(channel, method))
    }

    async fn queue_unbind(&self, method: QueueBind) -> Result<()> {
        self.call("queue.unbind", |state, channel, after| state.queue_unbind(channel, method, after))
    }

    async fn queue_purge(&self, queue: ShortStr) -> Result<u32> {
        self.call("queue.purge", |state, channel, after| state.queue_purge(channel, &queue, after))
    }

    async fn queue_delete(&self, method: QueueDelete) -> Result<u32> {
        self.call("queue.delete", |state, channel, after| state.queue_delete(channel, &method, after))
    }

    async fn basic_qos(&self, qos: Qos) -> Result<()> {
        self.call("basic.qos", |state, channel, after| state.qos(channel, qos, after))
    }

    async fn basic_consume(&self, method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        self.call("basic.consume", |state, channel, after| state.consume(channel, method, sink, after))
    }

    async fn basic_cancel(&self, consumer_tag: ConsumerTag) -> Result<()> {
        let drained = self.call("basic.cancel", |state, channel, after| state.cancel(channel, &consumer_tag, after))?;
        if let Some(drained) = drained {
            drained.await;
        }
        Ok(())
    }

    async fn basic_get(&self, method: BasicGet) -> Result<Option<Delivery>> {
        self.call("basic.get", |state, channel, after| state.get(channel, &method, after))
    }

    async fn basic_recover(&self) -> Result<()> {
        self.call("basic.recover", |state, channel, after| state.recover(channel, after))
    }

    #[inline]
    fn basic_publish(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        let mut turn = None;
        let published = self.connection.broker.with(|state, after| {
            if !state.has_channel(self.key) {
                after.drop_envelope(envelope);
                let error = refusal::gone(ErrorKind::Closed, self.fate.get()).during("basic.publish");
                return Err(error.with_outcome(Outcome::NotSent));
            }
            let published = state.publish(method, envelope, &mut turn, after);
            published.map_err(|error| self.fail(state, error.during("basic.publish"), after))
        });
        if let Some(turn) = turn {
            turn.run();
        }
        Confirm::ready(published)
    }

    #[inline]
    fn basic_ack(&self, tag: DeliveryTag, multiple: bool) -> Settled {
        self.settle("basic.ack", tag, multiple, Verdict::Forget)
    }

    #[inline]
    fn put_off_ack(&self, tag: DeliveryTag) -> Settled {
        if S::KEEPS_UNSETTLED {
            return self.basic_ack(tag, false);
        }
        match self.put_off.put(tag) {
            Put::Off => {}
            Put::Enough => self.connection.broker.with(|state, after| state.carry_out_acks(self.key, after)),
            // To say why.
            Put::Refused => return self.basic_ack(tag, false),
        }
        Settled::ready(Ok(()))
    }

    fn catch_up(&self) {
        self.connection.broker.with(|state, after| state.catch_up(self.key, after));
    }

    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        let verdict = if requeue { Verdict::GiveBack } else { Verdict::Reject };
        self.settle("basic.nack", tag, multiple, verdict)
    }

    fn basic_reject(&self, tag: DeliveryTag, requeue: bool) -> Settled {
        let verdict = if requeue { Verdict::GiveBack } else { Verdict::Reject };
        self.settle("basic.reject", tag, false, verdict)
    }

    fn set_aside(&self, delivery: &Delivery, _: &ShortStr, reason: &str) -> Settled {
        self.settle("set aside", delivery.tag, false, Verdict::SetAside { reason })
    }

    async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.call("malformed", |state, channel, _| state.malformed(channel, &queue, limit))
    }

    fn observe(&self, events: Arc<dyn ChannelEvents>) {
        // The observer before is dropped when the mutex is released.
        drop(self.connection.broker.with(|state, _| state.observe(self.key, events)));
    }

    async fn close(&self) -> Result<()> {
        let draining = self.connection.broker.with(|state, after| state.close_channels(&[self.key], None, after));
        for drained in draining {
            drained.await;
        }
        Ok(())
    }
}

impl<S: QueueStore> Drop for VirtualChannel<S> {
    fn drop(&mut self) {
        // Nobody is left to wait for the sinks.
        drop(self.connection.broker.with(|state, after| state.close_channels(&[self.key], None, after)));
    }
}
