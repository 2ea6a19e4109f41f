//! A channel, at most one consumer on it, and what it holds.

use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::{Channel, ConsumerTag, Delivery, DeliverySink, DeliveryTag, Error, Value};

use crate::entities::Names;

/// One channel. It has at most one consumer: of two, whose delivery comes first is nobody's promise.
pub(crate) struct Lane {
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) consumer: Option<Consumer>,
    pub(crate) held: Vec<Held>,
    /// What was asked for last, to be asked for again where only the answer matters.
    pub(crate) prefetch: u16,
}

/// A delivery that is not settled yet, of a queue, which one of the lane's consumers had or which was fetched.
pub(crate) struct Held {
    pub(crate) tag: DeliveryTag,
    queue: usize,
    by: Option<ConsumerTag>,
}

/// What was started on a lane.
pub(crate) struct Consumer {
    pub(crate) tag: ConsumerTag,
    pub(crate) queue: usize,
    pub(crate) no_ack: bool,
    pub(crate) log: Arc<Log>,
}

/// What a consumer heard since it was looked at last.
#[derive(Default)]
pub(crate) struct Log(Mutex<Heard>);

#[derive(Clone, Default)]
pub(crate) struct Heard {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) has_ended: bool,
}

impl Lane {
    pub(crate) fn new(channel: Arc<dyn Channel>) -> Self {
        Lane { channel, consumer: None, held: Vec::new(), prefetch: 0 }
    }

    /// What the consumer heard since it was looked at last, in words.
    pub(crate) fn heard(&self, names: &Names) -> Vec<String> {
        let Some(consumer) = &self.consumer else { return Vec::new() };
        let heard = consumer.log.heard();
        let end = heard.has_ended.then(|| "the end".to_owned());
        heard.deliveries.iter().map(|delivery| describe(delivery, names)).chain(end).collect()
    }

    /// Holds what the consumer was given, and forgets a consumer that ended.
    pub(crate) fn take(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let heard = std::mem::take(&mut *consumer.log.lock());
        if !consumer.no_ack {
            let (queue, by) = (consumer.queue, &consumer.tag);
            self.held.extend(heard.deliveries.iter().map(|delivery| Held {
                tag: delivery.tag,
                queue,
                by: Some(by.clone()),
            }));
        }
        if heard.has_ended {
            self.consumer = None;
        }
    }

    /// Holds what was fetched.
    pub(crate) fn hold(&mut self, tag: DeliveryTag, queue: usize) {
        self.held.push(Held { tag, queue, by: None });
    }

    /// Says whether the lane holds something of `queue` that came in another way than what would come now: fetched, or to another
    /// consumer. RabbitMQ gives back what came in one way before the rest, in the order of names that it made up.
    pub(crate) fn would_mix(&self, queue: usize, fetches: bool) -> bool {
        let consumes = self.consumer.as_ref().is_some_and(|consumer| consumer.queue == queue);
        let holds = self.held.iter().any(|held| held.queue == queue && (held.by.is_some() || !fetches));
        holds || (fetches && consumes)
    }

    /// Takes out one of those that are held, or with `multiple` that one and all before it.
    pub(crate) fn take_held(&mut self, which: usize, multiple: bool) -> Option<DeliveryTag> {
        if self.held.is_empty() {
            return None;
        }
        self.held.sort_unstable_by_key(|held| held.tag);
        let place = which % self.held.len();
        let taken = if multiple { self.held.drain(..=place).next_back() } else { Some(self.held.remove(place)) };
        taken.map(|held| held.tag)
    }
}

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heard(&self) -> Heard {
        self.lock().clone()
    }
}

impl DeliverySink for Log {
    fn deliver(&self, delivery: Delivery) {
        self.lock().deliveries.push(delivery);
    }

    fn cancelled(&self, _: Error) {
        self.lock().has_ended = true;
    }
}

/// A delivery in words, but for names and times.
pub(crate) fn describe(delivery: &Delivery, names: &Names) -> String {
    let envelope = &delivery.envelope;
    let of = |table: &kombu_core::FieldTable, name: &str| match table.get(name) {
        Some(Value::List(list)) => format!("{:?}", list.iter().map(|one| plain(one, names)).collect::<Vec<_>>()),
        Some(value) => plain(value, names),
        None => "-".to_owned(),
    };
    let death = |death: &Value| {
        let Some(death) = death.as_map() else { return format!("{death:?}") };
        let parts = ["count", "reason", "queue", "exchange", "routing-keys", "original-expiration"];
        let others = death.keys().filter(|name| *name != "time" && !parts.contains(&name.as_str())).count();
        format!("{} +{others}", parts.map(|part| of(death, part)).join(" "))
    };
    let deaths = envelope.headers.get("x-death").and_then(Value::as_list).unwrap_or_default();
    let first =
        ["exchange", "queue", "reason"].map(|part| of(envelope.headers.table(), &format!("x-first-death-{part}")));
    format!(
        "{} {:?} from `{}` by `{}`{}, priority {:?}, expiration {:?}, first {}, deaths {:?}",
        delivery.tag,
        envelope.body,
        names.plain(&envelope.exchange),
        names.plain(&envelope.routing_key),
        if delivery.redelivered { ", again" } else { "" },
        envelope.properties.priority,
        envelope.properties.expiration(),
        first.join(" "),
        deaths.iter().map(death).collect::<Vec<_>>(),
    )
}

fn plain(value: &Value, names: &Names) -> String {
    value.as_str().map_or_else(|| format!("{value:?}"), |text| names.plain(text))
}
