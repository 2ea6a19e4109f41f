//! A channel with short names for what checks do all the time.

use std::sync::Arc;

use bytes::Bytes;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use kombu_core::{
    Channel, Confirmation, ConsumerTag, Delivery, DeliveryTag, Envelope, ExchangeKind, FieldTable, Qos, Scope, Settled,
    ShortStr,
};

use crate::bench::Bench;
use crate::failure::{During, Failure, Verdict, ensure};
use crate::sink::{Collector, Listener};

/// A channel and the bench it belongs to. Every call waits for its answer.
#[derive(Clone)]
pub(crate) struct Lane<'b> {
    pub(crate) bench: &'b Bench,
    pub(crate) channel: Arc<dyn Channel>,
}

/// A consumer on a lane.
pub(crate) struct Consumed<'b> {
    pub(crate) lane: Lane<'b>,
    pub(crate) queue: ShortStr,
    pub(crate) tag: ConsumerTag,
    pub(crate) sink: Arc<Collector>,
}

impl<'b> Lane<'b> {
    pub(crate) fn new(bench: &'b Bench, channel: Arc<dyn Channel>) -> Self {
        Lane { bench, channel }
    }

    // --- topology ---

    /// Declares a queue and returns its name.
    pub(crate) fn queue(&self, what: &str) -> Verdict<ShortStr> {
        self.queue_with(what, FieldTable::new())
    }

    /// Declares a queue with arguments and returns its name.
    pub(crate) fn queue_with(&self, what: &str, arguments: FieldTable) -> Verdict<ShortStr> {
        let queue = self.bench.queue_name(what);
        let method = QueueDeclare { queue: queue.clone(), arguments, ..QueueDeclare::default() };
        self.declare(method).during(format!("declare queue `{what}`"))?;
        Ok(queue)
    }

    /// Declares a queue that counts deliveries: a plain one where plain ones do, else a quorum queue.
    pub(crate) fn counting_queue(&self, what: &str) -> Verdict<ShortStr> {
        let plain = self.queue(what)?;
        self.put(&plain, "does it count?")?;
        let probe = self.get_soon(&plain)?;
        self.ack(probe.tag)?;
        if probe.delivery_count.is_some() {
            return Ok(plain);
        }
        self.queue_with(&format!("{what}-quorum"), FieldTable::from([("x-queue-type", "quorum")]))
    }

