//! The brokers of this process, by URL.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kombu_core::{BrokerUrl, Error, ErrorKind, Result, TransportConfig};
use kombu_virtual::{BrokerOptions, VirtualBroker};

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
/// and takes its time and its options from that first connection.
///
/// # Errors
///
/// `InvalidArgument` for an option that cannot be read.
pub fn broker(config: &TransportConfig) -> Result<Arc<VirtualBroker<MemoryStore>>> {
    let options = options(config)?;
    // Nothing panics while the map is locked.
    let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || VirtualBroker::with_options(MemoryStore, Arc::clone(&config.clock), &options);
    Ok(Arc::clone(brokers.entry(Namespace::of(&config.url)).or_insert_with(make)))
}

/// Reads the options that mean something here; Kombu's other ones, such as `polling_interval`, do not.
fn options(config: &TransportConfig) -> Result<BrokerOptions> {
    let mut options = BrokerOptions::default();
    if let Some(value) = config.options.get("malformed_limit") {
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        options.malformed_limit = number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the option is not a number").with("option", "malformed_limit")
        })?;
    }
    Ok(options)
}
