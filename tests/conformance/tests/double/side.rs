//! One of the two, and how it is asked.

use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDelete,
};
use kombu_core::{
    Channel, Confirmation, DeliveryTag, Envelope, ErrorKind, FieldTable, Qos, Result, Scope, ShortStr, Transport,
};
use kombu_hub::MioHub;

use crate::entities::{
    EXCHANGES, KEYS, LANES, LATE, Names, QUEUES, binding_arguments, is_auto_delete_exchange, message_headers,
};
use crate::lane::{Consumer, Lane, Log, describe};
use crate::link::{PATIENCE, connect, counter, open, wait};
use crate::operation::{Expiry, Operation, To, kind};

/// One of the two.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    hub: Rc<MioHub>,
    url: String,
    pub(crate) names: Names,
    /// The last lane has the second one to itself.
    transports: [Arc<dyn Transport>; 2],
    pub(crate) lanes: Vec<Lane>,
    publisher: Arc<dyn Channel>,
    /// Looks at queues, on a connection of its own.
    counter: (Arc<dyn Transport>, Arc<dyn Channel>),
    published: usize,
}

/// What is known of a queue: how many messages are ready, and how many consumers it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Counts(u32, u32),
    Missing,
    Locked,
}

impl Side {
    pub(crate) fn new(name: &'static str, url: &str, prefix: &str) -> Self {
        let hub = Rc::new(MioHub::new().unwrap());
        let transports = [connect(&hub, url), connect(&hub, url)];
        let open = |lane: usize| open(&hub, &transports[transport_of(lane)]).unwrap();
        let lanes = (0..LANES).map(|lane| Lane::new(open(lane))).collect();
        let (publisher, counter) = (open(0), counter(&hub, url));
        let (url, names) = (url.to_owned(), Names(prefix.to_owned()));
        Side { name, hub, url, names, transports, lanes, publisher, counter, published: 0 }
    }

    /// Turns the hub once, so that what is under way may arrive.
    pub(crate) fn turn(&self) {
        self.hub.run_once(Some(Duration::from_millis(2))).unwrap();
    }

    /// Does an operation and says in words what came of it.
    pub(crate) fn perform(&mut self, operation: &Operation) -> String {
        let lane = operation.lane();
        let result = self.attempt(operation);
        if operation.settles() {
            self.settle_down(lane);
        }
        match result {
            Ok(text) => text,
            // A transport may publish on a channel of its own, and mend it unseen: only what the publisher is told must agree.
            Err(error) if matches!(operation, Operation::Publish { .. }) => {
                self.publisher = self.opened(0);
                format!("{:?} of a publish", error.kind())
            }
            Err(error) => {
                if error.scope() != Scope::Operation {
                    self.reopen(lane);
                }
                format!("{:?} of scope {:?}", error.kind(), error.scope())
            }
        }
    }

    /// The answer to a settle may come before the broker heard of it; that to whatever follows it does not.
    fn settle_down(&mut self, lane: usize) {
        let (channel, prefetch_count) = (Arc::clone(&self.lanes[lane].channel), self.lanes[lane].prefetch);
        // A channel that is gone has nothing on its way.
        let _ = self.wait(async move { channel.basic_qos(Qos { prefetch_count, global: false }).await });
    }

