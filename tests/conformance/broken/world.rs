//! What the connections of one broken broker share, and how its transport is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use kombu_core::hub::{Hub, HubHandle};
use kombu_core::{
    BrokerUrl, Capabilities, Channel, Envelope, Error, ErrorKind, Result, ShortStr, Transport, TransportConfig,
    TransportEntry, registry,
};

use crate::channel::{BrokenChannel, Inside};
use crate::fault::Fault;
use crate::table;

/// What is known of one broker, across its connections.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) bindings: BTreeMap<(ShortStr, ShortStr), Vec<ShortStr>>,
    pub(crate) fanouts: BTreeSet<ShortStr>,
    pub(crate) consumed: BTreeSet<ShortStr>,
    pub(crate) refused: Vec<Arc<Envelope>>,
    pub(crate) publishes: usize,
}

pub(crate) type Shared<T> = Arc<Mutex<T>>;

pub(crate) fn lock<T>(part: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn world(name: &str) -> Shared<World> {
    static WORLDS: OnceLock<Mutex<BTreeMap<String, Shared<World>>>> = OnceLock::new();
    Arc::clone(lock(WORLDS.get_or_init(Mutex::default)).entry(name.to_owned()).or_default())
}

/// Returns the entry of the transport that has `fault`.
pub(crate) fn entry(number: usize) -> TransportEntry {
    let scheme: &'static str = Box::leak(format!("broken-{number}").into_boxed_str());
    let schemes: &'static [&'static str] = Box::leak(Box::new([scheme]));
    TransportEntry { name: scheme, schemes, description: "memory with one promise broken", make }
}

fn make(mut config: TransportConfig) -> Result<Arc<dyn Transport>> {
    let number = config.url.scheme().strip_prefix("broken-").and_then(|number| number.parse::<usize>().ok());
    let fault = number.and_then(|number| table::transports().nth(number)).map(|(fault, _)| fault);
    let fault = fault.ok_or_else(|| Error::new(ErrorKind::UnknownTransport, "no such variant"))?;
    let name = config.url.host().unwrap_or_default().to_owned();
    let password = config.url.password().map(str::to_owned);
    config.url = format!("memory://{name}").parse::<BrokerUrl>()?;
    let memory = (registry::find("memory")?.make)(config)?;
    let capabilities = Arc::new(declared(fault, &memory.capabilities()));
    let link = Arc::new(Link { memory, fault, world: world(&name), hub: Mutex::default(), channels: Mutex::default() });
    Ok(Arc::new(BrokenTransport { link, capabilities, password }))
}

/// The largest body that is declared, by those of whom it is not true.
pub(crate) const BODY_LIMIT: u64 = 300_000;

fn declared(fault: Fault, memory: &Capabilities) -> Capabilities {
    let mut capabilities = memory.clone();
    if matches!(fault, Fault::BodyLimitCuts | Fault::BodyLimitOffByOne) {
        capabilities.max_body = Some(BODY_LIMIT);
    }
    capabilities
}

/// What a transport and its channels share.
pub(crate) struct Link {
    pub(crate) memory: Arc<dyn Transport>,
    pub(crate) fault: Fault,
    pub(crate) world: Shared<World>,
    pub(crate) hub: Mutex<Option<HubHandle>>,
    pub(crate) channels: Mutex<Vec<Weak<Inside>>>,
}

impl Link {
    pub(crate) fn living(&self) -> Vec<Arc<Inside>> {
        lock(&self.channels).iter().filter_map(Weak::upgrade).collect()
    }
}

struct BrokenTransport {
    link: Arc<Link>,
    capabilities: Arc<Capabilities>,
    password: Option<String>,
}

#[async_trait]
impl Transport for BrokenTransport {
    fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.capabilities)
    }

    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        *lock(&self.link.hub) = Some(hub.io().handle());
        self.link.memory.register_with_event_loop(hub)
    }

    async fn connect(&self) -> Result<()> {
        match self.link.fault {
            Fault::ShowsPassword if self.password.is_some() => {
                let password = self.password.clone().unwrap_or_default();
                return Err(Error::new(ErrorKind::AccessRefused, format!("the password {password} is wrong")));
            }
            Fault::LeaksDescriptor => drop(std::fs::File::open("/proc/self/stat").map(std::mem::forget)),
            Fault::LeaksThread => {
                std::thread::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            _ => {}
        }
        self.link.memory.connect().await
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        let inside = Arc::new(Inside::new(self.link.memory.channel().await?));
        lock(&self.link.channels).push(Arc::downgrade(&inside));
        Ok(Arc::new(BrokenChannel::new(inside, Arc::clone(&self.link))))
    }

    async fn close(&self) -> Result<()> {
        if self.link.fault == Fault::CloseLeavesChannels {
            return Ok(());
        }
        let channels = self.link.living();
        if self.link.fault == Fault::CloseHangsWhileHolding && channels.iter().any(|channel| channel.holds()) {
            std::future::pending::<()>().await;
        }
        channels.iter().for_each(|channel| channel.closing(self.link.fault));
        self.link.memory.close().await
    }
}
