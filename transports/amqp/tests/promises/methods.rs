//! AMQP's methods on the broker itself, as core calls them.

use std::sync::{Arc, Mutex, PoisonError};

use kombu_brokers::{RabbitServer, RabbitVhost};
use kombu_core::method::{
    BasicConsume, BasicGet, BasicPublish, ExchangeBind, ExchangeDelete, QueueBind, QueueDeclare, QueueDelete,
};
use kombu_core::{
    BrokerUrl, Channel, Confirmation, Delivery, DeliverySink, DeliveryTag, Envelope, Error, ErrorKind, Exchange,
    ExchangeKind, FieldTable, Qos, Result, SystemClock, Transport, TransportConfig, registry,
};
use kombu_hub::MioHub;

use crate::common::link;

/// Runs `test` with a transport to `vhost`.
fn on_transport<T: Future<Output = ()> + 'static>(
    vhost: &RabbitVhost<'_>,
    test: impl FnOnce(Arc<dyn Transport>) -> T + 'static,
) {
    link();
    let hub = MioHub::new().unwrap();
    let url: BrokerUrl = vhost.url().parse().unwrap();
    let entry = registry::find("amqp").unwrap();
    let (alternates, options, clock) = (Vec::new(), FieldTable::default(), Arc::new(SystemClock));
    let transport = (entry.make)(TransportConfig { url, alternates, options, clock }).unwrap();
    transport.register_with_event_loop(hub.io()).unwrap();
    hub.block_on(async move {
        transport.connect().await.unwrap();
        test(Arc::clone(&transport)).await;
        transport.close().await.unwrap();
    })
    .unwrap();
}

async fn queue(channel: &dyn Channel, name: &str) {
    let method = QueueDeclare { queue: name.into(), durable: true, ..QueueDeclare::default() };
    channel.queue_declare(method).await.unwrap();
}

async fn exchange(channel: &dyn Channel, name: &str, kind: ExchangeKind) {
    channel.exchange_declare(Exchange::new(name, kind).to_method()).await.unwrap();
}

async fn fill(channel: &dyn Channel, queue: &str, count: usize) {
    for number in 0..count {
        publish(channel, "", queue, &number.to_string()).await;
    }
}

async fn publish(channel: &dyn Channel, exchange: &str, key: &str, body: &str) -> bool {
    let envelope = Envelope {
        exchange: exchange.into(),
        routing_key: key.into(),
        body: body.to_owned().into(),
        ..Envelope::default()
    };
    let method = BasicPublish { mandatory: true, timeout: None };
    matches!(channel.basic_publish(method, Arc::new(envelope)).await.unwrap(), Confirmation::Confirmed { .. })
}

async fn get(channel: &dyn Channel, queue: &str) -> Option<Delivery> {
    channel.basic_get(BasicGet { queue: queue.into(), no_ack: false }).await.unwrap()
}

/// Returns what is in `queue`, each with whether it came back, and leaves it there.
async fn rest(transport: &Arc<dyn Transport>, queue: &str) -> Vec<(String, bool)> {
    let channel = transport.channel().await.unwrap();
    let mut found = Vec::new();
    while let Some(delivery) = get(&*channel, queue).await {
        found.push((String::from_utf8_lossy(&delivery.envelope.body).into_owned(), delivery.redelivered));
    }
    channel.close().await.unwrap();
    found
}

fn bodies(rest: &[(String, bool)]) -> Vec<&str> {
    rest.iter().map(|(body, _)| body.as_str()).collect()
}

#[test]
fn multiple_settles_everything_up_to_a_tag() {
    let vhost = RabbitServer::shared().vhost();
    on_transport(&vhost, |transport| async move {
        let channel = transport.channel().await.unwrap();
        queue(&*channel, "q").await;
        fill(&*channel, "q", 9).await;
        let mut tags = Vec::new();
        while let Some(delivery) = get(&*channel, "q").await {
            tags.push(delivery.tag);
        }
        channel.basic_ack(tags[2], true).await.unwrap();
        channel.basic_nack(tags[4], true, true).await.unwrap();
        channel.basic_nack(tags[6], true, false).await.unwrap();
        channel.basic_ack(tags[8], false).await.unwrap();
        channel.close().await.unwrap();
        // 0 to 2 acknowledged, 3 and 4 given back, 5 and 6 refused, 7 held until the channel closed, 8 acknowledged.
        assert_eq!(bodies(&rest(&transport, "q").await), ["3", "4", "7"]);
        let channel = transport.channel().await.unwrap();
        while get(&*channel, "q").await.is_some() {}
        // Tag 0 means all.
        channel.basic_ack(DeliveryTag(0), true).await.unwrap();
        channel.close().await.unwrap();
        assert!(rest(&transport, "q").await.is_empty());
    });
}

#[test]
fn recover_gives_everything_back_and_ends_what_was_held() {
    let vhost = RabbitServer::shared().vhost();
    on_transport(&vhost, |transport| async move {
        let channel = transport.channel().await.unwrap();
        queue(&*channel, "q").await;
        fill(&*channel, "q", 3).await;
        let first = get(&*channel, "q").await.unwrap();
        let second = get(&*channel, "q").await.unwrap();
        channel.basic_ack(first.tag, false).await.unwrap();
        channel.basic_recover().await.unwrap();
        let late = channel.basic_ack(second.tag, false).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ChannelGone, "{late}");
        // The channel goes on.
        let again = get(&*channel, "q").await.unwrap();
        assert_eq!((&again.envelope.body[..], again.redelivered), (&b"1"[..], true));
        channel.basic_ack(again.tag, false).await.unwrap();
        channel.close().await.unwrap();
        assert_eq!(rest(&transport, "q").await, [("2".to_owned(), false)]);
    });
}

