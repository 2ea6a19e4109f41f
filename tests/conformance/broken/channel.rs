//! A channel of memory with one promise broken.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare,
    QueueDeclared, QueueDelete,
};
use kombu_core::reply::ReplySender;
use kombu_core::{
    Channel, ChannelEvents, Confirm, Confirmation, ConsumerTag, Delivery, DeliverySink, DeliveryTag, Envelope, Error,
    ErrorKind, ExchangeKind, Malformed, Qos, Result, Scope, Settled, ShortStr,
};

use crate::fault::Fault;
use crate::sink::BrokenSink;
use crate::world::{Link, lock};
use crate::{arguments, envelope};

/// A channel of memory, and what was delivered on it and not settled.
pub(crate) struct Inside {
    pub(crate) memory: Arc<dyn Channel>,
    pub(crate) held: Mutex<BTreeMap<u64, (ShortStr, Arc<Envelope>)>>,
    pub(crate) sinks: Mutex<Vec<Arc<dyn DeliverySink>>>,
    pub(crate) prefetch: AtomicUsize,
    pub(crate) is_closed: AtomicBool,
}

impl Inside {
    pub(crate) fn new(memory: Arc<dyn Channel>) -> Self {
        Inside {
            memory,
            held: Mutex::default(),
            sinks: Mutex::default(),
            prefetch: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        !lock(&self.held).is_empty()
    }

    /// Does to what is held what `fault` does when the channel closes.
    pub(crate) fn closing(&self, fault: Fault) {
        match fault {
            Fault::CloseLosesHeld => self.each_held(|tag, _, _| drop(self.memory.basic_ack(tag, false))),
            Fault::CloseReordersHeld => self.each_held(|tag, queue, envelope| self.to_tail(tag, queue, envelope)),
            _ => {}
        }
    }

    pub(crate) fn each_held(&self, act: impl Fn(DeliveryTag, ShortStr, Arc<Envelope>)) {
        // Not in the loop's head, where it would stay locked: what is settled makes room for the next delivery.
        let held = std::mem::take(&mut *lock(&self.held));
        for (tag, (queue, envelope)) in held {
            act(DeliveryTag(tag), queue, envelope);
        }
    }

    /// Puts a delivery back to the end of its queue, as a new message.
    fn to_tail(&self, tag: DeliveryTag, queue: ShortStr, envelope: Arc<Envelope>) {
        drop(self.memory.basic_ack(tag, false));
        let again = Envelope { exchange: ShortStr::default(), routing_key: queue, ..(*envelope).clone() };
        drop(self.memory.basic_publish(BasicPublish::default(), Arc::new(again)));
    }
}

/// Memory answers at once.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory did not answer at once"),
    }
}

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
        now(self.link.memory.channel())
    }

    fn passive(&self, queue: &ShortStr) -> Result<QueueDeclared> {
        let method = QueueDeclare { queue: queue.clone(), passive: true, ..QueueDeclare::default() };
        now(self.aside()?.queue_declare(method))
    }

    pub(crate) fn exchange_exists(&self, exchange: &ShortStr) -> bool {
        let method = ExchangeDeclare { passive: true, ..arguments::exchange(exchange, ExchangeKind::Direct) };
        self.aside().is_ok_and(|aside| now(aside.exchange_declare(method)).is_ok())
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

    fn settle(
        &self,
        tag: DeliveryTag,
        multiple: bool,
        act: impl Fn(&dyn Channel, DeliveryTag, bool) -> Settled,
    ) -> Settled {
        let fault = self.link.fault;
        let mut tag = tag;
        if fault == Fault::TagsFromEleven && tag.0 > 0 {
            tag.0 = tag.0.saturating_sub(10);
        }
        let lowest = lock(&self.inside.held).keys().next().copied();
        let is_known = lock(&self.inside.held).contains_key(&tag.0);
        match fault {
            Fault::BadTagIsSilent if !is_known && !multiple && !self.inside.is_closed.load(Ordering::Relaxed) => {
                return Settled::ready(Ok(()));
            }
            Fault::OutOfOrderSettleFails if !multiple && is_known && lowest != Some(tag.0) => {
                return Settled::ready(Err(Error::new(ErrorKind::PreconditionFailed, "not the oldest")));
            }
            _ => {}
        }
        let mut held = lock(&self.inside.held);
        if multiple {
            held.retain(|known, _| tag.0 != 0 && *known > tag.0);
        } else {
            held.remove(&tag.0);
        }
        drop(held);
        let mut settled = act(&**self.memory(), tag, multiple);
        match settled.take_now() {
            Some(result) => Settled::ready(self.failed(result)),
            None => settled,
        }
    }

    fn give_back(&self, tag: DeliveryTag, multiple: bool) -> Option<Settled> {
        let held = lock(&self.inside.held).get(&tag.0).cloned();
        let (queue, envelope) = held?;
        let is_tail = match self.link.fault {
            Fault::RequeueToTail => !multiple,
            Fault::RequeueRenewsTtl => envelope.properties.expiration().is_some(),
            _ => false,
        };
        is_tail.then(|| {
            lock(&self.inside.held).remove(&tag.0);
            self.inside.to_tail(tag, queue, envelope);
            Settled::ready(Ok(()))
        })
    }
}

