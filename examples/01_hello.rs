//! The program of Kombu's own documentation: a consumer and a producer on one hub.
//!
//! ```text
//! cargo run --example hello                                          no broker needed
//! cargo run --example hello --features redis -- redis://localhost:6379
//! cargo run --example hello -- --count 1                             leaves after one message
//! ```

use std::process::ExitCode;
use std::time::Duration;

use kombu::prelude::*;

fn run(url: &str, count: u64) -> Result<()> {
    let hub = Hub::new()?;
    hub.stop_on_signals()?; // Ctrl-C leaves the loop below
    let connection = Connection::new(url)?;
    connection.register_with_event_loop(&hub)?;

    let exchange = Exchange::direct("asynt_exchange");
    let queue = Queue::new("asynt_queue").bind(&exchange, "asynt_routing_key");

    let handle = hub.handle();
    let mut received = 0;
    let on_message = move |message: Message| -> Result<()> {
        println!("received: {:?}", message.text()?);
        message.ack();
        received += 1;
        if received == count {
            handle.stop();
        }
        Ok(())
    };

    let _consumer = connection.consumer(&queue).on_message(on_message).consume().wait()?;
    Producer::new(&connection).publish("hello world").exchange(&exchange).routing_key("asynt_routing_key").wait()?;

    hub.timer().call_repeatedly(Duration::from_secs(3), |_| println!(" kombu "));
    hub.run_forever()
}

fn main() -> ExitCode {
    // What happens to the connection is told through `tracing`; here it goes to standard error.
    tracing_subscriber::fmt().with_env_filter("info,lapin=off").with_writer(std::io::stderr).init();
    let mut url = String::from("memory://");
    let mut count = 0; // for ever
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--count" => match arguments.next().and_then(|text| text.parse().ok()) {
                Some(number) => count = number,
                None => return usage("--count takes a number"),
            },
            text if text.starts_with('-') => return usage(&format!("unknown option {text}")),
            _ => url = argument,
        }
    }
    match run(&url, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("hello: {problem}\nusage: hello [URL] [--count N]");
    ExitCode::from(2)
}
