//! A transport of one's own in 150 lines, and what it is worth: a process is killed with `kill -9` while it works, and the next one
//! finds everything it had not acknowledged.
//!
//! ```text
//! cargo run --example directory
//! ```

mod transport;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use kombu::prelude::*;

/// What is run as a process of its own: takes in three orders, finishes the first, and is killed over the second.
fn worker(url: &str) -> Result<()> {
    let connection = Connection::new(url)?;
    let queue = orders();
    queue.declare(&connection).wait()?;
    for text in ["tea", "coffee", "cake"] {
        connection.producer().publish(text).exchange(&shop()).routing_key("order.new").wait()?;
    }
    let _consumer = connection
        .consumer(&queue)
        .prefetch(1)
        .on_message(|message: Message| match message.text() {
            Ok("tea") => {
                message.ack().wait()?;
                println!("worker: tea is served");
                Ok(())
            }
            _ => {
                println!("worker: busy");
                message.leave_unacked();
                Ok::<(), kombu::Error>(())
            }
        })
        .consume()
        .wait()?;
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Whatever the killed worker had not acknowledged is there.
fn successor(url: &str) -> Result<()> {
    let connection = Connection::new(url)?;
    let queue = orders();
    queue.declare(&connection).wait()?;
    while let Some(message) = queue.get(&connection).wait()? {
        println!("successor: {}{}", message.text()?, if message.redelivered() { " (redelivered)" } else { "" });
        message.ack().wait()?;
    }
    connection.close().wait()
}

fn shop() -> Exchange {
    Exchange::topic("shop")
}

fn orders() -> Queue {
    Queue::new("orders").bind(&shop(), "order.#")
}

/// Starts the worker, and kills it once it is busy with what it cannot finish.
fn kill_a_worker(url: &str) -> std::io::Result<()> {
    let program = std::env::current_exe()?;
    let mut worker = Killed(Command::new(program).args(["worker", url]).stdout(Stdio::piped()).spawn()?);
    for line in BufReader::new(worker.0.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?).lines() {
        let line = line?;
        println!("{line}");
        if line == "worker: busy" {
            break;
        }
    }
    worker.0.kill()?;
    println!("the worker is killed");
    Ok(())
}

/// A process that does not outlive this one.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    if let [_, role, url] = &std::env::args().collect::<Vec<_>>()[..]
        && role == "worker"
    {
        return Ok(worker(url)?);
    }
    let directory = std::env::temp_dir().join(format!("kombu-directory-{}", std::process::id()));
    let url = format!("directory://{}", directory.display());
    let shown = kill_a_worker(&url).map_err(Into::into).and_then(|()| Ok(successor(&url)?));
    std::fs::remove_dir_all(&directory)?;
    shown
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
