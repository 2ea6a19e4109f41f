//! lapin as its examples use it: on tokio, a channel for publishing with confirms, a channel for consuming with a window.
//!
//! Confirms are awaited in the order of the publishes, up to 1024 behind, as ours are. Its examples acknowledge with
//! `Delivery::ack`; `Channel::basic_ack`, which costs it less, is a side of its own.

use std::collections::VecDeque;

use futures_util::StreamExt;
use kombu_benches::amqp::{PREFETCH, Publisher, QUEUE, messages, purge};
use kombu_benches::bodies::{Bodies, Tally};
use kombu_benches::rig::WINDOW;
use kombu_benches::sample::Sample;
use kombu_brokers::RabbitVhost;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::runtime::Builder;

/// How deliveries are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// As in the examples.
    Delivery,
    /// By the channel's method.
    Channel,
}

/// Publishes `count` messages to the empty queue, each confirmed.
pub(crate) fn publish(vhost: &RabbitVhost<'_>, count: u64, bodies: &Bodies) -> Sample {
    let sample = run(async {
        let connection = connect(vhost).await;
        let channel = confirming(&connection).await;
        publish_all(&channel, 1, bodies).await;
        let begin = Sample::start();
        publish_all(&channel, count, bodies).await;
        let sample = begin.end(count);
        connection.close(200, "done".into()).await.expect("the broker is there");
        sample
    });
    assert_eq!(messages(vhost), count + 1);
    purge(vhost);
    sample
}

/// Consumes and acknowledges `count` messages, until the broker has the last ack.
pub(crate) fn consume(vhost: &RabbitVhost<'_>, ack: Ack, count: u64, bodies: &Bodies) -> Sample {
    Publisher::new(vhost).fill(count, bodies);
    let sample = run(async {
        let connection = connect(vhost).await;
        let channel = connection.create_channel().await.expect("the broker is there");
        let mut tally = Tally::default();
        let begin = Sample::start();
        let mut consumer = consumer(&channel).await;
        while tally.count < count {
            let delivery = consumer.next().await.expect("the consumer goes on").expect("the broker is there");
            tally.add(&delivery.data);
            match ack {
                Ack::Delivery => drop(delivery.ack(BasicAckOptions::default()).await.expect("the broker is there")),
                Ack::Channel => {
                    let acked = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
                    acked.await.expect("the broker is there");
                }
            }
        }
        // The broker answers it after it has taken the last ack.
        connection.close(200, "done".into()).await.expect("the broker is there");
        let sample = begin.end(count);
        assert_eq!(tally, bodies.tally(count));
        sample
    });
    assert_eq!(messages(vhost), 0);
    sample
}

/// Publishes, consumes and acknowledges `count` messages at once, over two channels.
pub(crate) fn flow(vhost: &RabbitVhost<'_>, ack: Ack, count: u64, bodies: &Bodies) -> Sample {
    let sample = run(async {
        let connection = connect(vhost).await;
        let publishing = confirming(&connection).await;
        let channel = connection.create_channel().await.expect("the broker is there");
        let mut consumer = consumer(&channel).await;
        let begin = Sample::start();
        let consume = async {
            let mut tally = Tally::default();
            while tally.count < count {
                let delivery = consumer.next().await.expect("the consumer goes on").expect("the broker is there");
                tally.add(&delivery.data);
                match ack {
                    Ack::Delivery => drop(delivery.ack(BasicAckOptions::default()).await.expect("the broker is there")),
                    Ack::Channel => {
                        let acked = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
                        acked.await.expect("the broker is there");
                    }
                }
            }
            tally
        };
        let (tally, ()) = futures_util::join!(consume, publish_all(&publishing, count, bodies));
        connection.close(200, "done".into()).await.expect("the broker is there");
        let sample = begin.end(count);
        assert_eq!(tally, bodies.tally(count));
        sample
    });
    assert_eq!(messages(vhost), 0);
    sample
}

async fn connect(vhost: &RabbitVhost<'_>) -> Connection {
    Connection::connect(&vhost.url(), ConnectionProperties::default()).await.expect("the broker is there")
}

async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("the broker is there");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("the broker is there");
    channel
}

async fn consumer(channel: &Channel) -> Consumer {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.expect("the broker is there");
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(QUEUE.into(), "bench".into(), options, arguments).await.expect("the broker is there")
}

async fn publish_all(channel: &Channel, count: u64, bodies: &Bodies) {
    // What ours sends with each message, too.
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(FieldTable::default())
        .with_delivery_mode(2)
        .with_priority(0);
    let mut under_way = VecDeque::with_capacity(WINDOW);
    for index in 0..count {
        if under_way.len() == WINDOW {
            check(under_way.pop_front().expect("the window is full")).await;
        }
        let body = bodies.bytes_at(index);
        let options = BasicPublishOptions::default();
        let published = channel.basic_publish("".into(), QUEUE.into(), options, body, properties.clone()).await;
        under_way.push_back(published.expect("the broker is there"));
    }
    for confirm in under_way {
        check(confirm).await;
    }
}

async fn check(confirm: lapin::PublisherConfirm) {
    assert!(matches!(confirm.await.expect("the broker is there"), Confirmation::Ack(None)));
}

// The cheapest of tokio's runtimes: the work on this thread, beside lapin's own.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("the system has what a runtime needs");
    runtime.block_on(work)
}
