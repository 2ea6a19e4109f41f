//! A channel of memory with one promise broken.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use kombu_core::reply::ReplySender;
use kombu_core::{
    Channel, ChannelEvents, Confirm, Confirmation, ConsumerTag, Delivery, DeliverySink, DeliveryTag, Envelope, Error,
    ErrorKind, ExchangeKind, FieldTable, Malformed, Qos, Result, Scope, Settled, ShortStr,
};

use crate::fault::Fault;
use crate::inside::{Inside, now};
use crate::sink::BrokenSink;
use crate::world::{Link, lock};
use crate::{arguments, envelope};

/// A publish that waits for the next tick, and who waits for its answer.
type Unflushed = (BasicPublish, Arc<Envelope>, ReplySender<Result<Confirmation>>);

pub(crate) struct BrokenChannel {
    pub(crate) inside: Arc<Inside>,
    pub(crate) link: Arc<Link>,
    pub(crate) unflushed: Mutex<Vec<Unflushed>>,
    pub(crate) mixed_up: Mutex<Option<Confirmation>>,
}

impl BrokenChannel {
    pub(crate) fn new(inside: Arc<Inside>, link: Arc<Link>) -> Self {
        BrokenChannel { inside, link, unflushed: Mutex::default(), mixed_up: Mutex::default() }
    }

    pub(crate) fn is(&self, fault: Fault) -> bool {
        self.link.fault == fault
    }

    pub(crate) fn memory(&self) -> &Arc<dyn Channel> {
        &self.inside.memory
    }

    /// Another channel, which may fail without harm.
    pub(crate) fn aside(&self) -> Result<Arc<dyn Channel>> {
        self.link.aside()
    }

    fn passive(&self, queue: &ShortStr) -> Result<QueueDeclared> {
        let method = QueueDeclare { queue: queue.clone(), passive: true, ..QueueDeclare::default() };
        now(self.aside()?.queue_declare(method))
    }

    pub(crate) fn exchange_exists(&self, exchange: &ShortStr) -> bool {
        let method = ExchangeDeclare { passive: true, ..arguments::exchange(exchange, ExchangeKind::Direct) };
        self.aside().is_ok_and(|aside| now(aside.exchange_declare(method)).is_ok())
    }

    fn is_bound_to_fanout(&self, queue: &ShortStr) -> bool {
        let world = lock(&self.link.world);
        world.bindings.keys().any(|(bound, exchange)| bound == queue && world.fanouts.contains(exchange))
    }

    /// Binds again what was bound to an exchange before it was deleted.
    fn bind_again(&self, name: &ShortStr) {
        let bindings = lock(&self.link.world).bindings.clone();
        for ((queue, exchange), keys) in bindings.into_iter().filter(|((_, exchange), _)| exchange == name) {
            for routing_key in keys {
                let (queue, exchange) = (queue.clone(), exchange.clone());
                let method = QueueBind { queue, exchange, routing_key, arguments: FieldTable::new() };
                drop(self.aside().map(|aside| now(aside.queue_bind(method))));
            }
        }
    }

    fn note(&self, queue: &ShortStr, delivery: Delivery) -> Delivery {
        lock(&self.inside.held).insert(delivery.tag.0, (queue.clone(), Arc::clone(&delivery.envelope)));
        envelope::delivered(self.link.fault, delivery)
    }

    pub(crate) fn name(&self, name: ShortStr) -> ShortStr {
        match self.link.fault {
            Fault::TrimsNames => name.split([' ', '/']).next().unwrap_or_default().into(),
            _ => name,
        }
    }

    /// Learns that an operation failed.
    pub(crate) fn failed<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() && self.link.is_lost() {
            return Err(crate::network::lost("the link was cut"));
        }
        if let Err(error) = &result
            && error.scope() == Scope::Channel
            && error.kind() != ErrorKind::Closed
            && error.kind() != ErrorKind::ChannelGone
            && (self.is(Fault::ChannelErrorEndsConnection)
                || (self.is(Fault::BadTagClosesConnection) && error.context("delivery_tag").is_some()))
        {
            for channel in self.link.living() {
                drop(now(channel.memory.close()));
            }
        }
        result
    }
}