#[test]
fn a_window_is_each_consumers_or_the_channels() {
    let vhost = RabbitServer::shared().vhost();
    on_transport(&vhost, |transport| async move {
        let filling = transport.channel().await.unwrap();
        for name in ["a", "b"] {
            queue(&*filling, name).await;
            fill(&*filling, name, 20).await;
        }
        for (global, most) in [(false, 14), (true, 7)] {
            let channel = transport.channel().await.unwrap();
            channel.basic_qos(Qos { prefetch_count: 7, global }).await.unwrap();
            let sink = Arc::new(Sink::default());
            for name in ["a", "b"] {
                let consume = BasicConsume { queue: name.into(), ..BasicConsume::default() };
                channel.basic_consume(consume, Arc::clone(&sink) as Arc<dyn DeliverySink>).await.unwrap();
            }
            while sink.tags().len() < most {
                transport_turn(&*channel).await;
            }
            // What exceeds the window would have come before the answers to these.
            transport_turn(&*channel).await;
            transport_turn(&*channel).await;
            assert_eq!(sink.tags().len(), most, "global: {global}");
            let settled = sink.tags()[2];
            channel.basic_ack(settled, true).await.unwrap();
            while sink.tags().len() < most + 3 {
                transport_turn(&*channel).await;
            }
            channel.close().await.unwrap();
        }
    });
}

#[test]
fn exchanges_are_bound_to_exchanges_and_unbound() {
    let vhost = RabbitServer::shared().vhost();
    on_transport(&vhost, |transport| async move {
        let channel = transport.channel().await.unwrap();
        for (name, kind) in [("from", ExchangeKind::Topic), ("to", ExchangeKind::Fanout)] {
            exchange(&*channel, name, kind).await;
        }
        queue(&*channel, "q").await;
        let bind = QueueBind { queue: "q".into(), exchange: "to".into(), ..QueueBind::default() };
        channel.queue_bind(bind.clone()).await.unwrap();
        let route = ExchangeBind {
            destination: "to".into(),
            source: "from".into(),
            routing_key: "a.#".into(),
            ..ExchangeBind::default()
        };
        channel.exchange_bind(route.clone()).await.unwrap();
        assert!(publish(&*channel, "from", "a.b", "through both").await);
        assert!(!publish(&*channel, "from", "b", "nowhere").await);
        channel.exchange_unbind(route).await.unwrap();
        assert!(!publish(&*channel, "from", "a.b", "no longer").await);
        channel.queue_unbind(bind).await.unwrap();
        assert!(!publish(&*channel, "to", "", "no longer").await);
        assert_eq!(bodies(&rest(&transport, "q").await), ["through both"]);
        let missing = ExchangeBind { source: "missing".into(), destination: "to".into(), ..ExchangeBind::default() };
        assert_eq!(channel.exchange_bind(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn what_is_used_or_full_is_not_deleted_when_so_asked() {
    let vhost = RabbitServer::shared().vhost();
    on_transport(&vhost, |transport| async move {
        let channel = transport.channel().await.unwrap();
        queue(&*channel, "q").await;
        fill(&*channel, "q", 2).await;
        let delete = |if_unused, if_empty| QueueDelete { queue: "q".into(), if_unused, if_empty };
        assert_eq!(refused(&transport, delete(false, true)).await, ErrorKind::PreconditionFailed);
        assert_eq!(channel.queue_purge("q".into()).await.unwrap(), 2);
        let consumer = BasicConsume { queue: "q".into(), ..BasicConsume::default() };
        let tag = channel.basic_consume(consumer, Arc::new(Sink::default())).await.unwrap();
        assert_eq!(refused(&transport, delete(true, false)).await, ErrorKind::PreconditionFailed);
        channel.basic_cancel(tag).await.unwrap();
        exchange(&*channel, "e", ExchangeKind::Direct).await;
        let bind = QueueBind { queue: "q".into(), exchange: "e".into(), ..QueueBind::default() };
        channel.queue_bind(bind).await.unwrap();
        let delete_exchange = ExchangeDelete { exchange: "e".into(), if_unused: true };
        let other = transport.channel().await.unwrap();
        let used = other.exchange_delete(delete_exchange.clone()).await.unwrap_err();
        assert_eq!(used.kind(), ErrorKind::PreconditionFailed, "{used}");
        assert_eq!(channel.queue_delete(delete(true, true)).await.unwrap(), 0);
        channel.exchange_delete(delete_exchange).await.unwrap();
        let gone = channel.queue_declare(QueueDeclare { queue: "q".into(), passive: true, ..QueueDeclare::default() });
        assert_eq!(gone.await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// Asks on a channel of its own, which the refusal ends, to delete a queue.
async fn refused(transport: &Arc<dyn Transport>, method: QueueDelete) -> ErrorKind {
    let channel = transport.channel().await.unwrap();
    channel.queue_delete(method).await.unwrap_err().kind()
}

/// Waits for an answer on the consumers' channel: what the broker delivered before it has come.
async fn transport_turn(channel: &dyn Channel) {
    let asking: Result<_> =
        channel.queue_declare(QueueDeclare { queue: "a".into(), passive: true, ..Default::default() }).await;
    asking.unwrap();
}

/// Keeps the tags of what came.
#[derive(Default)]
struct Sink(Mutex<Vec<DeliveryTag>>);

impl Sink {
    fn tags(&self) -> Vec<DeliveryTag> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DeliverySink for Sink {
    fn deliver(&self, delivery: Delivery) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(delivery.tag);
    }

    fn cancelled(&self, _: Error) {}
}