    fn attempt(&mut self, operation: &Operation) -> Result<String> {
        let channel = Arc::clone(&self.lanes[operation.lane()].channel);
        match *operation {
            Operation::DeclareQueue { queue, like, durable, .. } => {
                let method = QueueDeclare { durable, ..self.names.declaration(queue, like) };
                self.declared(channel, method)
            }
            Operation::DeclareExchange { exchange, kind: number, durable, internal } => {
                let method = ExchangeDeclare {
                    exchange: self.names.exchange(exchange),
                    kind: kind(number),
                    passive: false,
                    durable,
                    auto_delete: is_auto_delete_exchange(exchange),
                    internal,
                    arguments: self.names.exchange_arguments(exchange),
                };
                self.done("declared", async move { channel.exchange_declare(method).await })
            }
            Operation::FindExchange { exchange } => {
                let name = self.names.exchange(exchange);
                let method = ExchangeDeclare { passive: true, ..plain_exchange(name) };
                self.done("found", async move { channel.exchange_declare(method).await })
            }
            Operation::Bind { queue, exchange, key, .. } => {
                let method = self.binding(queue, exchange, key);
                self.done("bound", async move { channel.queue_bind(method).await })
            }
            Operation::Unbind { queue, exchange, key } => {
                let method = self.binding(queue, exchange, key);
                self.done("unbound", async move { channel.queue_unbind(method).await })
            }
            Operation::BindExchanges { source, destination, key } => {
                let method = self.exchange_binding(source, destination, key);
                self.done("bound", async move { channel.exchange_bind(method).await })
            }
            Operation::UnbindExchanges { source, destination, key } => {
                let method = self.exchange_binding(source, destination, key);
                self.done("unbound", async move { channel.exchange_unbind(method).await })
            }
            Operation::Forbidden { what } => self.forbidden(channel, what),
            Operation::Publish { to, mandatory, priority, expiry } => self.publish(to, mandatory, priority, expiry),
            Operation::Get { lane, queue, no_ack } => {
                let no_ack = no_ack || self.lanes[lane].would_mix(queue, true);
                let method = BasicGet { queue: self.names.queue(queue), no_ack };
                let Some(delivery) = self.wait(async move { channel.basic_get(method).await })? else {
                    return Ok("nothing".to_owned());
                };
                if !no_ack {
                    self.lanes[lane].hold(delivery.tag, queue);
                }
                Ok(describe(&delivery, &self.names))
            }
            Operation::Consume { lane, .. } if self.lanes[lane].consumer.is_some() => Ok("it consumes".to_owned()),
            Operation::Consume { lane, queue, .. } if self.lanes[lane].would_mix(queue, false) => {
                Ok("it holds messages of the queue".to_owned())
            }
            Operation::Consume { lane, queue, prefetch, no_ack, exclusive, priority } => {
                let arguments = priority.map(|priority| ("x-priority", priority));
                let method = BasicConsume {
                    queue: self.names.queue(queue),
                    no_ack,
                    exclusive,
                    arguments: arguments.into_iter().collect(),
                    ..BasicConsume::default()
                };
                self.consume(lane, queue, prefetch, method)
            }
            Operation::Cancel { lane } => {
                let Some(consumer) = &self.lanes[lane].consumer else { return Ok("nothing consumes".to_owned()) };
                let tag = consumer.tag.clone();
                self.wait(async move { channel.basic_cancel(tag).await })?;
                self.lanes[lane].take();
                self.lanes[lane].consumer = None;
                Ok("cancelled".to_owned())
            }
            Operation::Ack { lane, which, multiple } => {
                self.settle(lane, which, multiple, |channel, tag| channel.basic_ack(tag, multiple))
            }
            Operation::Nack { lane, which, multiple, requeue } => {
                self.settle(lane, which, multiple, |channel, tag| channel.basic_nack(tag, multiple, requeue))
            }
            Operation::Reject { lane, which, requeue } => {
                self.settle(lane, which, false, |channel, tag| channel.basic_reject(tag, requeue))
            }
            Operation::SettleAll { lane, how } => {
                let held = std::mem::take(&mut self.lanes[lane].held).len();
                let all = DeliveryTag(0);
                let settled = match how {
                    0 => channel.basic_ack(all, true),
                    1 => channel.basic_nack(all, true, true),
                    _ => channel.basic_nack(all, true, false),
                };
                self.wait(settled).map(|()| format!("all {held} settled"))
            }
            Operation::BadTag { lane, multiple } => {
                // The answer of a settle may come before the broker looked at it; the end of the channel is the answer.
                let _ = self.wait(channel.basic_ack(DeliveryTag(4711), multiple));
                let end = Instant::now() + PATIENCE;
                let fence = Qos { prefetch_count: self.lanes[lane].prefetch, global: false };
                while self.wait(on(&channel, move |channel| async move { channel.basic_qos(fence).await })).is_ok() {
                    assert!(Instant::now() < end, "{}: an unknown tag does not end the channel", self.name);
                }
                self.reopen(lane);
                Ok("a new channel".to_owned())
            }
            Operation::Recover { lane } => {
                self.lanes[lane].held.clear();
                self.done("recovered", async move { channel.basic_recover().await })
            }
            Operation::Purge { queue, .. } => {
                let queue = self.names.queue(queue);
                self.wait(async move { channel.queue_purge(queue).await }).map(|count| format!("{count} purged"))
            }
            Operation::DeleteQueue { queue, if_empty, if_unused, .. } => {
                let method = QueueDelete { queue: self.names.queue(queue), if_unused, if_empty };
                self.wait(async move { channel.queue_delete(method).await }).map(|count| format!("{count} deleted"))
            }
            Operation::DeleteExchange { exchange, if_unused } => {
                let method = ExchangeDelete { exchange: self.names.exchange(exchange), if_unused };
                self.done("deleted", async move { channel.exchange_delete(method).await })
            }
            Operation::Count { queue, .. } => {
                let method = QueueDeclare { queue: self.names.queue(queue), passive: true, ..QueueDeclare::default() };
                self.declared(channel, method)
            }
            Operation::Reopen { lane } => {
                self.reopen(lane);
                Ok("a new channel".to_owned())
            }
            Operation::Reconnect => {
                let old = Arc::clone(&self.transports[1]);
                self.wait(async move { old.close().await })?;
                self.transports[1] = connect(&self.hub, &self.url);
                self.lanes[LANES - 1] = Lane::new(self.opened(LANES - 1));
                Ok("a new connection".to_owned())
            }
        }
    }