#[async_trait]
impl Channel for BrokenChannel {
    async fn exchange_declare(&self, mut method: ExchangeDeclare) -> Result<()> {
        method.exchange = self.name(method.exchange);
        let name = method.exchange.clone();
        let is_reserved = name.starts_with("amq.") || name.is_empty();
        match self.link.fault {
            Fault::ReservedNamesAllowed | Fault::ReservedExchangesAllowed if name.starts_with("amq.") => return Ok(()),
            Fault::DefaultExchangeBindable if name.is_empty() => return Ok(()),
            Fault::RedeclareExchangeAccepted if !method.passive && self.exchange_exists(&name) => return Ok(()),
            Fault::RedeclareExchangeReplaces if !method.passive && !is_reserved => {
                now(self.memory().exchange_delete(ExchangeDelete { exchange: name.clone(), if_unused: false }))?;
            }
            _ => {}
        }
        if method.kind == ExchangeKind::Fanout {
            lock(&self.link.world).fanouts.insert(name.clone());
        }
        if self.link.machine.as_ref().is_some_and(|machine| machine.forgets_exchange(&method)) {
            return Ok(());
        }
        arguments::of_exchange(self.link.fault, &mut method);
        self.failed(self.memory().exchange_declare(method).await)?;
        if self.is(Fault::ExchangeDeleteKeepsBindings) && lock(&self.link.world).deleted.remove(&name) {
            self.bind_again(&name);
        }
        Ok(())
    }

    async fn exchange_delete(&self, mut method: ExchangeDelete) -> Result<()> {
        method.exchange = self.name(method.exchange);
        match self.link.fault {
            Fault::ExchangeDeleteKeeps => return Ok(()),
            Fault::ExchangeDeleteKeepsBindings => {
                lock(&self.link.world).deleted.insert(method.exchange.clone());
            }
            Fault::DefaultExchangeBindable if method.exchange.is_empty() => return Ok(()),
            Fault::ExchangeIfUnusedIgnored => method.if_unused = false,
            Fault::DeletingNothingFails if !self.exchange_exists(&method.exchange) => {
                return Err(Error::new(ErrorKind::NotFound, "no such exchange").in_scope(Scope::Channel));
            }
            _ => {}
        }
        self.failed(self.memory().exchange_delete(method).await)
    }

    async fn exchange_bind(&self, method: ExchangeBind) -> Result<()> {
        let forgets = self.link.machine.as_ref().is_some_and(|machine| machine.forgets_bindings());
        if self.is(Fault::ExchangeBindingIgnored) || forgets {
            return Ok(());
        }
        self.failed(self.memory().exchange_bind(method).await)
    }

    async fn exchange_unbind(&self, method: ExchangeBind) -> Result<()> {
        self.failed(self.memory().exchange_unbind(method).await)
    }

    async fn queue_declare(&self, mut method: QueueDeclare) -> Result<QueueDeclared> {
        method.queue = self.name(method.queue);
        let name = method.queue.clone();
        let is_new = !method.passive && self.is(Fault::AutoDeleteEarly) && self.passive(&name).is_err();
        match self.link.fault {
            Fault::RedeclareQueueAccepted if !method.passive && !name.is_empty() => {
                if let Ok(there) = self.passive(&name) {
                    return Ok(there);
                }
            }
            Fault::PassiveCreates => method.passive = false,
            Fault::LongNamesRefused if name.len() > 200 => {
                return Err(Error::new(ErrorKind::PreconditionFailed, "the name is too long").in_scope(Scope::Channel));
            }
            Fault::TruncatesNames => method.queue = name.chars().take(200).collect::<String>().into(),
            Fault::SameServerName if name.is_empty() => method.queue = "the-same".into(),
            Fault::ReservedNamesAllowed if name.starts_with("amq.") => return Ok(QueueDeclared::default()),
            Fault::PassiveMissesEmpty
                if method.passive && self.passive(&name).is_ok_and(|there| there.message_count == 0) =>
            {
                method.queue = format!("{name}-missing").into();
            }
            _ => {}
        }
        if method.arguments.contains_key("x-single-active-consumer") {
            lock(&self.link.world).single_active.insert(name.clone());
        }
        arguments::of_queue(self.link.fault, &mut method);
        let is_auto_delete = method.auto_delete;
        let mut declared = self.failed(self.memory().queue_declare(method.clone()).await)?;
        match self.link.fault {
            Fault::CountsNothing => declared.message_count = 0,
            Fault::NoConsumerCount => declared.consumer_count = 0,
            Fault::EmptyServerName if name.is_empty() => declared.queue = ShortStr::default(),
            Fault::RedeclarePurges if !method.passive => {
                now(self.memory().queue_purge(name.clone()))?;
            }
            Fault::AutoDeleteEarly if is_new && is_auto_delete => {
                now(self.memory().queue_delete(QueueDelete { queue: name, ..QueueDelete::default() }))?;
            }
            _ => {}
        }
        Ok(declared)
    }

