//! What is on the wire, against recordings of Kombu 5.7 and a real server.
//!
//! Part of the crate's unit tests, because none of this is public.

mod bindings;
mod claims;
mod define;
mod envelopes;
mod fanout;
mod leases;
mod malformed;
mod server;
mod settles;
mod splice;
mod sweeps;
mod take;
mod unacked;

use bytes::Bytes;
use kombu_core::Clock;
use kombu_core::{BrokerUrl, FieldTable, SystemClock, TransportConfig};
use serde_json::Value as Json;

use crate::options::RedisOptions;

/// Reads a recording.
fn entries(recording: &str) -> Vec<Json> {
    let recording: Json = serde_json::from_str(recording).unwrap();
    recording["entries"].as_array().unwrap().clone()
}

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/kombu-5.7/", $name, ".json"))
    };
}
use recording;

/// Reads the options an entry was recorded with.
fn options(entry: &Json) -> RedisOptions {
    let url: BrokerUrl = format!("redis://localhost/{}", entry["db"].as_u64().unwrap_or(0)).parse().unwrap();
    let options = match entry["transport_options"].as_object() {
        Some(_) => {
            kombu_core::serialization::json::from_slice(entry["transport_options"].to_string().as_bytes()).unwrap()
        }
        None => kombu_core::Value::Map(FieldTable::new()),
    };
    let options = options.as_map().unwrap().clone();
    let clock: std::sync::Arc<dyn Clock> = std::sync::Arc::new(SystemClock);
    RedisOptions::new(&TransportConfig { url, alternates: Vec::new(), options, clock }).unwrap()
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

fn bytes(json: &Json) -> Bytes {
    Bytes::copy_from_slice(text(json).as_bytes())
}

/// An endless row of numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
}
