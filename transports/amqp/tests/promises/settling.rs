//! Acks, nacks, and what becomes of deliveries.

use std::sync::Arc;

use kombu_brokers::{PATIENCE, RabbitServer, eventually};
use kombu_core::method::BasicGet;
use kombu_core::{
    BrokerUrl, DeliveryTag, ErrorKind, FieldTable, Message, Queue, SystemClock, TransportConfig, registry,
};
use kombu_hub::MioHub;

use crate::common::{Diary, collect, connection, link, wait_for};

fn fill(connection: &kombu_core::Connection, count: usize) -> Queue {
    let queue = Queue::new("q");
    queue.declare(connection).wait().unwrap();
    let pending: Vec<_> =
        (0..count).map(|number| connection.producer().publish(number.to_string()).routing_key("q").send()).collect();
    pending.into_iter().for_each(|pending| _ = pending.wait().unwrap());
    queue
}

#[test]
fn acks_nacks_and_rejects_reach_the_broker() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = fill(&connection, 4);
    let get = || queue.get(&connection).wait().unwrap().expect("one is left");
    get().ack();
    get().reject();
    let third = get();
    assert!(!third.redelivered());
    third.requeue();
    let again = get();
    assert_eq!((again.text().unwrap(), again.redelivered()), ("2", true), "back in its place, and marked");
    again.ack();
    get().ack();
    assert!(queue.get(&connection).wait().unwrap().is_none());
    wait_for("everything is settled", || vhost.unacknowledged("q") == 0 && vhost.messages("q") == 0);
}

#[test]
fn closing_gives_back_what_is_held_and_sends_what_was_settled() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = fill(&connection, 100);
    let mut stream = connection.consumer(&queue).prefetch(50).stream().wait().unwrap();
    let mut held = Vec::new();
    for number in 0..20 {
        let message = block_on(stream.next()).unwrap().unwrap();
        if number % 2 == 0 {
            message.ack();
        } else {
            held.push(message);
        }
    }
    wait_for("the window is full", || vhost.unacknowledged("q") == 50);
    connection.close().wait().unwrap();
    drop(stream);
    wait_for("the rest is back", || vhost.messages("q") == 90);
    held.into_iter().for_each(Message::leave_unacked);
}

#[test]
fn a_cancelled_consumer_gets_nothing_more_and_loses_nothing() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = fill(&connection, 500);
    let (consumer, bodies) = collect(&connection, &queue);
    assert!(eventually(PATIENCE, || !bodies.all().is_empty()));
    consumer.cancel().wait().unwrap();
    drop(consumer);
    wait_for("what came too late is back", || vhost.consumers("q") == 0 && vhost.unacknowledged("q") == 0);
    let (_consumer, rest) = collect(&connection, &queue);
    wait_for("every message was handled", || {
        let mut all: Vec<String> = bodies.all().into_iter().chain(rest.all()).collect();
        all.iter_mut().for_each(|body| *body = body.trim_end_matches('?').to_owned());
        all.sort();
        all.dedup();
        all.len() == 500
    });
}

#[test]
fn a_consumer_learns_that_its_queue_is_gone() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let diary = Diary::of(&connection);
    let queue = fill(&connection, 0);
    let mut stream = connection.consumer(&queue).stream().wait().unwrap();
    queue.delete(&connection).wait().unwrap();
    let error = block_on(stream.next()).expect("it is told").unwrap_err();
    assert!(error.to_string().contains("queue was deleted"), "{error}");
    assert!(block_on(stream.next()).is_none());
    assert_eq!(diary.count("disconnected"), 0);
}

#[test]
fn a_channel_closed_upon_a_refused_ack_leaves_its_connection() {
    let vhost = RabbitServer::shared().vhost();
    link();
    let hub = MioHub::new().unwrap();
    let url: BrokerUrl = vhost.url().parse().unwrap();
    let entry = registry::find("amqp").unwrap();
    let (alternates, options, clock) = (Vec::new(), FieldTable::default(), Arc::new(SystemClock));
    let transport = (entry.make)(TransportConfig { url, alternates, options, clock }).unwrap();
    transport.register_with_event_loop(hub.io()).unwrap();
    hub.block_on(async move {
        transport.connect().await.unwrap();
        let sibling = transport.channel().await.unwrap();
        for round in 0..100 {
            let channel = transport.channel().await.unwrap_or_else(|error| panic!("{round}: {error}"));
            // Nothing has this tag; the broker closes the channel, and so does this end.
            drop(channel.basic_ack(DeliveryTag(99), false));
            channel.close().await.unwrap_or_else(|error| panic!("{round}: {error}"));
        }
        let got = sibling.basic_get(BasicGet { queue: "q".into(), no_ack: true }).await;
        assert_eq!(
            got.expect_err("there is no such queue").kind(),
            ErrorKind::NotFound,
            "the channel beside them lives"
        );
        transport.close().await.unwrap();
    })
    .unwrap();
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    async_rs::util::simple_block_on(future)
}
