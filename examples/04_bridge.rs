//! A bridge: forwards a queue of one broker to a queue of another, and loses nothing when either of them restarts.
//!
//! ```text
//! cargo run --example bridge --features amqp,redis -- amqp://localhost:5672 redis://localhost:6379
//! cargo run --example bridge -- FROM TO --sample 3        publishes three messages to forward, and leaves after them
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kombu::prelude::*;

/// The queue on both sides.
pub const QUEUE: &str = "bridged";

/// Forwards what comes to the queue of `from` to that of `to`, on `hub`, calling `on_forwarded` for each.
///
/// A message is acknowledged when the other broker has confirmed it, never before. A broker that goes away in between costs a
/// double, not a message: doubles say so, see [`Message::maybe_duplicate`].
///
/// # Errors
///
/// When the queues cannot be declared or consumed.
pub fn bridge(
    hub: &Hub,
    from: &Connection,
    to: &Connection,
    on_forwarded: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Consumer> {
    Queue::new(QUEUE).declare(to).wait()?;
    let (producer, handle, on_forwarded) = (to.producer(), hub.handle(), Arc::new(on_forwarded));
    let on_message = move |message: Message| {
        let forwarded = forward(&producer, &message).send();
        let on_forwarded = Arc::clone(&on_forwarded);
        // The next messages do not wait for this one's confirmation: up to the prefetch is under way at once.
        drop(handle.spawn(async move {
            match forwarded.await {
                Ok(_) => {
                    on_forwarded(message.text().unwrap_or("bytes"));
                    message.ack();
                }
                Err(error) => {
                    eprintln!("bridge: {error}; it goes back");
                    message.requeue();
                }
            }
        }));
    };
    from.consumer(Queue::new(QUEUE)).prefetch(100).on_message(on_message).consume().wait()
}

/// Makes the publish that forwards `message` as it is.
fn forward<'p>(producer: &'p Producer, message: &Message) -> kombu::Publish<'p> {
    let properties = message.properties();
    let mut publish = producer
        .publish(message.body().clone())
        .routing_key(QUEUE)
        .content_type(message.content_type(), message.content_encoding())
        .headers(message.headers().table().clone())
        .priority(properties.priority.unwrap_or(0))
        .delivery_mode(properties.delivery_mode);
    if message.maybe_duplicate() {
        publish = publish.header("x-republished", true);
    }
    if let Some(id) = properties.message_id() {
        publish = publish.message_id(id);
    }
    if let Some(id) = properties.correlation_id() {
        publish = publish.correlation_id(id);
    }
    if let Some(queue) = properties.reply_to() {
        publish = publish.reply_to(queue);
    }
    publish
}

fn run(from: &str, to: &str, sample: usize) -> Result<()> {
    let hub = Hub::new()?;
    hub.stop_on_signals()?;
    let (from, to) = (Connection::new(from)?, Connection::new(to)?);
    from.register_with_event_loop(&hub)?;
    to.register_with_event_loop(&hub)?;
    Queue::new(QUEUE).declare(&from).wait()?;
    for number in 1..=sample {
        from.producer().publish(format!("message {number}")).routing_key(QUEUE).wait()?;
    }
    let (handle, count) = (hub.handle(), AtomicUsize::new(0));
    let consumer = bridge(&hub, &from, &to, move |text| {
        println!("forwarded: {text}");
        if count.fetch_add(1, Ordering::Relaxed) + 1 == sample {
            handle.stop();
        }
    })?;
    hub.run_forever()?;
    consumer.cancel().wait()?;
    from.close().wait()?;
    to.close().wait()
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter("info,lapin=off").with_writer(std::io::stderr).init();
    let (mut urls, mut sample) = (Vec::new(), 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--sample" => sample = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0),
            _ => urls.push(argument),
        }
    }
    let [from, to] = urls.as_slice() else {
        eprintln!("usage: bridge FROM TO [--sample N]");
        return ExitCode::from(2);
    };
    match run(from, to, sample) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bridge: {error}");
            ExitCode::FAILURE
        }
    }
}
