//! What all checks of one run share.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kombu_core::hub::Hub;
use kombu_core::{BrokerUrl, Capabilities, Clock, Error, ErrorKind, FieldTable, Result, SystemClock, Transport};
use kombu_core::{TransportConfig, TransportEntry};

use crate::broker::Broker;

/// Makes a hub that runs by a clock, on the calling thread.
pub(crate) type HubFactory = Arc<dyn Fn(Arc<dyn Clock>) -> Result<Rc<dyn Hub>> + Send + Sync>;

/// Starts a broker, or says why it cannot.
pub(crate) type BrokerFactory = Arc<dyn Fn() -> std::result::Result<Box<dyn Broker>, String> + Send + Sync>;

/// How the broker is found.
#[derive(Clone)]
pub(crate) enum Address {
    /// Nobody said.
    None,
    /// Every check has a URL of its own, made from a label.
    Private(Arc<dyn Fn(&str) -> String + Send + Sync>),
    /// All checks share this one.
    Shared(String),
    /// In a variable of the environment.
    Variable(&'static str),
}

/// The settings of a suite.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) name: &'static str,
    pub(crate) entry: TransportEntry,
    pub(crate) address: Address,
    pub(crate) options: FieldTable,
    pub(crate) hub: HubFactory,
    pub(crate) is_manual: bool,
    /// There is no transport: only the hub is checked.
    pub(crate) is_hub_alone: bool,
    pub(crate) is_small: bool,
    pub(crate) patience: Duration,
    pub(crate) broker: Option<BrokerFactory>,
    pub(crate) known_failures: BTreeMap<String, String>,
    pub(crate) reasons: BTreeMap<&'static str, &'static str>,
    pub(crate) seed: u64,
    pub(crate) run: Arc<str>,
    pub(crate) shared: Arc<Mutex<Option<Box<dyn Broker>>>>,
}

impl Ground {
    /// Returns a URL for check `label`; starts the shared broker if that is how it is had.
    pub(crate) fn url(&self, label: &str) -> std::result::Result<String, String> {
        match &self.address {
            Address::Private(make) => Ok(make(label)),
            Address::Shared(url) => Ok(url.clone()),
            Address::Variable(name) => std::env::var(name)
                .ok()
                .filter(|url| !url.is_empty())
                .ok_or_else(|| format!("the environment variable {name} holds no URL of a broker")),
            Address::None => self.shared_broker(),
        }
    }

    fn shared_broker(&self) -> std::result::Result<String, String> {
        let Some(factory) = &self.broker else {
            return Err("the harness names no broker: neither a URL nor a way to start one".to_owned());
        };
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            *shared = Some(factory()?);
        }
        Ok(shared.as_ref().map(|broker| broker.url()).unwrap_or_default())
    }

    /// Makes a transport, not connected.
    pub(crate) fn make(&self, url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Transport>> {
        let url: BrokerUrl = url.parse()?;
        let mut options = self.options.clone();
        for (name, value) in url.query() {
            options.insert(name.as_str(), value.as_str());
        }
        (self.entry.make)(TransportConfig { url, alternates: Vec::new(), options, clock })
    }

    /// Returns what the transport declares before it is connected.
    pub(crate) fn declared(&self) -> Result<Arc<Capabilities>> {
        let url = match &self.address {
            Address::None => self.shared.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|one| one.url()),
            _ => self.url("capabilities").ok(),
        };
        let scheme = self.entry.schemes.first().copied().unwrap_or(self.entry.name);
        let url = url.unwrap_or_else(|| format!("{scheme}://localhost"));
        self.make(&url, Arc::new(SystemClock)).map(|transport| transport.capabilities())
    }

    /// Makes a hub on this thread.
    pub(crate) fn hub(&self, clock: Arc<dyn Clock>) -> Result<Rc<dyn Hub>> {
        (self.hub)(clock)
    }
}

/// Returns a text that no other run has, in any process.
pub(crate) fn unique_run() -> Arc<str> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    // The low digits are those that differ.
    let nanos = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{:x}{:x}x{}", nanos, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// The scheme of an entry must be found by the facade's connections too.
pub(crate) fn check_entry(entry: &TransportEntry) -> Result<()> {
    if entry.schemes.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "the transport's entry names no URL scheme"));
    }
    Ok(())
}
