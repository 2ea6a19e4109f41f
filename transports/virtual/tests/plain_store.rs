//! A store of some ten methods is enough for a transport, and its troubles reach whoever can do something about them.
#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot go on stops")]

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kombu_core::method::{BasicConsume, BasicGet, BasicPublish, ExchangeDeclare, QueueBind, QueueDeclare, QueueDelete};
use kombu_core::{
    Channel, Confirmation, Delivery, DeliverySink, Envelope, Error, ErrorKind, ExchangeKind, FieldTable, ManualClock,
    Outcome, Result, Scope, Support, SystemClock, Transport,
};
use kombu_virtual::{BindingDefinition, QueueDefinition, QueueMessage, QueueStore, VirtualBroker, VirtualTransport};

/// Something outside the process: it stays when the broker goes, and it can break.
#[derive(Default)]
struct Disk {
    queues: HashMap<String, VecDeque<QueueMessage>>,
    bindings: Vec<BindingDefinition>,
    next: u64,
    is_broken: bool,
}

struct DiskStore(Arc<Mutex<Disk>>);

impl DiskStore {
    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> Result<T> {
        let mut disk = self.0.lock().unwrap();
        if disk.is_broken {
            return Err(Error::new(ErrorKind::Internal, "the disk is broken"));
        }
        Ok(act(&mut disk))
    }
}

impl QueueStore for DiskStore {
    type Queue = String;

    fn create(&mut self, name: &str, _: &QueueDefinition) -> Result<String> {
        self.with(|disk| {
            disk.queues.entry(name.to_owned()).or_default();
            name.to_owned()
        })
    }

    fn exists(&mut self, name: &str) -> Result<bool> {
        self.with(|disk| disk.queues.contains_key(name))
    }

    fn push(&mut self, queue: &mut String, mut message: QueueMessage) -> Result<()> {
        self.with(|disk| {
            disk.next += 1;
            message.position = disk.next;
            disk.queues.get_mut(queue).unwrap().push_back(message);
        })
    }

    fn pop(&mut self, queue: &mut String) -> Result<Option<QueueMessage>> {
        self.with(|disk| disk.queues.get_mut(queue).unwrap().pop_front())
    }

    fn put_back(&mut self, queue: &mut String, message: QueueMessage) -> Result<()> {
        self.with(|disk| {
            let messages = disk.queues.get_mut(queue).unwrap();
            let place = messages.partition_point(|other| other.position < message.position);
            messages.insert(place, message);
        })
    }

    fn len(&mut self, queue: &mut String) -> Result<usize> {
        self.with(|disk| disk.queues.get(queue).unwrap().len())
    }

    fn remove(&mut self, name: &str, _: &mut String) -> Result<()> {
        self.with(|disk| drop(disk.queues.remove(name)))
    }

    fn bind(&mut self, binding: &BindingDefinition) -> Result<()> {
        self.with(|disk| disk.bindings.push(binding.clone()))
    }

    fn unbind(&mut self, binding: &BindingDefinition) -> Result<()> {
        self.with(|disk| disk.bindings.retain(|other| other != binding))
    }

    fn bindings(&mut self, exchange: &str) -> Result<Vec<BindingDefinition>> {
        self.with(|disk| disk.bindings.iter().filter(|binding| binding.exchange == exchange).cloned().collect())
    }
}

/// The answers of this transport are there at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the answer is not there"),
    }
}

fn broker(disk: &Arc<Mutex<Disk>>) -> Arc<VirtualBroker<DiskStore>> {
    VirtualBroker::new(DiskStore(Arc::clone(disk)), Arc::new(SystemClock))
}

fn open(broker: &Arc<VirtualBroker<DiskStore>>) -> Arc<dyn Channel> {
    let transport = VirtualTransport::new(Arc::clone(broker));
    now(transport.connect()).unwrap();
    now(transport.channel()).unwrap()
}

fn queue(name: &str) -> QueueDeclare {
    QueueDeclare { queue: name.into(), ..QueueDeclare::default() }
}

