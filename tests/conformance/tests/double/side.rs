//! One of the two, and how it is asked.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kombu_core::method::{
    BasicGet, BasicPublish, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDelete,
};
use kombu_core::{
    Channel, Confirmation, DeliveryTag, Envelope, Error, FieldTable, Qos, Result, Scope, ShortStr, SystemClock,
    Transport, TransportConfig, Value, registry,
};
use kombu_hub::MioHub;

use crate::operation::{KEYS, KINDS, Operation};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One of the two.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    hub: Rc<MioHub>,
    transport: Arc<dyn Transport>,
    channel: Arc<dyn Channel>,
    held: Vec<DeliveryTag>,
    prefix: String,
    published: usize,
}

impl Side {
    pub(crate) fn new(name: &'static str, url: &str, prefix: &str) -> Self {
        let hub = Rc::new(MioHub::new().unwrap());
        let entry = registry::find(url.split(':').next().unwrap()).unwrap();
        let transport = (entry.make)(TransportConfig {
            url: url.parse().unwrap(),
            alternates: Vec::new(),
            options: FieldTable::new(),
            clock: Arc::new(SystemClock),
        })
        .unwrap();
        transport.register_with_event_loop(hub.io()).unwrap();
        let connecting = Arc::clone(&transport);
        let channel = wait(&hub, async move {
            connecting.connect().await?;
            connecting.channel().await
        })
        .unwrap();
        Side { name, hub, transport, channel, held: Vec::new(), prefix: prefix.to_owned(), published: 0 }
    }

    fn queue(&self, number: usize) -> ShortStr {
        format!("{}-q{number}", self.prefix).into()
    }

    fn exchange(&self, number: usize) -> ShortStr {
        format!("{}-x{number}", self.prefix).into()
    }

    fn arguments(&self, number: usize) -> FieldTable {
        match number {
            1 => FieldTable::from([("x-max-length", 3)]),
            2 => FieldTable::from([
                ("x-dead-letter-exchange", Value::from("")),
                ("x-dead-letter-routing-key", Value::from(self.queue(0).as_str())),
            ]),
            3 => FieldTable::from([("x-max-priority", 5)]),
            _ => FieldTable::new(),
        }
    }

    /// What the topic exchange cannot route goes to the fanout one.
    fn exchange_arguments(&self, number: usize) -> FieldTable {
        match number {
            1 => FieldTable::from([("alternate-exchange", self.exchange(2).as_str())]),
            _ => FieldTable::new(),
        }
    }

    fn reopen(&mut self) {
        let old = Arc::clone(&self.channel);
        // One that ended by an error is closed already.
        let _ = wait(&self.hub, async move { old.close().await });
        let open = || {
            let transport = Arc::clone(&self.transport);
            wait(&self.hub, async move { transport.channel().await })
        };
        // What ends the old channel may still be on its way and hit the new one.
        let mut last = None;
        self.channel = (0..20)
            .find_map(|_| open().map_err(|error| last = Some(error)).ok())
            .unwrap_or_else(|| panic!("{} opens no channel any more: {last:?}", self.name));
        self.held.clear();
    }

    /// Does an operation and says in words what came of it.
    pub(crate) fn perform(&mut self, operation: &Operation) -> String {
        let result = self.attempt(operation);
        match result {
            Ok(text) => text,
            // A transport may publish on a channel of its own, and mend it unseen: only what the publisher is told must agree.
            Err(error) if matches!(operation, Operation::Publish { .. }) => {
                self.reopen();
                format!("{:?} of a publish", error.kind())
            }
            Err(error) => {
                if error.scope() != Scope::Operation {
                    self.reopen();
                }
                format!("{:?} of scope {:?}", error.kind(), error.scope())
            }
        }
    }

