//! Exchanges and queues are what they were declared to be.

use std::time::Duration;

use kombu_brokers::RabbitServer;
use kombu_core::{ErrorKind, Exchange, Queue, Value};

use crate::common::{collect, connection, wait_for};

#[test]
fn queue_arguments_have_rabbitmqs_names_and_units() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("full")
        .expires(Duration::from_secs(60))
        .message_ttl(Duration::from_millis(1500))
        .max_length(10)
        .max_length_bytes(5_000)
        .max_priority(5)
        .argument("x-dead-letter-exchange", "dead")
        .argument("x-dead-letter-routing-key", "letters");
    queue.declare(&connection).wait().unwrap();
    let arguments = vhost.queue_info("full", "arguments");
    for argument in [
        r#"<<"x-expires">>,signedint,60000"#,
        r#"<<"x-message-ttl">>,signedint,1500"#,
        r#"<<"x-max-length">>,signedint,10"#,
        r#"<<"x-max-length-bytes">>,signedint,5000"#,
        r#"<<"x-max-priority">>,signedint,5"#,
        r#"<<"x-dead-letter-exchange">>,longstr,<<"dead">>"#,
        r#"<<"x-dead-letter-routing-key">>,longstr,<<"letters">>"#,
    ] {
        let squeezed: String = arguments.split_whitespace().collect();
        assert!(squeezed.contains(argument), "{argument} in {arguments}");
    }
    // Declaring it again is no error, declaring it otherwise is one.
    queue.declare(&connection).wait().unwrap();
    assert_eq!(queue.max_length(11).declare(&connection).wait().unwrap_err().kind(), ErrorKind::PreconditionFailed);
}

#[test]
fn queue_types_are_the_brokers() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    for kind in ["classic", "quorum", "stream"] {
        Queue::new(kind).argument("x-queue-type", kind).declare(&connection).wait().unwrap();
        assert!(vhost.queue_info(kind, "type").contains(kind), "{}", vhost.queue_info(kind, "type"));
    }
    let (_consumer, bodies) = collect(&connection, &Queue::new("quorum").argument("x-queue-type", "quorum"));
    connection.producer().publish("hello").routing_key("quorum").wait().unwrap();
    bodies.expect(["hello".to_owned()]);
}

#[test]
fn every_kind_of_exchange_routes() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let (direct, topic) = (Exchange::direct("direct"), Exchange::topic("topic"));
    let (fanout, headers) = (Exchange::fanout("fanout"), Exchange::headers("headers"));
    let queue = Queue::new("q")
        .bind(&direct, "exact")
        .bind(&topic, "a.*.#")
        .bind(&fanout, "")
        .binding(headers.binding("").argument("x-match", "all").argument("color", "red"));
    let (_consumer, bodies) = collect(&connection, &queue);
    let producer = connection.producer();
    let publish = |exchange: &Exchange, key: &str, color: &str, body: &str| {
        let publish = producer.publish(body.to_owned()).exchange(exchange).routing_key(key).header("color", color);
        publish.mandatory().wait().map(|_| ())
    };
    publish(&direct, "exact", "", "direct").unwrap();
    publish(&topic, "a.b", "", "topic").unwrap();
    publish(&fanout, "any", "", "fanout").unwrap();
    publish(&headers, "", "red", "headers").unwrap();
    for (exchange, key, color) in [(&direct, "other", ""), (&topic, "b.a", ""), (&headers, "", "blue")] {
        assert_eq!(publish(exchange, key, color, "lost").unwrap_err().kind(), ErrorKind::Returned);
    }
    bodies.expect(["direct", "topic", "fanout", "headers"].map(str::to_owned));
}

#[test]
fn alternate_exchanges_and_dead_letters_work() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let rest = Exchange::fanout("rest");
    let main = Exchange::direct("main").argument("alternate-exchange", "rest");
    let (_rest, leftovers) = collect(&connection, &Queue::new("leftovers").bind(&rest, ""));
    connection.producer().publish("nobody's").exchange(&main).routing_key("nowhere").wait().unwrap();
    leftovers.expect(["nobody's".to_owned()]);
    let refusing = Queue::new("refusing").argument("x-dead-letter-exchange", "rest");
    refusing.declare(&connection).wait().unwrap();
    connection.producer().publish("refused").routing_key("refusing").wait().unwrap();
    refusing.get(&connection).wait().unwrap().expect("it is there").reject();
    leftovers.expect(["refused".to_owned()]);
}

#[test]
fn exclusive_and_server_named_queues_belong_to_the_connection() {
    let vhost = RabbitServer::shared().vhost();
    let owner = connection(&vhost.url());
    let exclusive = Queue::new("mine").exclusive();
    let (_consumer, bodies) = collect(&owner, &exclusive);
    // On its own connection for publishing, too.
    owner.producer().publish("hello").routing_key("mine").mandatory().wait().unwrap();
    bodies.expect(["hello".to_owned()]);
    let stranger = connection(&vhost.url());
    let locked = exclusive.declare(&stranger).wait().unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::ResourceLocked, "{locked}");
    let named = Queue::new("").exclusive().declare(&owner).wait().unwrap();
    assert!(named.queue.starts_with("amq.gen-"), "{}", named.queue);
    let (_consumer, bodies) = collect(&owner, &Queue::new(named.queue.clone()));
    owner.producer().publish("by name").routing_key(named.queue.clone()).mandatory().wait().unwrap();
    bodies.expect(["by name".to_owned()]);
    owner.close().wait().unwrap();
    wait_for("they go with their connection", || vhost.queues().is_empty());
}

#[test]
fn exclusive_consumers_and_consumer_arguments_are_passed_on() {
    let vhost = RabbitServer::shared().vhost();
    let connection = connection(&vhost.url());
    let queue = Queue::new("q").consumer_argument("x-priority", Value::from(7));
    let first =
        connection.consumer(&queue).exclusive().on_message(|message| _ = message.ack()).consume().wait().unwrap();
    let second = connection.consumer(&queue).on_message(|message| _ = message.ack()).consume().wait().unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AccessRefused, "{second}");
    drop(first);
}