fn media() -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: "media".into(),
        kind: ExchangeKind::Topic,
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::new(),
    }
}

fn bind(queue: &str) -> QueueBind {
    QueueBind {
        queue: queue.into(),
        exchange: "media".into(),
        routing_key: "video.#".into(),
        arguments: FieldTable::new(),
    }
}

fn publish(channel: &Arc<dyn Channel>, exchange: &str, routing_key: &str) -> Result<Confirmation> {
    let envelope = Envelope { exchange: exchange.into(), routing_key: routing_key.into(), ..Envelope::default() };
    channel.basic_publish(BasicPublish::default(), Arc::new(envelope)).take_now().unwrap()
}

fn get(channel: &Arc<dyn Channel>, queue: &str) -> Result<Option<Delivery>> {
    now(channel.basic_get(BasicGet { queue: queue.into(), no_ack: false }))
}

const ONE: Confirmation = Confirmation::Confirmed { queues: Some(1) };

#[derive(Default)]
struct Collect(Mutex<(usize, Vec<Error>)>);

impl DeliverySink for Collect {
    fn deliver(&self, _: Delivery) {
        self.0.lock().unwrap().0 += 1;
    }

    fn cancelled(&self, reason: Error) {
        self.0.lock().unwrap().1.push(reason);
    }
}

#[test]
fn everything_is_declared_as_emulated() {
    let can = broker(&Arc::default()).capabilities();
    assert_eq!((can.exchange_topic, can.requeue_in_place), (Support::Emulated, Support::Emulated));
    assert_eq!((can.dead_letter, can.durable), (Support::Emulated, Support::No));
}

#[test]
fn what_is_stored_outlives_the_broker() {
    let disk = Arc::default();
    let first = open(&broker(&disk));
    now(first.exchange_declare(media())).unwrap();
    now(first.queue_declare(queue("q"))).unwrap();
    now(first.queue_bind(bind("q"))).unwrap();
    assert_eq!(publish(&first, "media", "video.one").unwrap(), ONE);
    assert_eq!(publish(&first, "", "q").unwrap(), ONE);
    let held = get(&first, "q").unwrap().unwrap();
    first.basic_reject(held.tag, true).take_now().unwrap().unwrap();

    let second = open(&broker(&disk));
    // The queue is known without being declared; the binding, once its exchange is declared.
    assert_eq!(publish(&second, "", "q").unwrap(), ONE);
    let asked = QueueDeclare { passive: true, ..queue("q") };
    assert_eq!(now(second.queue_declare(asked)).unwrap().message_count, 3);
    assert_eq!(publish(&second, "media", "video.two").unwrap_err().kind(), ErrorKind::NotFound);
    let second = open(&broker(&disk));
    now(second.exchange_declare(media())).unwrap();
    assert_eq!(publish(&second, "media", "video.two").unwrap(), ONE);
    let again = get(&second, "q").unwrap().unwrap();
    assert!(again.redelivered);
    // Its properties were not stored: the first declaration says what they are.
    now(second.queue_declare(QueueDeclare { durable: false, ..queue("q") })).unwrap();
    assert_eq!(now(second.queue_declare(queue("q"))).unwrap_err().kind(), ErrorKind::PreconditionFailed);
}