    fn declared(&self, channel: Arc<dyn Channel>, method: QueueDeclare) -> Result<String> {
        let declared = self.wait(async move { channel.queue_declare(method).await })?;
        Ok(format!("{} messages, {} consumers", declared.message_count, declared.consumer_count))
    }

    fn forbidden(&self, channel: Arc<dyn Channel>, what: usize) -> Result<String> {
        let (nameless, reserved) = (ShortStr::default(), ShortStr::from("amq.mine"));
        let bound = QueueBind { exchange: nameless.clone(), ..self.binding(0, 0, 0) };
        self.done("done", async move {
            match what {
                0 => channel.queue_declare(QueueDeclare { queue: reserved, ..QueueDeclare::default() }).await.map(drop),
                1 => channel.exchange_declare(plain_exchange(reserved)).await,
                2 => channel.queue_bind(bound).await,
                3 => channel.exchange_delete(ExchangeDelete { exchange: nameless, if_unused: false }).await,
                4 => channel.exchange_delete(ExchangeDelete { exchange: "amq.direct".into(), if_unused: false }).await,
                _ => channel.exchange_declare(plain_exchange(nameless)).await,
            }
        })
    }

    fn publish(&mut self, to: To, mandatory: bool, priority: u8, expiry: Expiry) -> Result<String> {
        self.published += 1;
        let (exchange, routing_key) = match to {
            To::Exchange { exchange, key } => (self.names.exchange(exchange), KEYS[key].into()),
            To::Queue(queue) => (ShortStr::default(), self.names.queue(queue)),
            To::Nowhere => (ShortStr::default(), self.names.queue(QUEUES)),
        };
        let body = Bytes::from(format!("message {}", self.published));
        let mut envelope = Envelope { exchange, routing_key, body, ..Envelope::default() };
        envelope.properties.priority = Some(priority);
        match expiry {
            Expiry::Never => {}
            Expiry::AtOnce => envelope.properties.set_expiration(Duration::ZERO),
            Expiry::Late => envelope.properties.set_expiration(Duration::from_millis(LATE.unsigned_abs())),
        }
        envelope.headers = message_headers(priority).into();
        let method = BasicPublish { mandatory, timeout: Some(PATIENCE) };
        Ok(match self.wait(self.publisher.basic_publish(method, Arc::new(envelope)))? {
            Confirmation::Confirmed { .. } => "confirmed".to_owned(),
            Confirmation::Returned(returned) => format!("returned {}", returned.code),
        })
    }

    fn consume(&mut self, lane: usize, queue: usize, prefetch_count: u16, method: BasicConsume) -> Result<String> {
        let (log, no_ack) = (Arc::new(Log::default()), method.no_ack);
        let handed: Arc<Log> = Arc::clone(&log);
        self.lanes[lane].prefetch = prefetch_count;
        let consuming = on(&self.lanes[lane].channel, move |channel| async move {
            channel.basic_qos(Qos { prefetch_count, global: false }).await?;
            channel.basic_consume(method, handed).await
        });
        let tag = self.wait(consuming)?;
        self.lanes[lane].consumer = Some(Consumer { tag, queue, no_ack, log });
        Ok("it consumes now".to_owned())
    }