    pub(crate) fn declare(&self, method: QueueDeclare) -> Verdict<QueueDeclared> {
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("queue.declare", async move { channel.queue_declare(method).await })??)
    }

    pub(crate) fn passive(&self, queue: &ShortStr) -> Verdict<QueueDeclared> {
        self.declare(QueueDeclare { queue: queue.clone(), passive: true, ..QueueDeclare::default() })
    }

    /// Returns how many messages of a queue are ready; one that does not exist where empty queues do not exist has none.
    pub(crate) fn ready(&self, queue: &ShortStr) -> Verdict<u32> {
        if self.bench.can("topology_registry")? {
            return Ok(self.passive(queue)?.message_count);
        }
        Ok(self.declare(QueueDeclare { queue: queue.clone(), ..QueueDeclare::default() })?.message_count)
    }

    /// Waits until so many messages of a queue are ready.
    pub(crate) fn wait_ready(&self, queue: &ShortStr, count: u32) -> Verdict {
        self.bench.eventually(&format!("{count} ready messages"), || Ok(self.ready(queue)? == count))
    }

    /// Declares an exchange and returns its name.
    pub(crate) fn exchange(&self, what: &str, kind: ExchangeKind) -> Verdict<ShortStr> {
        self.exchange_with(what, kind, FieldTable::new())
    }

    pub(crate) fn exchange_with(&self, what: &str, kind: ExchangeKind, arguments: FieldTable) -> Verdict<ShortStr> {
        let exchange = self.bench.exchange_name(what);
        let method = ExchangeDeclare { arguments, ..exchange_declare(&exchange, kind) };
        self.exchange_declare(method).during(format!("declare exchange `{what}`"))?;
        Ok(exchange)
    }

    pub(crate) fn exchange_declare(&self, method: ExchangeDeclare) -> Verdict {
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("exchange.declare", async move { channel.exchange_declare(method).await })??)
    }

    pub(crate) fn exchange_delete(&self, method: ExchangeDelete) -> Verdict {
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("exchange.delete", async move { channel.exchange_delete(method).await })??)
    }

    pub(crate) fn exchange_bind(&self, source: &ShortStr, destination: &ShortStr, key: &str) -> Verdict {
        let method = exchange_bind(source, destination, key);
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("exchange.bind", async move { channel.exchange_bind(method).await })??)
    }

    pub(crate) fn exchange_unbind(&self, source: &ShortStr, destination: &ShortStr, key: &str) -> Verdict {
        let method = exchange_bind(source, destination, key);
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("exchange.unbind", async move { channel.exchange_unbind(method).await })??)
    }

    pub(crate) fn bind(&self, queue: &ShortStr, exchange: &ShortStr, key: &str) -> Verdict {
        self.bind_with(queue, exchange, key, FieldTable::new())
    }

    pub(crate) fn bind_with(&self, queue: &ShortStr, exchange: &ShortStr, key: &str, arguments: FieldTable) -> Verdict {
        let method = QueueBind { queue: queue.clone(), exchange: exchange.clone(), routing_key: key.into(), arguments };
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("queue.bind", async move { channel.queue_bind(method).await })??)
    }

    pub(crate) fn unbind(&self, queue: &ShortStr, exchange: &ShortStr, key: &str) -> Verdict {
        let method = QueueBind {
            queue: queue.clone(),
            exchange: exchange.clone(),
            routing_key: key.into(),
            arguments: FieldTable::new(),
        };
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("queue.unbind", async move { channel.queue_unbind(method).await })??)
    }

    pub(crate) fn purge(&self, queue: &ShortStr) -> Verdict<u32> {
        let (channel, queue) = (Arc::clone(&self.channel), queue.clone());
        Ok(self.bench.run("queue.purge", async move { channel.queue_purge(queue).await })??)
    }

    pub(crate) fn delete(&self, method: QueueDelete) -> Verdict<u32> {
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("queue.delete", async move { channel.queue_delete(method).await })??)
    }

    pub(crate) fn delete_queue(&self, queue: &ShortStr) -> Verdict<u32> {
        self.delete(QueueDelete { queue: queue.clone(), ..QueueDelete::default() })
    }

    // --- publishing ---

    pub(crate) fn publish_envelope(&self, envelope: Envelope, mandatory: bool) -> Verdict<Confirmation> {
        let method = BasicPublish { mandatory, timeout: Some(self.bench.patience()) };
        let confirm = self.channel.basic_publish(method, Arc::new(envelope));
        Ok(self.bench.run("the confirmation of a publish", confirm)??)
    }

    pub(crate) fn publish(&self, exchange: &ShortStr, key: &str, body: &str) -> Verdict<Confirmation> {
        self.publish_envelope(envelope(exchange, key, body), false)
    }

    /// Publishes to a queue by the default exchange.
    pub(crate) fn put(&self, queue: &ShortStr, body: &str) -> Verdict {
        self.publish(&ShortStr::default(), queue, body).map(drop).during(format!("publish `{body}` to the queue"))
    }

    /// Publishes `bodies` to a queue, all before the first confirmation.
    pub(crate) fn fill<S: AsRef<str>>(&self, queue: &ShortStr, bodies: &[S]) -> Verdict {
        let method = BasicPublish { mandatory: false, timeout: Some(self.bench.patience()) };
        let confirms: Vec<_> = bodies
            .iter()
            .map(|body| {
                let envelope = envelope(&ShortStr::default(), queue, body.as_ref());
                self.channel.basic_publish(method, Arc::new(envelope))
            })
            .collect();
        self.bench.run("the confirmations of publishes", async move {
            for confirm in confirms {
                confirm.await?;
            }
            Ok::<(), kombu_core::Error>(())
        })??;
        Ok(())
    }

    // --- receiving ---

    pub(crate) fn get(&self, queue: &ShortStr) -> Verdict<Option<Delivery>> {
        self.get_with(queue, false)
    }

    pub(crate) fn get_with(&self, queue: &ShortStr, no_ack: bool) -> Verdict<Option<Delivery>> {
        let (channel, method) = (Arc::clone(&self.channel), BasicGet { queue: queue.clone(), no_ack });
        Ok(self.bench.run("basic.get", async move { channel.basic_get(method).await })??)
    }

    /// Fetches a message that must come, soon.
    pub(crate) fn get_soon(&self, queue: &ShortStr) -> Verdict<Delivery> {
        let mut found = None;
        self.bench.eventually("a message to fetch", || {
            found = self.get(queue)?;
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| Failure::new("no message to fetch"))
    }

    /// Takes what is ready, without a fence: for queues that a fence would change.
    pub(crate) fn drain(&self, queue: &ShortStr) -> Verdict<Vec<String>> {
        let mut bodies = Vec::new();
        while let Some(delivery) = self.get_with(queue, true)? {
            bodies.push(body(&delivery));
            ensure(bodies.len() < 100_000, "the queue does not come to an end")?;
        }
        Ok(bodies)
    }

    /// Takes one message.
    pub(crate) fn drain_one(&self, queue: &ShortStr) -> Verdict<Option<String>> {
        Ok(self.get_with(queue, true)?.as_ref().map(body))
    }

    /// Takes everything that is in a queue now, proven by a sentinel that is published behind it.
    pub(crate) fn bodies(&self, queue: &ShortStr) -> Verdict<Vec<String>> {
        let fence = format!("fence-{}", self.bench.number());
        self.put(queue, &fence)?;
        let mut bodies = Vec::new();
        self.bench.eventually("the sentinel behind all messages", || {
            while let Some(delivery) = self.get_with(queue, true)? {
                let body = body(&delivery);
                if body == fence {
                    return Ok(true);
                }
                bodies.push(body);
                ensure(bodies.len() < 100_000, "the queue does not come to an end")?;
            }
            Ok(false)
        })?;
        Ok(bodies)
    }

    pub(crate) fn qos(&self, prefetch_count: u16, global: bool) -> Verdict {
        let channel = Arc::clone(&self.channel);
        let qos = Qos { prefetch_count, global };
        Ok(self.bench.run("basic.qos", async move { channel.basic_qos(qos).await })??)
    }

    pub(crate) fn consume(&self, queue: &ShortStr) -> Verdict<Consumed<'b>> {
        self.consume_with(BasicConsume { queue: queue.clone(), ..BasicConsume::default() })
    }

    pub(crate) fn consume_with(&self, method: BasicConsume) -> Verdict<Consumed<'b>> {
        let sink = self.bench.collector();
        let queue = method.queue.clone();
        let (channel, handed) = (Arc::clone(&self.channel), Arc::clone(&sink));
        let tag = self.bench.run("basic.consume", async move { channel.basic_consume(method, handed).await })??;
        Ok(Consumed { lane: self.clone(), queue, tag, sink })
    }

    pub(crate) fn cancel(&self, tag: &ConsumerTag) -> Verdict {
        let (channel, tag) = (Arc::clone(&self.channel), tag.clone());
        Ok(self.bench.run("basic.cancel", async move { channel.basic_cancel(tag).await })??)
    }

    pub(crate) fn recover(&self) -> Verdict {
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("basic.recover", async move { channel.basic_recover().await })??)
    }

    pub(crate) fn listen(&self) -> Arc<Listener> {
        let listener = self.bench.listener();
        self.channel.observe(listener.clone());
        listener
    }

    // --- settling ---

    pub(crate) fn settled(&self, settled: Settled) -> Verdict {
        Ok(self.bench.run("the answer to a settle", settled)??)
    }

    pub(crate) fn ack(&self, tag: DeliveryTag) -> Verdict {
        self.settled(self.channel.basic_ack(tag, false))
    }

    pub(crate) fn ack_up_to(&self, tag: DeliveryTag) -> Verdict {
        self.settled(self.channel.basic_ack(tag, true))
    }

    /// Acknowledges each of `deliveries`, and then waits for the answers.
    pub(crate) fn ack_all(&self, deliveries: &[Delivery]) -> Verdict {
        let answers: Vec<_> = deliveries.iter().map(|delivery| self.channel.basic_ack(delivery.tag, false)).collect();
        answers.into_iter().try_for_each(|answer| self.settled(answer))
    }

    pub(crate) fn reject(&self, tag: DeliveryTag) -> Verdict {
        self.settled(self.channel.basic_reject(tag, false))
    }

    pub(crate) fn requeue(&self, tag: DeliveryTag) -> Verdict {
        self.settled(self.channel.basic_reject(tag, true))
    }

    pub(crate) fn nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Verdict {
        self.settled(self.channel.basic_nack(tag, multiple, requeue))
    }

    // --- ending ---

    pub(crate) fn close(&self) -> Verdict {
        let channel = Arc::clone(&self.channel);
        Ok(self.bench.run("channel.close", async move { channel.close().await })??)
    }

    /// Holds when the channel works.
    pub(crate) fn is_alive(&self) -> Verdict {
        let queue = self.queue(&format!("alive-{}", self.bench.number()))?;
        self.put(&queue, "alive")?;
        let found = self.get_soon(&queue)?;
        self.ack(found.tag)
    }

    /// Holds when the channel ended, as a channel that an error of scope `Channel` hit must, soon.
    pub(crate) fn is_dead(&self) -> Verdict {
        let queue = self.bench.queue_name(&format!("dead-{}", self.bench.number()));
        let mut last = Ok(());
        let ended = self.bench.eventually("the channel to end", || {
            last = self.declare(QueueDeclare { queue: queue.clone(), ..QueueDeclare::default() }).map(drop);
            Ok(last.is_err())
        });
        ended.during("the channel goes on")?;
        match last.map_err(Failure::into_error) {
            // A declaration of a new queue has no other reason to fail.
            Err(Ok(error)) => ensure(error.scope() != Scope::Operation, format!("the ended channel answers {error:?}")),
            Err(Err(failure)) => Err(failure),
            Ok(()) => Err(Failure::new("the channel goes on")),
        }
    }
}

