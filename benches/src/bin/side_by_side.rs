//! Prints how fast we are beside Python Kombu: same run, same server, same bodies, in turn. `benches/README.md` has the rules.

use std::process::ExitCode;

use kombu_benches::bodies::Bodies;
use kombu_benches::options::Options;
use kombu_benches::python::Peer;
use kombu_benches::redis::Pace;
use kombu_benches::report::{self, Row};
use kombu_benches::rig::Via;
use kombu_benches::sample::Sample;
use kombu_benches::{amqp, memory, redis};
use kombu_brokers::{RabbitServer, RedisServer};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{} rounds, bodies of {} bytes, each message confirmed and acknowledged",
        options.rounds, options.body_size
    );
    let bodies = Bodies::new(options.body_size);
    if options.wants("memory") {
        measure_memory(&options, &bodies);
    }
    if options.wants("redis") {
        measure_redis(&options, &bodies);
    }
    if options.wants("amqp") {
        measure_amqp(&options, &bodies);
    }
    ExitCode::SUCCESS
}

/// Takes one sample of each side in turn, `rounds` times, after one round that does not count.
fn in_turn(rounds: usize, mut round: impl FnMut(&mut dyn FnMut(usize, Sample, Sample)), rows: &mut [Row]) {
    for number in 0..=rounds {
        round(&mut |row, ours, theirs| {
            if number > 0 {
                rows[row].ours.push(ours);
                rows[row].theirs.push(theirs);
            }
        });
        eprint!(".");
    }
    eprintln!();
}

fn measure_memory(options: &Options, bodies: &Bodies) {
    let mut python = Peer::start("memory://", bodies);
    let mut rows = [
        Row::new("publish, awaited"),
        Row::new("consume and ack"),
        Row::new("publish, consume and ack on one thread"),
        Row::new("the same on two threads"),
    ];
    let round = |take: &mut dyn FnMut(usize, Sample, Sample)| {
        let [publish, consume] = memory::publish_then_consume("memory://", options.memory, bodies);
        let (their_publish, their_consume) = (python.publish("named", options.python), python.consume(options.python));
        take(0, publish, their_publish);
        take(1, consume, their_consume);
        // Python has one thread at a time, so what it does on one is what it can do on two.
        let theirs = their_publish.and(their_consume);
        take(2, memory::one_thread("memory://", options.memory, bodies, Bodies::at), theirs);
        take(3, memory::two_threads("memory://", options.memory, bodies, Bodies::at), theirs);
    };
    in_turn(options.rounds, round, &mut rows);
    report::print(&format!("memory, beside {}", python.versions), &rows);
}

fn measure_redis(options: &Options, bodies: &Bodies) {
    let server = RedisServer::start();
    let mut python = Peer::start(&server.url(), bodies);
    let mut rows = vec![
        Row::new("publish to a direct exchange, pipelined"),
        Row::new("publish to the default exchange, pipelined"),
        Row::new("publish to a direct exchange, one by one"),
        Row::new("consume and ack, prefetch 256"),
    ];
    let batches = python.has_batches;
    if batches {
        rows.push(Row::new("publish, pipelined, beside Kombu's batches"));
    }
    let empty = || server.command(&["DEL", "bench.python"]);
    let round = |take: &mut dyn FnMut(usize, Sample, Sample)| {
        let ours = |via, pace, count| redis::publish(&server, via, pace, count, bodies);
        let pipelined = ours(Via::Named, Pace::Pipelined, options.redis);
        let theirs = python.publish("named", options.python);
        empty();
        take(0, pipelined, theirs);
        take(2, ours(Via::Named, Pace::OneByOne, options.python), theirs);
        let default = python.publish("default", options.python);
        take(1, ours(Via::Default, Pace::Pipelined, options.redis), default);
        let consumed = python.consume(options.python);
        take(3, redis::consume(&server, options.redis, bodies), consumed);
        if batches {
            let batch = python.publish("batch", options.python);
            empty();
            take(4, pipelined, batch);
        }
    };
    in_turn(options.rounds, round, &mut rows);
    let version = server.command(&["INFO", "server"]);
    let version = version.text().lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("?").to_owned();
    report::print(&format!("Redis {version}, beside {}", python.versions), &rows);
}

fn measure_amqp(options: &Options, bodies: &Bodies) {
    // A node with the machine's processors, as it is run.
    let server = RabbitServer::options().all_processors().start();
    let vhost = server.vhost();
    let mut python = Peer::start(&vhost.url(), bodies);
    let mut rows = [
        Row::new("publish to the default exchange, pipelined"),
        Row::new("publish to a direct exchange, pipelined"),
        Row::new("publish to the default exchange, one by one"),
        Row::new("consume and ack, prefetch 256"),
    ];
    let round = |take: &mut dyn FnMut(usize, Sample, Sample)| {
        let ours = |via, pace, count| amqp::publish(&vhost, via, pace, count, bodies);
        let pipelined = ours(Via::Default, Pace::Pipelined, options.amqp);
        let theirs = python.publish("default", options.python);
        take(0, pipelined, theirs);
        take(2, ours(Via::Default, Pace::OneByOne, options.python), theirs);
        let consumed = python.consume(options.python);
        take(3, amqp::consume(&vhost, options.amqp, bodies), consumed);
        let named = python.publish("named", options.python);
        vhost.purge("bench.python");
        take(1, ours(Via::Named, Pace::Pipelined, options.amqp), named);
    };
    in_turn(options.rounds, round, &mut rows);
    let version = server.eval("rabbit_misc:version()");
    report::print(&format!("RabbitMQ {}, beside {}", version.trim_matches('"'), python.versions), &rows);
}
