//! A worker for Celery's tasks: clients in Python ask it as they ask Celery's own, and get their results.
//!
//! ```text
//! cargo run --example celery_worker                              asks itself, no broker needed
//! cargo run --example celery_worker -- redis://localhost:6379    works until Ctrl-C
//! ```
//!
//! ```python
//! app = Celery("proj", broker="redis://localhost:6379", backend="rpc://")
//! app.send_task("proj.add", args=(2, 3)).get()
//! ```

use std::process::ExitCode;

use kombu::FieldTable;
use kombu::prelude::*;
use serde::{Deserialize, Serialize};

/// The body of a task message: its arguments by position, those by name, and what is to happen afterwards.
#[derive(Serialize, Deserialize)]
struct Task(Vec<i64>, FieldTable, FieldTable);

/// What a client waits for.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    task_id: String,
    status: String,
    result: Value,
    traceback: Option<String>,
    children: Vec<Value>,
}

/// Does a task; an error's text goes to who asked.
fn perform(name: &str, arguments: &[i64]) -> std::result::Result<i64, String> {
    match (name, arguments) {
        ("proj.add", [x, y]) => x.checked_add(*y).ok_or_else(|| "the sum is too large".to_owned()),
        ("proj.add", _) => Err("proj.add takes two numbers".to_owned()),
        _ => Err(format!("there is no task {name:?}")),
    }
}

fn answer(message: &Message) -> Answer {
    let name = message.headers().get("task").and_then(Value::as_str).unwrap_or_default();
    let arguments = message.decode().map_err(|error| error.to_string());
    let (status, result) = match arguments.and_then(|Task(arguments, ..)| perform(name, &arguments)) {
        Ok(sum) => ("SUCCESS", Value::from(sum)),
        Err(text) => {
            let exception = [("exc_type", "Exception"), ("exc_message", &text), ("exc_module", "builtins")];
            ("FAILURE", Value::Map(FieldTable::from(exception)))
        }
    };
    let task_id = message.properties().correlation_id().unwrap_or_default().to_owned();
    Answer { task_id, status: status.to_owned(), result, traceback: None, children: Vec::new() }
}

fn run(url: &str) -> Result<()> {
    let hub = Hub::new()?;
    hub.stop_on_signals()?;
    let connection = Connection::new(url)?;
    connection.register_with_event_loop(&hub)?;

    // Celery's default queue, declared as Celery declares it.
    let queue = Queue::new("celery").bind(&Exchange::direct("celery"), "celery");
    let producer = connection.producer();
    let on_task = move |message: Message| -> Result<()> {
        let answer = answer(&message);
        println!("did task {}: {}", answer.task_id, answer.status);
        if let Some(reply_to) = message.properties().reply_to() {
            producer.publish(Json(&answer)).routing_key(reply_to).correlation_id(answer.task_id.as_str()).wait()?;
        }
        // Only now: should this process die before, another worker does the task.
        message.ack();
        Ok(())
    };
    let _worker = connection.consumer(&queue).prefetch(4).on_message(on_task).consume().wait()?;

    if url == "memory://" {
        let replies = Queue::new("replies");
        let handle = hub.handle();
        let on_reply = move |message: Message| -> Result<()> {
            println!("2 + 3 = {}", message.decode::<Answer>()?.result.as_i64().unwrap_or_default());
            message.ack();
            handle.stop();
            Ok(())
        };
        let _replies = connection.consumer(&replies).on_message(on_reply).consume().wait()?;
        ask(&connection, "proj.add", Task(vec![2, 3], FieldTable::new(), FieldTable::new()))?;
        return hub.run_forever();
    }
    hub.run_forever()
}

/// Asks as Celery's protocol 2 does.
fn ask(connection: &Connection, name: &str, task: Task) -> Result<()> {
    let id = "d3b07384-d9a0-4c9b-8f6e-5a2b1c0d4e7f";
    let headers = FieldTable::from([("lang", "py"), ("task", name), ("id", id), ("root_id", id)]);
    connection
        .producer()
        .publish(Json(&task))
        .headers(headers)
        .routing_key("celery")
        .correlation_id(id)
        .reply_to("replies")
        .wait()
        .map(drop)
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter("info,lapin=off").with_writer(std::io::stderr).init();
    match run(std::env::args().nth(1).as_deref().unwrap_or("memory://")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("celery_worker: {error}");
            ExitCode::FAILURE
        }
    }
}
