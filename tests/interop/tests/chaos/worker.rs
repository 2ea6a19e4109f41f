//! The processes: publishers and consumers, which write down what they do before and after they do it.

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kombu::{Connection, Exchange, Message, Queue, Settling, Value};
use serde_json::{Value as JsonValue, json};

use crate::dice::Dice;
use crate::journal::Pen;

/// What a process is told on its standard input. It runs until that ends.
struct Order {
    connection: Connection,
    pen: Arc<Pen>,
    name: String,
    dice: Dice,
}

impl Order {
    fn read() -> Self {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).unwrap();
        let order: JsonValue = serde_json::from_str(&line).unwrap();
        let text = |name: &str| order[name].as_str().unwrap().to_owned();
        let connection = Connection::builder(&text("url"))
            .transport_option("lease", LEASE.as_secs_f64())
            .transport_option("wake", text("wake"))
            .transport_option("health_check_interval", 1)
            .transport_option("polling_interval", 1)
            // Begun while the way to the server is cut.
            .connect_timeout(Duration::from_secs(60))
            .operation_timeout(Duration::from_secs(120))
            .build()
            .unwrap();
        let dice = Dice::new(order["seed"].as_u64().unwrap());
        Order { connection, pen: Arc::new(Pen::new(&text("journal"))), name: text("name"), dice }
    }
}

/// Publishes until it is told to end; each publish is waited for, many at once.
pub(crate) fn publish() {
    let Order { connection, pen, name, mut dice } = Order::read();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin().lock().read_line(&mut line).unwrap() > 0 {}
        over.store(true, Ordering::Release);
    });
    let exchange = Exchange::direct(EXCHANGE);
    let producer = connection.producer();
    let mut under_way = std::collections::VecDeque::new();
    let mut number = 0;
    let settle = |(id, pending): (String, kombu::Pending<kombu::Confirmed>)| match pending.wait() {
        Ok(confirmed) if confirmed.queues == Some(0) => pen.write("refused", &id, "unroutable"),
        Ok(_) => pen.write("confirmed", &id, "-"),
        Err(error) => pen.write("refused", &id, &format!("{:?}", error.kind())),
    };
    while !is_over.load(Ordering::Acquire) {
        number += 1;
        let id = format!("{name}.{number}");
        let publish = producer.publish(id.clone()).timeout(Duration::from_secs(60));
        let publish = match dice.roll(3) {
            0 => publish.exchange(&exchange).routing_key("k"),
            _ => publish.routing_key(QUEUE),
        };
        under_way.push_back((id, publish.send()));
        while under_way.len() > dice.index(40) {
            under_way.pop_front().into_iter().for_each(&settle);
        }
        std::thread::sleep(Duration::from_micros(dice.roll(6000)));
    }
    under_way.into_iter().for_each(settle);
    connection.close().wait().unwrap();
    println!("\n{}", json!({"done": true}));
}

/// Consumes until it is told to end, and settles what comes one way or the other.
pub(crate) fn consume() {
    let Order { connection, pen, mut dice, .. } = Order::read();
    let queue = Queue::new(QUEUE).bind(&Exchange::direct(EXCHANGE), "k");
    let (sender, acks) = mpsc::channel::<(String, &'static str, Settling)>();
    let journal = Arc::clone(&pen);
    let asking = std::thread::spawn(move || {
        for (id, how, ack) in acks {
            match ack.wait() {
                Ok(()) => journal.write("acked", &id, how),
                Err(error) => journal.write("lost", &id, &format!("{:?}", error.kind())),
            }
        }
    });
    let journal = Arc::clone(&pen);
    let prefetch = u16::try_from(1 + dice.roll(50)).unwrap();
    let on_message = move |message: Message| {
        let id = message.text().unwrap().to_owned();
        let is_repeated = message.headers().get("x-republished") == Some(&Value::Bool(true));
        let how = match (is_repeated, message.redelivered()) {
            (true, _) => "republished",
            (false, true) => "redelivered",
            (false, false) => "first",
        };
        journal.write("received", &id, how);
        std::thread::sleep(Duration::from_micros(dice.roll(2000)));
        match dice.roll(40) {
            0 => {
                journal.write("requeued", &id, how);
                drop(message.requeue());
            }
            // Dropped: given back as well.
            1 => journal.write("requeued", &id, how),
            _ => {
                journal.write("acking", &id, how);
                sender.send((id, how, message.ack())).unwrap();
            }
        }
    };
    let consumer = connection.consumer(&queue).prefetch(prefetch).on_message(on_message).consume().wait().unwrap();
    println!("\n{}", json!({"ready": true}));
    let mut line = String::new();
    while std::io::stdin().lock().read_line(&mut line).unwrap() > 0 {}
    let closed = connection.close().wait();
    drop(consumer);
    drop(connection);
    asking.join().unwrap();
    println!("\n{}", json!({"done": closed.is_ok()}));
}

pub(crate) const QUEUE: &str = "work";
pub(crate) const EXCHANGE: &str = "orders";
/// How long a consumer may be silent.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
