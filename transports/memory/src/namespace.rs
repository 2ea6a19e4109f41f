//! The brokers of this process, by URL.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::{BrokerUrl, TransportConfig};
use kombu_virtual::VirtualBroker;

use crate::store::MemoryStore;

type Brokers = BTreeMap<Namespace, Arc<VirtualBroker<MemoryStore>>>;

static BROKERS: Mutex<Brokers> = Mutex::new(Brokers::new());

/// The parts of a URL that tell brokers apart.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Namespace {
    host: Option<String>,
    port: Option<u16>,
    path: String,
}

impl Namespace {
    fn of(url: &BrokerUrl) -> Self {
        Namespace { host: url.host().map(str::to_owned), port: url.port(), path: url.path().to_owned() }
    }
}

/// Returns the broker of a URL: the one made for the first connection to its host, port and path. It lives as long as the process
/// and takes its time from the clock of that first connection.
pub fn broker(config: &TransportConfig) -> Arc<VirtualBroker<MemoryStore>> {
    // Nothing panics while the map is locked.
    let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || VirtualBroker::new(MemoryStore, Arc::clone(&config.clock));
    Arc::clone(brokers.entry(Namespace::of(&config.url)).or_insert_with(make))
}
