//! The same on tokio: operations are awaited, messages are a stream, and there is no hub in sight.
//!
//! ```text
//! cargo run --example hello_async
//! cargo run --example hello_async --features redis -- redis://localhost:6379
//! ```

use kombu::prelude::*;

async fn run(url: &str) -> Result<()> {
    let connection = Connection::new(url)?;
    let exchange = Exchange::direct("asynt_exchange");
    let queue = Queue::new("asynt_queue").bind(&exchange, "asynt_routing_key");

    let mut messages = connection.consumer(&queue).stream().await?;
    let producer = connection.producer().with_exchange(&exchange).with_routing_key("asynt_routing_key");

    // One after the other …
    producer.publish("hello").await?;
    // … or pipelined: both are on their way before either is confirmed.
    let (first, second) = (producer.publish("async").send(), producer.publish("world").send());
    first.await?;
    second.await?;

    for _ in 0..3 {
        let Some(message) = messages.next().await else { break };
        let message = message?;
        println!("received: {:?}", message.text()?);
        message.ack().await?;
    }
    connection.close().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://".to_owned());
    match run(&url).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello_async: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