#[test]
fn what_an_earlier_run_left_expires_in_time() {
    let (disk, clock) = (Arc::default(), ManualClock::new());
    let second = Duration::from_secs(1);
    let leave = |broker: Arc<VirtualBroker<DiskStore>>| {
        let channel = open(&broker);
        now(channel.queue_declare(queue("dead"))).unwrap();
        let mut mortal = queue("q");
        mortal.arguments.insert("x-dead-letter-exchange", "");
        mortal.arguments.insert("x-dead-letter-routing-key", "dead");
        now(channel.queue_declare(mortal)).unwrap();
        channel
    };
    let broker = |disk: &Arc<Mutex<Disk>>| VirtualBroker::new(DiskStore(Arc::clone(disk)), Arc::new(clock.clone()));
    let first = leave(broker(&disk));
    let mut envelope = Envelope { routing_key: "q".into(), ..Envelope::default() };
    envelope.properties.set_expiration(second);
    first.basic_publish(BasicPublish::default(), Arc::new(envelope)).take_now().unwrap().unwrap();
    let later = broker(&disk);
    let second_run = leave(Arc::clone(&later));
    assert!(get(&second_run, "dead").unwrap().is_none());
    clock.advance(second);
    // Nobody fetches from the queue: the time alone does it.
    later.ring();
    assert_eq!(disk.lock().unwrap().queues["q"].len(), 0);
    assert!(get(&second_run, "dead").unwrap().is_some());
}

#[test]
fn deleting_forgets_in_the_store() {
    let disk = Arc::default();
    let channel = open(&broker(&disk));
    now(channel.exchange_declare(media())).unwrap();
    now(channel.queue_declare(queue("q"))).unwrap();
    now(channel.queue_bind(bind("q"))).unwrap();
    now(channel.queue_bind(bind("q"))).unwrap();
    assert_eq!(disk.lock().unwrap().bindings.len(), 1);
    now(channel.queue_delete(QueueDelete { queue: "q".into(), ..QueueDelete::default() })).unwrap();
    let disk = disk.lock().unwrap();
    assert_eq!((disk.bindings.len(), disk.queues.len()), (0, 0));
}

#[test]
fn what_others_store_is_delivered_when_the_broker_is_told() {
    let disk = Arc::default();
    let broker = broker(&disk);
    let channel = open(&broker);
    now(channel.queue_declare(queue("q"))).unwrap();
    let sink = Arc::new(Collect::default());
    now(channel.basic_consume(BasicConsume { queue: "q".into(), ..BasicConsume::default() }, sink.clone())).unwrap();
    let message = QueueMessage::new(Arc::new(Envelope::default()));
    disk.lock().unwrap().queues.get_mut("q").unwrap().push_back(message);
    assert_eq!(sink.0.lock().unwrap().0, 0);
    broker.refresh("q");
    broker.refresh("unknown");
    assert_eq!(sink.0.lock().unwrap().0, 1);
}

#[test]
fn a_broken_store_says_so_and_loses_nothing_silently() {
    let disk = Arc::<Mutex<Disk>>::default();
    let broker = broker(&disk);
    let channel = open(&broker);
    now(channel.queue_declare(queue("q"))).unwrap();
    assert_eq!(publish(&channel, "", "q").unwrap(), ONE);
    let held = get(&channel, "q").unwrap().unwrap();

    disk.lock().unwrap().is_broken = true;
    let error = publish(&channel, "", "q").unwrap_err();
    assert_eq!((error.outcome(), error.scope()), (Some(Outcome::NotSent), Scope::Operation));
    assert_eq!(error.context("queue"), Some("q"));
    assert!(get(&channel, "q").is_err());
    // It cannot go back, so it is set aside, where it is found.
    channel.basic_reject(held.tag, true).take_now().unwrap().unwrap();
    let kept = now(channel.malformed("q".into(), 10)).unwrap();
    assert_eq!((kept.len(), kept[0].reason.as_str()), (1, "the disk is broken"));

    // A consumer that cannot be served is told.
    disk.lock().unwrap().is_broken = false;
    let sink = Arc::new(Collect::default());
    now(channel.basic_consume(BasicConsume { queue: "q".into(), ..BasicConsume::default() }, sink.clone())).unwrap();
    disk.lock().unwrap().is_broken = true;
    broker.refresh("q");
    let told = std::mem::take(&mut sink.0.lock().unwrap().1);
    assert_eq!((told.len(), told[0].scope()), (1, Scope::Channel));
    disk.lock().unwrap().is_broken = false;
    assert_eq!(publish(&channel, "", "q").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(publish(&open(&broker), "", "q").unwrap(), ONE);
}