#[async_trait]
impl Channel for BrokenChannel {
    async fn exchange_declare(&self, mut method: ExchangeDeclare) -> Result<()> {
        method.exchange = self.name(method.exchange);
        let name = method.exchange.clone();
        let is_reserved = name.starts_with("amq.") || name.is_empty();
        match self.link.fault {
            Fault::ReservedNamesAllowed if name.starts_with("amq.") => return Ok(()),
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
        arguments::of_exchange(self.link.fault, &mut method);
        self.failed(self.memory().exchange_declare(method).await)
    }

    async fn exchange_delete(&self, mut method: ExchangeDelete) -> Result<()> {
        method.exchange = self.name(method.exchange);
        match self.link.fault {
            Fault::ExchangeDeleteKeeps => return Ok(()),
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
        if self.is(Fault::ExchangeBindingIgnored) {
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
        if self.is(Fault::PurgeTakesHeld) {
            self.inside.each_held(|tag, _, _| drop(self.memory().basic_ack(tag, false)));
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
            Fault::NoAckConsumerHolds => method.no_ack = false,
            Fault::NoBacklogDelivered => {
                now(self.memory().queue_purge(queue.clone()))?;
            }
            _ => {}
        }
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
                self.inside.each_held(|tag, _, _| drop(self.memory().basic_ack(tag, false)));
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
                self.inside.each_held(|tag, _, _| drop(self.memory().basic_ack(tag, false)));
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
        let fault = self.link.fault;
        let is_open = !self.inside.is_closed.load(Ordering::Relaxed);
        match fault {
            Fault::AckDoesNothing if is_open && lock(&self.inside.held).contains_key(&tag.0) => {
                return Settled::ready(Ok(()));
            }
            Fault::AckMultipleReachesOtherChannels if multiple => {
                for other in self.link.living().iter().filter(|other| !Arc::ptr_eq(other, &self.inside)) {
                    other.each_held(|tag, _, _| drop(other.memory.basic_ack(tag, false)));
                }
            }
            _ => {}
        }
        self.settle(tag, multiple, |memory, tag, multiple| match fault {
            Fault::AckMultipleIsOne if multiple && tag.0 != 0 => memory.basic_ack(tag, false),
            Fault::AckMultipleIsAll if multiple => memory.basic_ack(DeliveryTag(0), true),
            Fault::AckAlwaysMultiple => memory.basic_ack(tag, true),
            _ => memory.basic_ack(tag, multiple),
        })
    }

    fn basic_nack(&self, tag: DeliveryTag, multiple: bool, requeue: bool) -> Settled {
        let fault = self.link.fault;
        if requeue && let Some(settled) = self.give_back(tag, multiple) {
            return settled;
        }
        self.settle(tag, multiple, |memory, tag, multiple| match fault {
            Fault::NackMultipleIsOne if multiple => memory.basic_nack(tag, false, requeue),
            Fault::NackMultipleDropsAll if multiple => memory.basic_nack(DeliveryTag(0), true, false),
            Fault::RejectRequeues => memory.basic_nack(tag, multiple, true),
            Fault::RequeueDrops => memory.basic_nack(tag, multiple, false),
            _ => memory.basic_nack(tag, multiple, requeue),
        })
    }

    fn set_aside(&self, delivery: &Delivery, queue: &ShortStr, reason: &str) -> Settled {
        if self.is(Fault::SetAsideRequeues) {
            return self.basic_nack(delivery.tag, false, true);
        }
        self.settle(delivery.tag, false, |memory, tag, _| {
            memory.set_aside(&Delivery { tag, ..delivery.clone() }, queue, reason)
        })
    }

    async fn malformed(&self, queue: ShortStr, limit: u32) -> Result<Vec<Malformed>> {
        self.memory().malformed(queue, limit).await
    }

    fn observe(&self, events: Arc<dyn ChannelEvents>) {
        self.memory().observe(events);
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
