//! A lost broker is looked for until it is back, and everything with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kombu_brokers::{FaultProxy, PATIENCE, RabbitServer};
use kombu_core::{Connection, ErrorKind, Exchange, FailoverStrategy, Message, Outcome, Queue};

use crate::common::{Diary, collect, connection, link, wait_for};

/// Publishes `count` messages in the background, each confirmed.
fn publish(connection: &Connection, exchange: &Exchange, from: usize, count: usize) {
    let producer = connection.producer();
    for number in from..from + count {
        producer.publish(number.to_string()).exchange(exchange).routing_key("k").wait().unwrap();
    }
}

#[test]
fn connections_closed_by_the_operator_are_made_again_with_all_they_had() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let connection = connection(&vhost.url());
    let diary = Diary::of(&connection);
    let exchange = Exchange::topic("e").transient().auto_delete();
    let queue = Queue::new("q").exclusive().bind(&exchange, "k");
    let (_consumer, bodies) = collect(&connection, &queue);
    publish(&connection, &exchange, 0, 20);
    for round in 1..4 {
        vhost.close_connections("maintenance");
        wait_for("it is told", || diary.count("disconnected") == round);
        // Queue, binding and consumer went with the connection; they are back before the next publish.
        publish(&connection, &exchange, round * 20, 20);
    }
    bodies.expect((0..80).map(|number| number.to_string()));
    assert!(diary.text().contains("maintenance"), "{}", diary.text());
}

#[test]
fn a_lost_delivery_is_handled_once_and_says_so_when_settled() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let proxy = FaultProxy::start(server.addr());
    let connection = connection(&vhost.url_at(proxy.addr()));
    let diary = Diary::of(&connection);
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    for number in 0..5 {
        connection.producer().publish(number.to_string()).routing_key("q").wait().unwrap();
    }
    let (entered, inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let runs = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&runs);
    let (sender, settled) = mpsc::channel();
    let _consumer = connection
        .consumer(&queue)
        .on_message(move |message: Message| {
            if counting.fetch_add(1, Ordering::SeqCst) == 0 {
                entered.send(()).unwrap();
                released.recv().unwrap();
            }
            let text = message.text().unwrap().to_owned();
            sender.send((text, message.redelivered(), message.ack().wait().map_err(|error| error.kind()))).unwrap();
        })
        .consume()
        .wait()
        .unwrap();
    inside.recv_timeout(PATIENCE).unwrap();
    wait_for("the rest waits behind the handler", || vhost.unacknowledged("q") == 5);
    proxy.cut();
    // Events are told on the handler's thread, so the broker is asked.
    wait_for("the consumer is back", || {
        proxy.connections() >= 2 && vhost.consumers("q") == 1 && vhost.unacknowledged("q") == 5
    });
    release.send(()).unwrap();
    let first = settled.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first, ("0".to_owned(), false, Err(ErrorKind::ChannelGone)));
    let rest: Vec<_> = (0..5).map(|_| settled.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(rest.iter().all(|(_, redelivered, settled)| *redelivered && settled.is_ok()), "{rest:?}");
    wait_for("everything is settled", || vhost.messages("q") == 0 && vhost.unacknowledged("q") == 0);
    assert_eq!(runs.load(Ordering::SeqCst), 6, "only the one under way ran twice");
    wait_for("it is told", || diary.count("settle failed ChannelGone") == 1);
}

#[test]
fn server_named_queues_are_named_anew_and_followed() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let connection = connection(&vhost.url());
    let diary = Diary::of(&connection);
    let exchange = Exchange::fanout("e");
    let named = Queue::new("").exclusive().bind(&exchange, "").declare(&connection).wait().unwrap();
    let (_consumer, bodies) = collect(&connection, &Queue::new(named.queue.clone()));
    connection.producer().publish("before").exchange(&exchange).wait().unwrap();
    bodies.expect(["before".to_owned()]);
    vhost.close_connections("maintenance");
    wait_for("it is told", || diary.count("disconnected") == 1);
    connection.producer().publish("after").exchange(&exchange).wait().unwrap();
    bodies.expect(["after".to_owned()]);
    assert!(!vhost.queues().contains(&named.queue.to_string()), "{:?}", vhost.queues());
    // The old name still means the queue.
    assert!(Queue::new(named.queue).get(&connection).wait().unwrap().is_none());
}

#[test]
fn a_silent_broker_is_found_out_by_heartbeats() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let proxy = FaultProxy::start(server.addr());
    let connection = connection(&format!("{}?heartbeat=1", vhost.url_at(proxy.addr())));
    let diary = Diary::of(&connection);
    let queue = Queue::new("q");
    let (_consumer, bodies) = collect(&connection, &queue);
    proxy.blackhole_both();
    wait_for("it is found out", || diary.count("disconnected") == 1);
    assert!(diary.text().contains("sign of life"), "{}", diary.text());
    proxy.pass();
    connection.producer().publish("hello").routing_key("q").wait().unwrap();
    bodies.expect(["hello".to_owned()]);
}

#[test]
fn a_publish_waits_for_its_connection_no_longer_than_it_may() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let proxy = FaultProxy::start(server.addr());
    let connection = connection(&vhost.url_at(proxy.addr()));
    let (_consumer, bodies) = collect(&connection, &Queue::new("q"));
    // Publishing gets a connection of its own, which the broker accepts and does not answer.
    proxy.blackhole_both();
    let producer = connection.producer();
    let late = producer.publish("late").routing_key("q").timeout(Duration::from_millis(200)).wait().unwrap_err();
    assert_eq!((late.kind(), late.outcome()), (ErrorKind::Timeout, Some(Outcome::NotSent)), "{late}");
    let waiting = producer.publish("in time").routing_key("q").send();
    proxy.pass();
    waiting.wait().unwrap();
    bodies.expect(["in time".to_owned()]);
    assert_eq!(bodies.all(), ["in time"]);
}

#[test]
fn the_next_broker_of_a_list_is_taken() {
    link();
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let (first, second) = (FaultProxy::start(server.addr()), FaultProxy::start(server.addr()));
    for strategy in [FailoverStrategy::RoundRobin, FailoverStrategy::Shuffle] {
        let connection = Connection::builder(&vhost.url_at(first.addr()))
            .alternate(&vhost.url_at(second.addr()))
            .failover_strategy(strategy)
            .build()
            .unwrap();
        let queue = Queue::new("q");
        let (_consumer, bodies) = collect(&connection, &queue);
        for (round, (lost, other)) in [(&first, &second), (&second, &first)].into_iter().enumerate() {
            other.pass();
            lost.refuse();
            lost.cut();
            let body = format!("{strategy:?} {round}");
            connection.producer().publish(body.clone()).routing_key("q").wait().unwrap();
            bodies.expect([body]);
            assert_eq!(connection.url().port(), Some(other.port()));
        }
        first.pass();
        second.pass();
        connection.close().wait().unwrap();
    }
}