    fn attempt(&mut self, operation: &Operation) -> Result<String> {
        let channel = Arc::clone(&self.channel);
        let hub = &Rc::clone(&self.hub);
        match *operation {
            Operation::DeclareQueue { queue, durable, arguments } => {
                let arguments = self.arguments(arguments);
                let method = QueueDeclare { queue: self.queue(queue), durable, arguments, ..QueueDeclare::default() };
                let declared = wait(hub, async move { channel.queue_declare(method).await })?;
                Ok(format!("{} messages", declared.message_count))
            }
            Operation::DeclareExchange { exchange, kind, durable } => {
                let method = ExchangeDeclare {
                    exchange: self.exchange(exchange),
                    kind: KINDS[kind].clone(),
                    passive: false,
                    durable,
                    auto_delete: false,
                    internal: false,
                    arguments: self.exchange_arguments(exchange),
                };
                wait(hub, async move { channel.exchange_declare(method).await }).map(|()| "declared".to_owned())
            }
            Operation::Bind { queue, exchange, key } => {
                let method = self.binding(queue, exchange, key);
                wait(hub, async move { channel.queue_bind(method).await }).map(|()| "bound".to_owned())
            }
            Operation::Unbind { queue, exchange, key } => {
                let method = self.binding(queue, exchange, key);
                wait(hub, async move { channel.queue_unbind(method).await }).map(|()| "unbound".to_owned())
            }
            Operation::BindExchanges { source, destination, key } => {
                let method = self.exchange_binding(source, destination, key);
                wait(hub, async move { channel.exchange_bind(method).await }).map(|()| "bound".to_owned())
            }
            Operation::UnbindExchanges { source, destination, key } => {
                let method = self.exchange_binding(source, destination, key);
                wait(hub, async move { channel.exchange_unbind(method).await }).map(|()| "unbound".to_owned())
            }
            Operation::Publish { exchange, key, mandatory, priority } => {
                self.published += 1;
                let (exchange, key) = match exchange {
                    Some(exchange) => (self.exchange(exchange), KEYS[key].into()),
                    None => (ShortStr::default(), self.queue(key % 3)),
                };
                let body = Bytes::from(format!("message {}", self.published));
                let mut envelope = Envelope { exchange, routing_key: key, body, ..Envelope::default() };
                envelope.properties.priority = Some(priority);
                envelope.headers = message_headers(priority).into();
                let method = BasicPublish { mandatory, timeout: Some(PATIENCE) };
                Ok(match wait(hub, channel.basic_publish(method, Arc::new(envelope)))? {
                    Confirmation::Confirmed { .. } => "confirmed".to_owned(),
                    Confirmation::Returned(returned) => format!("returned {}", returned.code),
                })
            }
            Operation::Get { queue, no_ack } => {
                let method = BasicGet { queue: self.queue(queue), no_ack };
                let Some(delivery) = wait(hub, async move { channel.basic_get(method).await })? else {
                    return Ok("nothing".to_owned());
                };
                if !no_ack {
                    self.held.push(delivery.tag);
                }
                let envelope = &delivery.envelope;
                let plain = |name: &str| name.strip_prefix(&self.prefix).unwrap_or(name).to_owned();
                let deaths = envelope.headers.get("x-death").and_then(Value::as_list).map(|deaths| {
                    let death = |death: &Value| {
                        let table = death.as_map().cloned().unwrap_or_default();
                        let text = |key: &str| plain(table.get(key).and_then(Value::as_str).unwrap_or_default());
                        format!("{} {} {:?}", text("queue"), text("reason"), table.get("count").and_then(Value::as_i64))
                    };
                    deaths.iter().map(death).collect::<Vec<_>>()
                });
                Ok(format!(
                    "{:?} from `{}` by `{}`, redelivered {}, tag {}, priority {:?}, deaths {deaths:?}",
                    envelope.body,
                    plain(&envelope.exchange),
                    plain(&envelope.routing_key),
                    delivery.redelivered,
                    delivery.tag,
                    envelope.properties.priority
                ))
            }
            Operation::Ack { which, multiple } => {
                let Some(tag) = self.take_held(which, multiple) else { return Ok("nothing held".to_owned()) };
                wait(hub, self.channel.basic_ack(tag, multiple)).map(|()| format!("settled {tag}"))
            }
            Operation::Nack { which, multiple, requeue } => {
                let Some(tag) = self.take_held(which, multiple) else { return Ok("nothing held".to_owned()) };
                wait(hub, self.channel.basic_nack(tag, multiple, requeue)).map(|()| format!("settled {tag}"))
            }
            Operation::BadTag => {
                // The answer of a settle may come before the broker looked at it; the end of the channel is the answer.
                let _ = wait(hub, channel.basic_ack(DeliveryTag(4711), false));
                let end = Instant::now() + PATIENCE;
                while wait(hub, {
                    let channel = Arc::clone(&channel);
                    async move { channel.basic_qos(Qos { prefetch_count: 10, global: false }).await }
                })
                .is_ok()
                {
                    assert!(Instant::now() < end, "{}: an unknown tag does not end the channel", self.name);
                }
                self.reopen();
                Ok("a new channel".to_owned())
            }
            Operation::Recover => {
                wait(hub, async move { channel.basic_recover().await })?;
                self.held.clear();
                Ok("recovered".to_owned())
            }
            Operation::Purge { queue } => {
                let queue = self.queue(queue);
                wait(hub, async move { channel.queue_purge(queue).await }).map(|count| format!("{count} purged"))
            }
            Operation::DeleteQueue { queue, if_empty } => {
                let method = QueueDelete { queue: self.queue(queue), if_unused: false, if_empty };
                wait(hub, async move { channel.queue_delete(method).await }).map(|count| format!("{count} deleted"))
            }
            Operation::DeleteExchange { exchange, if_unused } => {
                let method = ExchangeDelete { exchange: self.exchange(exchange), if_unused };
                wait(hub, async move { channel.exchange_delete(method).await }).map(|()| "deleted".to_owned())
            }
            Operation::Count { queue } => {
                let method = QueueDeclare { queue: self.queue(queue), passive: true, ..QueueDeclare::default() };
                let declared = wait(hub, async move { channel.queue_declare(method).await })?;
                Ok(format!("{} messages", declared.message_count))
            }
            Operation::Reopen => {
                self.reopen();
                Ok("a new channel".to_owned())
            }
        }
    }

