//! One thread, one loop, three brokers: a timer makes orders in memory, they go on to Redis, from there to RabbitMQ, and are
//! printed at the end.
//!
//! ```text
//! cargo run --example three_brokers --features amqp,redis -- redis://localhost:6379 amqp://localhost:5672
//! cargo run --example three_brokers                       three brokers in memory; or those of $REDIS_URL and $AMQP_URL
//! ```

use std::process::ExitCode;
use std::time::Duration;

use kombu::prelude::*;

const ORDERS: u32 = 5;

/// Moves what comes to `from` on to `to` of another broker. It is answered only when the other broker has it: whatever fails
/// in between, no order is lost.
fn moves(from: &Connection, queue: &Queue, to: &Producer, key: &'static str) -> Result<Consumer> {
    let to = to.clone();
    let on_message = move |message: Message| -> Result<()> {
        // Waiting in a callback turns the sockets and timers of all three brokers, but runs no other callback.
        to.publish(format!("{} > {key}", message.text()?)).routing_key(key).wait()?;
        message.ack();
        Ok(())
    };
    from.consumer(queue).on_message(on_message).consume().wait()
}

fn run(redis: &str, amqp: &str) -> Result<()> {
    let hub = Hub::new()?;
    hub.stop_on_signals()?;
    let memory = Connection::new("memory://orders")?;
    let redis = Connection::new(redis)?;
    let amqp = Connection::new(amqp)?;
    for connection in [&memory, &redis, &amqp] {
        connection.register_with_event_loop(&hub)?;
    }
    let (made, stored, shipped) = (Queue::new("made"), Queue::new("stored"), Queue::new("shipped"));
    stored.declare(&redis).wait()?;
    shipped.declare(&amqp).wait()?;

    let _to_redis = moves(&memory, &made, &redis.producer(), "stored")?;
    let _to_amqp = moves(&redis, &stored, &amqp.producer(), "shipped")?;

    let (handle, mut count) = (hub.handle(), 0);
    let on_message = move |message: Message| -> Result<()> {
        println!("{}", message.text()?);
        message.ack().wait()?;
        count += 1;
        if count == ORDERS {
            handle.stop();
        }
        Ok(())
    };
    let _end = amqp.consumer(&shipped).on_message(on_message).consume().wait()?;

    let (producer, mut number) = (memory.producer(), 0);
    let timer = hub.timer().call_repeatedly(Duration::from_millis(20), move |_| {
        number += 1;
        if number <= ORDERS {
            drop(producer.publish(format!("order {number}")).routing_key("made").send());
        }
    });
    hub.run_forever()?;
    timer.cancel();
    [memory, redis, amqp].iter().try_for_each(|connection| connection.close().wait())
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter("info,lapin=off").with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut url = |variable: &str, default: &str| {
        let given = arguments.next().or_else(|| std::env::var(variable).ok());
        given.filter(|url| !url.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    let (redis, amqp) = (url("REDIS_URL", "memory://second"), url("AMQP_URL", "memory://third"));
    match run(&redis, &amqp) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("three_brokers: {error}");
            ExitCode::FAILURE
        }
    }
}