    async fn queue_bind(&self, mut method: QueueBind) -> Result<()> {
        (method.queue, method.exchange) = (self.name(method.queue), self.name(method.exchange));
        match self.link.fault {
            Fault::DefaultExchangeBindable if method.exchange.is_empty() => return Ok(()),
            Fault::BindToMissingIsFine
                if self.passive(&method.queue).is_err() || !self.exchange_exists(&method.exchange) =>
            {
                return Ok(());
            }
            _ => {}
        }
        let pair = (method.queue.clone(), method.exchange.clone());
        lock(&self.link.world).bindings.entry(pair).or_default().push(method.routing_key.clone());
        arguments::of_binding(self.link.fault, &mut method);
        self.failed(self.memory().queue_bind(method).await)
    }

    async fn queue_unbind(&self, mut method: QueueBind) -> Result<()> {
        (method.queue, method.exchange) = (self.name(method.queue), self.name(method.exchange));
        arguments::of_binding(self.link.fault, &mut method);
        match self.link.fault {
            Fault::UnbindDoesNothing => return Ok(()),
            Fault::UnbindTakesAll => {
                let pair = (method.queue.clone(), method.exchange.clone());
                let keys = lock(&self.link.world).bindings.remove(&pair).unwrap_or_default();
                for routing_key in keys {
                    now(self.memory().queue_unbind(QueueBind { routing_key, ..method.clone() }))?;
                }
            }
            _ => {}
        }
        self.failed(self.memory().queue_unbind(method).await)
    }

    async fn queue_purge(&self, queue: ShortStr) -> Result<u32> {
        if self.is(Fault::MissingQueuesAreEmpty) && self.passive(&queue).is_err() {
            return Ok(0);
        }
        if self.is(Fault::PurgeTakesHeld) {
            self.inside.drop_held();
        }
        let count = self.failed(self.memory().queue_purge(self.name(queue)).await)?;
        Ok(if self.is(Fault::PurgeCountsZero) { 0 } else { count })
    }

    async fn queue_delete(&self, mut method: QueueDelete) -> Result<u32> {
        method.queue = self.name(method.queue);
        match self.link.fault {
            Fault::IfEmptyIgnored => method.if_empty = false,
            Fault::IfUnusedIgnored => method.if_unused = false,
            Fault::DeleteKeepsQueue if !method.if_empty && !method.if_unused => {
                return self.failed(self.memory().queue_purge(method.queue).await);
            }
            Fault::DeletingNothingFails if self.passive(&method.queue).is_err() => {
                return Err(Error::new(ErrorKind::NotFound, "no such queue").in_scope(Scope::Channel));
            }
            _ => {}
        }
        let count = self.failed(self.memory().queue_delete(method).await)?;
        Ok(if self.is(Fault::DeleteCountsZero) { 0 } else { count })
    }

    async fn basic_qos(&self, mut qos: Qos) -> Result<()> {
        self.inside.prefetch.store(usize::from(qos.prefetch_count), Ordering::Relaxed);
        match self.link.fault {
            Fault::PrefetchIgnored => return Ok(()),
            Fault::PrefetchOneTooMany if qos.prefetch_count > 0 => qos.prefetch_count += 1,
            Fault::ZeroPrefetchIsFew if qos.prefetch_count == 0 => qos.prefetch_count = 100,
            Fault::PrefetchAlwaysGlobal => qos.global = true,
            Fault::PrefetchGlobalIgnored => qos.global = false,
            _ => {}
        }
        self.failed(self.memory().basic_qos(qos).await)
    }