    fn settle(
        &mut self,
        lane: usize,
        which: usize,
        multiple: bool,
        how: impl FnOnce(&dyn Channel, DeliveryTag) -> kombu_core::Settled,
    ) -> Result<String> {
        let lane = &mut self.lanes[lane];
        let Some(tag) = lane.take_held(which, multiple) else { return Ok("nothing held".to_owned()) };
        let settled = how(&*lane.channel, tag);
        self.wait(settled).map(|()| format!("settled {tag}"))
    }

    fn binding(&self, queue: usize, exchange: usize, key: usize) -> QueueBind {
        QueueBind {
            queue: self.names.queue(queue),
            exchange: self.names.exchange(exchange),
            routing_key: KEYS[key].into(),
            arguments: binding_arguments(exchange, key),
        }
    }

    fn exchange_binding(&self, source: usize, destination: usize, key: usize) -> ExchangeBind {
        ExchangeBind {
            destination: self.names.exchange(destination),
            source: self.names.exchange(source),
            routing_key: KEYS[key].into(),
            arguments: binding_arguments(source, key),
        }
    }

    /// Looks at each of these queues.
    pub(crate) fn known(&mut self, queues: &BTreeSet<usize>) -> Vec<Known> {
        let look = |number| {
            let method = QueueDeclare { queue: self.names.queue(number), passive: true, ..QueueDeclare::default() };
            match self.wait(on(&self.counter.1, |channel| async move { channel.queue_declare(method).await })) {
                Ok(declared) => Known::Counts(declared.message_count, declared.consumer_count),
                Err(error) => {
                    // A connection has so many channels, and each queue that is missing costs one.
                    match open(&self.hub, &self.counter.0) {
                        Ok(channel) => self.counter.1 = channel,
                        Err(_) => self.counter = counter(&self.hub, &self.url),
                    }
                    match error.kind() {
                        ErrorKind::NotFound => Known::Missing,
                        ErrorKind::ResourceLocked => Known::Locked,
                        _ => panic!("{} cannot be looked at: {error}", self.name),
                    }
                }
            }
        };
        queues.iter().copied().map(look).collect()
    }

    fn reopen(&mut self, lane: usize) {
        // One that ended by an error is closed already.
        let _ = self.wait(on(&self.lanes[lane].channel, |channel| async move { channel.close().await }));
        self.lanes[lane] = Lane::new(self.opened(lane));
    }

    fn opened(&self, lane: usize) -> Arc<dyn Channel> {
        open(&self.hub, &self.transports[transport_of(lane)])
            .unwrap_or_else(|error| panic!("{} opens no channel any more: {error}", self.name))
    }

    pub(crate) fn clean_up(mut self) {
        self.attempt(&Operation::Reconnect).unwrap();
        let queues: Vec<_> = (0..QUEUES).map(|number| self.names.queue(number)).collect();
        let exchanges: Vec<_> = (0..EXCHANGES).map(|number| self.names.exchange(number)).collect();
        let [one, other] = self.transports.clone();
        let third = Arc::clone(&self.counter.0);
        self.wait(async move {
            let channel = one.channel().await?;
            for queue in queues {
                channel.queue_delete(QueueDelete { queue, ..QueueDelete::default() }).await?;
            }
            for exchange in exchanges {
                channel.exchange_delete(ExchangeDelete { exchange, if_unused: false }).await?;
            }
            one.close().await?;
            third.close().await?;
            other.close().await
        })
        .unwrap();
    }

    fn done(&self, word: &str, future: impl Future<Output = Result<()>> + Send + 'static) -> Result<String> {
        self.wait(future).map(|()| word.to_owned())
    }

    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        wait(&self.hub, future)
    }
}

fn transport_of(lane: usize) -> usize {
    usize::from(lane == LANES - 1)
}

/// Hands a channel to what is to be done on it.
fn on<F>(channel: &Arc<dyn Channel>, act: impl FnOnce(Arc<dyn Channel>) -> F) -> F {
    act(Arc::clone(channel))
}

fn plain_exchange(exchange: ShortStr) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange,
        kind: kind(0),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new(),
    }
}