impl Consumed<'_> {
    /// Waits for `count` deliveries and takes them; more than those is a failure.
    pub(crate) fn expect(&self, count: usize) -> Verdict<Vec<Delivery>> {
        self.lane.bench.wait_until(&format!("{count} deliveries"), || self.sink.len() >= count).map_err(|failure| {
            let got: Vec<_> = self.sink.take().iter().map(body).collect();
            failure.during(format!("got {} of {count} deliveries {got:?}", got.len()))
        })?;
        let deliveries = self.sink.take();
        let got = deliveries.len();
        ensure(got == count, format!("want {count} deliveries, got {got}: {:?}", bodies(&deliveries)))?;
        Ok(deliveries)
    }

    /// Publishes a sentinel and returns what came before it. The sentinel is acknowledged.
    pub(crate) fn fence(&self) -> Verdict<Vec<Delivery>> {
        let fence = format!("fence-{}", self.lane.bench.number());
        let publisher = self.lane.bench.channel()?;
        publisher.put(&self.queue, &fence)?;
        self.lane.bench.wait_until("the sentinel", || self.sink.has(&fence))?;
        let mut deliveries = self.sink.take();
        let place = deliveries.iter().position(|delivery| body(delivery) == fence);
        let sentinel = place.map(|place| deliveries.remove(place));
        if let Some(sentinel) = sentinel {
            self.lane.ack(sentinel.tag)?;
        }
        publisher.close()?;
        Ok(deliveries)
    }
}