    fn binding(&self, queue: usize, exchange: usize, key: usize) -> QueueBind {
        QueueBind {
            queue: self.queue(queue),
            exchange: self.exchange(exchange),
            routing_key: KEYS[key].into(),
            arguments: binding_arguments(exchange, key),
        }
    }

    fn exchange_binding(&self, source: usize, destination: usize, key: usize) -> ExchangeBind {
        ExchangeBind {
            destination: self.exchange(destination),
            source: self.exchange(source),
            routing_key: KEYS[key].into(),
            arguments: binding_arguments(source, key),
        }
    }

    fn take_held(&mut self, which: usize, multiple: bool) -> Option<DeliveryTag> {
        if self.held.is_empty() {
            return None;
        }
        let place = which % self.held.len();
        if multiple { self.held.drain(..=place).next_back() } else { Some(self.held.remove(place)) }
    }

    /// Returns how many messages each queue has, on a channel of its own each, for a missing one ends it.
    pub(crate) fn counts(&self) -> Vec<Option<u32>> {
        let count = |number| {
            let (transport, queue) = (Arc::clone(&self.transport), self.queue(number));
            wait(&self.hub, async move {
                let channel = transport.channel().await?;
                let method = QueueDeclare { queue, passive: true, ..QueueDeclare::default() };
                let declared = channel.queue_declare(method).await.map(|declared| declared.message_count);
                let _ = channel.close().await;
                Ok::<_, Error>(declared.ok())
            })
            .unwrap()
        };
        (0..3).map(count).collect()
    }

    pub(crate) fn clean_up(self) {
        let (queues, exchanges): (Vec<_>, Vec<_>) =
            (0..3).map(|number| self.queue(number)).zip((0..KINDS.len()).map(|number| self.exchange(number))).unzip();
        let transport = Arc::clone(&self.transport);
        wait(&self.hub, async move {
            let channel = transport.channel().await?;
            for queue in queues {
                channel.queue_delete(QueueDelete { queue, ..QueueDelete::default() }).await?;
            }
            for exchange in exchanges {
                channel.exchange_delete(ExchangeDelete { exchange, if_unused: false }).await?;
            }
            transport.close().await
        })
        .unwrap();
    }
}

/// What bindings to the headers exchange ask for, by key.
fn binding_arguments(source: usize, key: usize) -> FieldTable {
    if source != 3 {
        return FieldTable::new();
    }
    let matching = |how: &str| ("x-match", Value::from(how));
    match key {
        0 => FieldTable::from([matching("all"), ("h", Value::from(1))]),
        1 => FieldTable::from([matching("any"), ("h", Value::from("1")), ("t", Value::from(true))]),
        2 => FieldTable::from([("h", Value::Null)]),
        3 => FieldTable::from([matching("all")]),
        4 => FieldTable::from([matching("any")]),
        _ => FieldTable::new(),
    }
}

/// What a message says of itself: the number, the text, both or nothing.
fn message_headers(priority: u8) -> FieldTable {
    match priority {
        0 | 1 => FieldTable::from([("h", Value::from(1))]),
        2 => FieldTable::from([("h", Value::from("1"))]),
        3 => FieldTable::from([("h", Value::from(1)), ("t", Value::from(true))]),
        _ => FieldTable::new(),
    }
}

fn wait<T: Send + 'static>(hub: &MioHub, future: impl Future<Output = T> + Send + 'static) -> T {
    let reply = hub.io().handle().spawn(future);
    let end = hub.call_later(PATIENCE * 3, |_| panic!("no answer"));
    let value = hub.block_on(reply).unwrap().expect("the task was not dropped");
    end.cancel();
    value
}
