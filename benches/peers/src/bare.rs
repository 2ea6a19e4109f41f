//! What Redis itself and its usual client can do: `redis-benchmark`, and redis-rs as one writes it by hand.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use kombu_benches::bodies::{Bodies, Tally};
use kombu_benches::redis::{self as ours, QUEUE};
use kombu_benches::sample::Sample;
use kombu_brokers::RedisServer;
use redis::Connection;
use serde::Deserialize;

/// `redis-benchmark` pushes one envelope again and again, 64 pushes under way on each of `clients` connections. The rate is the one it
/// reports, without its start.
pub(crate) fn benchmark(server: &RedisServer, clients: u32, envelope: &[u8], count: u64) -> Sample {
    let envelope = std::str::from_utf8(envelope).expect("an envelope is JSON");
    let (port, clients, number) = (server.port().to_string(), clients.to_string(), count.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port, "-c", &clients, "-n", &number, "-P", "64", "-q", "LPUSH", QUEUE, envelope]);
    let output = command.output().expect("redis-benchmark comes with redis-server");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.rsplit_once(" requests per second").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    let rate: f64 = rate.expect("it reports a rate");
    let pushed = u64::try_from(server.command(&["LLEN", QUEUE]).int()).expect("a length");
    assert!(pushed >= count, "{pushed} of {count}");
    server.command(&["DEL", QUEUE]);
    // Its processor time is another process's.
    Sample { count, seconds: count as f64 / rate, cpu: f64::NAN }
}

/// redis-rs pushes envelopes one after the other, each after the answer to the one before.
pub(crate) fn push(server: &RedisServer, envelope: &[u8], count: u64) -> Sample {
    let mut connection = connect(server);
    let sample = Sample::of(count, || {
        for length in 1..=count {
            let pushed: u64 = redis::cmd("LPUSH").arg(QUEUE).arg(envelope).query(&mut connection).expect("it answers");
            assert_eq!(pushed, length);
        }
    });
    server.command(&["DEL", QUEUE]);
    sample
}

/// The part of an envelope that a consumer needs.
#[derive(Deserialize)]
struct Envelope<'a> {
    body: &'a str,
    #[serde(borrow)]
    properties: Properties<'a>,
}

#[derive(Deserialize)]
struct Properties<'a> {
    delivery_tag: &'a str,
}

/// redis-rs pops with `BRPOP`, notes each message as Kombu does, reads it, and forgets it when it is done.
pub(crate) fn consume(server: &RedisServer, count: u64, bodies: &Bodies) -> Sample {
    ours::fill_for_peer(server, count, bodies);
    let mut connection = connect(server);
    let mut tally = Tally::default();
    let sample = Sample::of(count, || {
        while tally.count < count {
            let popped = redis::cmd("BRPOP").arg(QUEUE).arg(1).query(&mut connection);
            let (_, text): (String, Vec<u8>) = popped.expect("the queue is full");
            let envelope: Envelope<'_> = serde_json::from_slice(&text).expect("ours are JSON");
            let tag = envelope.properties.delivery_tag;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
            let entry = [b"[", &text[..], b", \"\", \"", QUEUE.as_bytes(), b"\"]"].concat();
            let mut note = redis::pipe();
            note.atomic().zadd("unacked_index", tag, now).ignore().hset("unacked", tag, entry).ignore();
            note.exec(&mut connection).expect("it answers");
            let body = base64::engine::general_purpose::STANDARD.decode(envelope.body).expect("ours are base64");
            tally.add(&body);
            let mut forget = redis::pipe();
            forget.atomic().zrem("unacked_index", tag).ignore().hdel("unacked", tag).ignore();
            forget.exec(&mut connection).expect("it answers");
        }
    });
    assert_eq!(tally, bodies.tally(count));
    assert_eq!(server.command(&["HLEN", "unacked"]).int(), 0);
    sample
}

fn connect(server: &RedisServer) -> Connection {
    let client = redis::Client::open(server.url()).expect("the URL is good");
    client.get_connection().expect("the server is there")
}
