//! Tasks between Celery 5.7 and programs in Rust: either is the client, either is the worker.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use common::tagged::to_tagged;
use common::{Broker, Incoming, PATIENCE, RabbitServer, RedisServer, eventually, fixture};
use kombu::{Connection, Exchange, Json, Producer, Queue};
use kombu_brokers::{PythonKombu, PythonProcess};
use serde_json::{Value as JsonValue, json};

fn celery(role: &str, broker: &impl Broker) -> PythonProcess {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/celery_app.py");
    PythonKombu::shared().spawn(script, &[role, &broker.url()])
}

/// Celery's default queue, as it declares it.
fn celery_queue() -> Queue {
    Queue::new("celery").bind(&Exchange::direct("celery"), "celery")
}

/// What the recording says that a worker makes of a task, if it can be seen from outside and the worker survives it.
fn state_and_result(entry: &JsonValue) -> Option<(&str, &str)> {
    let (state, result) = entry["worker_result"].as_str()?.split_once(' ')?;
    ["SUCCESS", "FAILURE", "REVOKED"].contains(&state).then_some((state, result))
}

/// The recorded tasks are published from here; their results come to a queue that is read here.
fn a_celery_worker_does_what_rust_asks_for(broker: &impl Broker) {
    let mut worker = celery("worker", broker);
    assert_eq!(worker.recv(2 * PATIENCE)["ready"], true);
    let connection = Connection::new(&broker.url()).unwrap();
    let replies = Queue::new("replies");
    let incoming = Incoming::start(&connection, &replies);
    let producer = Producer::new(&connection);
    for entry in fixture::entries("celery-worker-accepts") {
        let name = entry["name"].as_str().unwrap();
        let is_unknown = entry["worker_result"].as_str().unwrap().starts_with("logged");
        let expected = state_and_result(&entry);
        if expected.is_none() && !is_unknown {
            continue; // Celery's worker ends, or runs in circles.
        }
        let task = producer
            .publish(Json(entry["body_json"].clone()))
            .routing_key("celery")
            .reply_to("replies")
            .correlation_id(name);
        let headers = entry["headers"].as_object().unwrap();
        let text = |value: &JsonValue| value.as_str().unwrap().to_owned();
        let task = headers.iter().fold(task, |task, (name, value)| task.header(name.as_str(), text(value)));
        assert!(task.wait().unwrap().queues != Some(0), "{name}");
        // A worker that does not know the message as a task only says so.
        let Some((state, result)) = expected else { continue };
        let message = incoming.next();
        let answer = to_tagged(&message.payload().unwrap());
        assert_eq!(message.properties().correlation_id(), Some(name));
        assert_eq!(answer["status"], state, "{name}: {answer}");
        match state {
            "SUCCESS" => assert_eq!(answer["result"].to_string(), result, "{name}"),
            "FAILURE" => assert_eq!(answer["result"]["exc_type"], result.split(' ').next().unwrap(), "{name}"),
            _ => assert_eq!(answer["result"]["exc_type"], "TaskRevokedError", "{name}"),
        }
        message.ack().wait().unwrap();
    }
    assert!(eventually(PATIENCE, || broker.messages_left().is_empty()), "{:?}", broker.messages_left());
    incoming.cancel();
    worker.process().terminate();
}

/// A worker in Rust, as far as this client can tell.
fn a_celery_client_gets_its_results_from_rust(broker: &impl Broker) {
    let connection = Connection::new(&broker.url()).unwrap();
    let incoming = Incoming::start(&connection, &celery_queue());
    let producer = Producer::new(&connection);
    let mut client = celery("client", broker);
    for number in 1..=3 {
        client.send(&json!({"args": [number, 2], "kwargs": {"times": 10}}));
        let message = incoming.next();
        assert_eq!(message.headers().get("task").map(to_tagged), Some(json!("proj.add")));
        let body = to_tagged(&message.payload().unwrap());
        let (args, times) = (&body[0], body[1]["times"].as_i64().unwrap());
        let sum = (args[0].as_i64().unwrap() + args[1].as_i64().unwrap()) * times;
        let id = message.properties().correlation_id().unwrap().to_owned();
        let answer = json!({"task_id": id, "status": "SUCCESS", "result": sum, "traceback": null, "children": []});
        let reply_to = message.properties().reply_to().unwrap();
        producer.publish(Json(answer)).routing_key(reply_to).correlation_id(id.as_str()).wait().unwrap();
        message.ack().wait().unwrap();
        assert_eq!(client.recv(2 * PATIENCE), json!({"id": id, "result": (number + 2) * 10}));
    }
    incoming.cancel();
    assert!(eventually(PATIENCE, || broker.messages_left().is_empty()), "{:?}", broker.messages_left());
}

#[test]
fn a_celery_worker_does_what_rust_asks_for_on_redis() {
    a_celery_worker_does_what_rust_asks_for(&RedisServer::start());
}

#[test]
fn a_celery_worker_does_what_rust_asks_for_on_rabbitmq() {
    a_celery_worker_does_what_rust_asks_for(&RabbitServer::shared().vhost());
}

#[test]
fn a_celery_client_gets_its_results_from_rust_on_redis() {
    a_celery_client_gets_its_results_from_rust(&RedisServer::start());
}

#[test]
fn a_celery_client_gets_its_results_from_rust_on_rabbitmq() {
    a_celery_client_gets_its_results_from_rust(&RabbitServer::shared().vhost());
}