impl Bench {
    /// Asks again and again, with the hub turned between, until `ask` says yes.
    pub(crate) fn eventually(&self, what: &str, mut ask: impl FnMut() -> Verdict<bool>) -> Verdict {
        let end = std::time::Instant::now() + self.patience();
        let mut asked = 0;
        while !ask()? {
            asked += 1;
            if std::time::Instant::now() > end || (self.is_manual() && asked > 20) {
                return Err(Failure::new(format!("waited in vain for {what}")));
            }
            self.turn()?;
            self.flow();
        }
        Ok(())
    }
}

pub(crate) fn exchange_declare(exchange: &ShortStr, kind: ExchangeKind) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: exchange.clone(),
        kind,
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new(),
    }
}

fn exchange_bind(source: &ShortStr, destination: &ShortStr, key: &str) -> ExchangeBind {
    ExchangeBind {
        destination: destination.clone(),
        source: source.clone(),
        routing_key: key.into(),
        arguments: FieldTable::new(),
    }
}

pub(crate) fn envelope(exchange: &ShortStr, key: &str, body: &str) -> Envelope {
    Envelope {
        exchange: exchange.clone(),
        routing_key: key.into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Envelope::default()
    }
}

/// Returns the body as text.
pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.envelope.body).into_owned()
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(body).collect()
}

/// Returns `prefix` with each number of the range.
pub(crate) fn numbered(prefix: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{prefix}{number}")).collect()
}
