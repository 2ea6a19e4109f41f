//! Confirms and returns belong to the publish they answer.

use std::thread;

use kombu_brokers::{Direction, FaultProxy, PATIENCE, RabbitServer, eventually};
use kombu_core::{Connection, ErrorKind, Exchange, Outcome, Queue};

use crate::common::{Diary, collect, connection};

#[test]
fn no_mandatory_result_is_swapped() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    Queue::new("there").declare(&connection).wait().unwrap();
    let publish = |connection: Connection, thread: usize| {
        let producer = connection.producer();
        let pending: Vec<_> = (0..2000)
            .map(|number| {
                let key = if number % 3 == 0 { "nowhere" } else { "there" };
                producer.publish(format!("{thread}-{number}")).routing_key(key).mandatory().send()
            })
            .collect();
        for (number, pending) in pending.into_iter().enumerate() {
            let result = pending.wait();
            if number % 3 == 0 {
                let error = result.expect_err("it matches no queue");
                assert_eq!(error.kind(), ErrorKind::Returned, "{thread}-{number}: {error}");
            } else {
                result.unwrap_or_else(|error| panic!("{thread}-{number}: {error}"));
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..2 {
            let connection = connection.clone();
            scope.spawn(move || publish(connection, number));
        }
    });
    assert!(eventually(PATIENCE, || vhost.messages("there") == 2 * 1333), "{}", vhost.messages("there"));
}

#[test]
fn a_missing_exchange_fails_its_own_publish_only() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    let missing = Exchange::direct("missing").no_declare();
    let producer = connection.producer();
    let pending: Vec<_> = (0..300)
        .map(|number| {
            let publish = producer.publish(number.to_string());
            if number % 100 == 50 { publish.exchange(&missing).send() } else { publish.routing_key("q").send() }
        })
        .collect();
    for (number, pending) in pending.into_iter().enumerate() {
        let result = pending.wait();
        if number % 100 == 50 {
            let error = result.expect_err("there is no such exchange");
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotFound, Some(Outcome::NotSent)), "{error}");
            assert!(error.to_string().contains("basic.publish") && error.to_string().contains("missing"), "{error}");
        } else {
            result.unwrap_or_else(|error| panic!("{number}: {error}"));
        }
    }
    let (_consumer, bodies) = collect(&connection, &queue);
    bodies.expect((0..300).filter(|number| number % 100 != 50).map(|number: i32| number.to_string()));
    // In the order of the calls, whatever was repeated.
    let mut firsts = Vec::new();
    for body in bodies.all() {
        let number: i32 = body.trim_end_matches('?').parse().unwrap();
        if !firsts.contains(&number) {
            firsts.push(number);
        }
    }
    assert!(firsts.is_sorted(), "{firsts:?}");
}

#[test]
fn what_follows_in_the_program_follows_at_the_broker() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    for round in 0..50 {
        drop(connection.producer().publish(round.to_string()).routing_key("q").send());
        let message = queue.get(&connection).wait().unwrap().expect("published before it is fetched");
        assert_eq!(message.text().unwrap(), round.to_string());
        message.ack();
    }
}

#[test]
fn unconfirmed_publishes_are_sent_again_and_marked() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let proxy = FaultProxy::start(server.addr());
    let through = connection(&vhost.url_at(proxy.addr()));
    let diary = Diary::of(&through);
    let queue = Queue::new("q");
    queue.declare(&through).wait().unwrap();
    let producer = through.producer();
    producer.publish("first").routing_key("q").wait().unwrap();
    // The broker gets them, its answers get lost.
    proxy.blackhole(Direction::ToClient);
    let pending: Vec<_> = (0..100).map(|number| producer.publish(number.to_string()).routing_key("q").send()).collect();
    assert!(eventually(PATIENCE, || vhost.messages("q") == 101), "{}", vhost.messages("q"));
    proxy.cut();
    proxy.pass();
    for pending in pending {
        pending.wait().unwrap_or_else(|error| panic!("{error}\n{}", diary.text()));
    }
    let (_consumer, bodies) = collect(&connection(&vhost.url()), &queue);
    bodies.expect((0..100).map(|number| number.to_string()));
    assert!(eventually(PATIENCE, || bodies.all().len() == 201), "{}", bodies.all().len());
    let marked = bodies.all().iter().filter(|body| body.ends_with('?')).count();
    assert_eq!(marked, 100, "every repeat is marked, and nothing else");
}