    async fn basic_consume(&self, mut method: BasicConsume, sink: Arc<dyn DeliverySink>) -> Result<ConsumerTag> {
        method.queue = self.name(method.queue);
        let (tag, queue) = (method.consumer_tag.clone(), method.queue.clone());
        let is_first_of_queue = lock(&self.link.world).consumed.insert(queue.clone());
        let is_first_of_channel = lock(&self.inside.sinks).is_empty();
        lock(&self.inside.sinks).push(Arc::clone(&sink));
        let mut sink = sink;
        match self.link.fault {
            Fault::FirstConsumerTakesAll if !is_first_of_queue => return Ok("later".into()),
            Fault::OneConsumerPerChannel if !is_first_of_channel => return Ok("other".into()),
            Fault::ConsumersOfAChannelMixedUp => sink = Arc::clone(&lock(&self.inside.sinks)[0]),
            Fault::DuplicateTagAccepted if !tag.is_empty() => method.consumer_tag = ShortStr::default(),
            Fault::ExclusiveConsumerIgnored => method.exclusive = false,
            Fault::SingleActiveIsAlone if !is_first_of_queue => {
                method.exclusive |= lock(&self.link.world).single_active.contains(&queue);
            }
            Fault::NoAckConsumerHolds => method.no_ack = false,
            Fault::NoBacklogDelivered => {
                now(self.memory().queue_purge(queue.clone()))?;
            }
            _ => {}
        }
        arguments::of_consumer(self.link.fault, &mut method.arguments);
        let broken = Arc::new(BrokenSink::new(self.link.fault, sink, Arc::clone(&self.inside), queue, method.no_ack));
        let given =
            self.failed(self.memory().basic_consume(method, Arc::clone(&broken) as Arc<dyn DeliverySink>).await)?;
        broken.started();
        Ok(if self.is(Fault::DuplicateTagAccepted) && !tag.is_empty() { tag } else { given })
    }

    async fn basic_cancel(&self, consumer_tag: ConsumerTag) -> Result<()> {
        match self.link.fault {
            Fault::CancelGoesOn => return Ok(()),
            Fault::CancelDropsHeld => {
                self.inside.drop_held();
            }
            _ => {}
        }
        self.failed(self.memory().basic_cancel(consumer_tag).await)
    }

    async fn basic_get(&self, mut method: BasicGet) -> Result<Option<Delivery>> {
        method.queue = self.name(method.queue);
        let held = lock(&self.inside.held).len();
        let window = self.inside.prefetch.load(Ordering::Relaxed);
        match self.link.fault {
            Fault::GetNoAckHolds => method.no_ack = false,
            Fault::FanoutForgottenAtGet
                if self.is_bound_to_fanout(&method.queue)
                    && lock(&self.link.world).consumed.insert(method.queue.clone()) =>
            {
                now(self.memory().queue_purge(method.queue.clone()))?;
            }
            Fault::MissingQueuesAreEmpty if self.passive(&method.queue).is_err() => return Ok(None),
            Fault::GetFailsOnNew if !lock(&self.link.world).published_to.contains(&method.queue) => {
                return Err(Error::new(ErrorKind::NotFound, "nothing was ever in it"));
            }
            Fault::GetCountsAgainstPrefetch if window > 0 && held >= window => return Ok(None),
            _ => {}
        }
        let (queue, no_ack) = (method.queue.clone(), method.no_ack);
        match self.failed(self.memory().basic_get(method).await)? {
            Some(delivery) if no_ack => Ok(Some(envelope::delivered(self.link.fault, delivery))),
            Some(delivery) => Ok(Some(self.note(&queue, delivery))),
            None if self.is(Fault::GetFailsOnEmpty) => Err(Error::new(ErrorKind::Timeout, "nothing came")),
            None => Ok(None),
        }
    }

    async fn basic_recover(&self) -> Result<()> {
        match self.link.fault {
            Fault::RecoverDoesNothing => return Ok(()),
            Fault::RecoverDrops => {
                self.inside.drop_held();
                return Ok(());
            }
            _ => {}
        }
        lock(&self.inside.held).clear();
        self.failed(self.memory().basic_recover().await)
    }

    fn basic_publish(&self, method: BasicPublish, envelope: Arc<Envelope>) -> Confirm {
        self.publish(method, envelope)
    }

    fn basic_ack(&self, tag: DeliveryTag, multiple: bool) -> Settled {
        self.ack(tag, multiple)
    }

    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        self.nack(tag, multiple, requeue)
    }

    fn set_aside(&self, delivery: &Delivery, queue: &ShortStr, reason: &str) -> Settled {
        self.put_aside(delivery, queue, reason)
    }

    async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        self.memory().malformed(queue, limit).await
    }

    fn observe(&self, events: Arc<dyn ChannelEvents>) {
        self.inside.observe(events);
    }

    async fn close(&self) -> Result<()> {
        let was_closed = self.inside.is_closed.swap(true, Ordering::Relaxed);
        match self.link.fault {
            Fault::CloseIsIgnored => return Ok(()),
            Fault::CloseTwiceFails if was_closed => return Err(Error::new(ErrorKind::InvalidState, "closed twice")),
            Fault::CloseHangsWhileHolding if self.inside.holds() => std::future::pending::<()>().await,
            fault => self.inside.closing(fault),
        }
        lock(&self.inside.held).clear();
        self.memory().close().await
    }
}
