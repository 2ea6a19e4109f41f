//! What the connections of one broken broker share, and how its transport is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use kombu_core::hub::{Hub, HubHandle};
use kombu_core::{
    BrokerUrl, Capabilities, Channel, Clock, Envelope, Error, ErrorKind, HeaderTypes, Result, ShortStr, Support,
    Transport, TransportConfig, TransportEntry,
};

use crate::channel::BrokenChannel;
use crate::fault::Fault;
use crate::inside::{Inside, now};
use crate::network::{self, GuestTransport, Machine};
use crate::table;

/// What is known of one broker, across its connections.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) bindings: BTreeMap<(ShortStr, ShortStr), Vec<ShortStr>>,
    pub(crate) fanouts: BTreeSet<ShortStr>,
    pub(crate) consumed: BTreeSet<ShortStr>,
    pub(crate) refused: Vec<Arc<Envelope>>,
    pub(crate) publishes: usize,
    pub(crate) published_to: BTreeSet<ShortStr>,
    pub(crate) deleted: BTreeSet<ShortStr>,
    pub(crate) single_active: BTreeSet<ShortStr>,
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

/// Returns what is broken in the transport of `number`.
pub(crate) fn fault(number: usize) -> Option<Fault> {
    table::transports().nth(number).map(|(fault, _)| fault)
}

fn make(config: TransportConfig) -> Result<Arc<dyn Transport>> {
    let number = config.url.scheme().strip_prefix("broken-").and_then(|number| number.parse::<usize>().ok());
    let fault = number.and_then(fault).ok_or_else(|| Error::new(ErrorKind::UnknownTransport, "no such variant"))?;
    if fault == Fault::ShowsPasswordInMake && config.options.contains_key("no_such_option") {
        let text = format!("{} knows no such option", config.url.password().unwrap_or_default());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let (url, clock) = (config.url.clone(), Arc::clone(&config.clock));
    let name = url.host().unwrap_or_default().to_owned();
    let memory = network::memory(&name, config)?;
    let capabilities = Arc::new(declared(fault, &memory.capabilities()));
    let has_network = table::has_network(fault);
    if has_network && network::is_guest() {
        return Ok(Arc::new(GuestTransport::new(&url, capabilities)));
    }
    let machine = if has_network { Machine::at(&url, fault) } else { None };
    let link = Arc::new(Link {
        memory,
        fault,
        machine,
        world: world(&name),
        hub: Mutex::default(),
        channels: Mutex::default(),
        is_lost: AtomicBool::new(false),
    });
    let at_first = Arc::new(at_first(fault, (*capabilities).clone()));
    Ok(Arc::new(BrokenTransport { link, capabilities, at_first, is_closed: AtomicBool::new(false), url, clock }))
}

/// The largest body that is declared, by those of whom it is not true.
pub(crate) const BODY_LIMIT: u64 = 300_000;

/// The largest headers that are declared, by the variant of which it is not true.
pub(crate) const HEADER_LIMIT: u64 = 3000;

/// What is declared until a channel is opened: the suite asks before, and core afterwards, which does then not refuse what the suite
/// thinks is not declared.
fn at_first(fault: Fault, mut capabilities: Capabilities) -> Capabilities {
    match fault {
        Fault::HeaderTypesOnPaper => capabilities.header_types = HeaderTypes::Json,
        Fault::TakesUndeclaredExclusive => capabilities.exclusive = Support::No,
        Fault::TakesUndeclaredTopics => capabilities.exchange_topic = Support::No,
        _ => {}
    }
    capabilities
}

fn declared(fault: Fault, memory: &Capabilities) -> Capabilities {
    let mut capabilities = memory.clone();
    match fault {
        Fault::BodyLimitCuts | Fault::BodyLimitOffByOne => capabilities.max_body = Some(BODY_LIMIT),
        Fault::HeaderLimitCuts => capabilities.max_headers = Some(HEADER_LIMIT),
        Fault::DeclaresNothing => capabilities = Capabilities::default(),
        _ => {}
    }
    if table::has_network(fault) {
        capabilities.multi_process = Support::Native;
        capabilities.persistent = Support::Native;
        capabilities.durable = Support::Native;
        capabilities.recovery = Support::Emulated;
        capabilities.restore_after_crash = Some(network::LEASE);
    }
    capabilities
}

/// What a transport and its channels share.
pub(crate) struct Link {
    pub(crate) memory: Arc<dyn Transport>,
    pub(crate) fault: Fault,
    /// The broker behind the network, for those variants that have one.
    pub(crate) machine: Option<Arc<Machine>>,
    pub(crate) world: Shared<World>,
    pub(crate) hub: Mutex<Option<HubHandle>>,
    pub(crate) channels: Mutex<Vec<Weak<Inside>>>,
    is_lost: AtomicBool,
}

impl Link {
    pub(crate) fn living(&self) -> Vec<Arc<Inside>> {
        lock(&self.channels).iter().filter_map(Weak::upgrade).collect()
    }

    /// Another channel, which may fail without harm.
    pub(crate) fn aside(&self) -> Result<Arc<dyn Channel>> {
        now(self.memory.channel())
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    pub(crate) fn mark_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
    }
}

struct BrokenTransport {
    link: Arc<Link>,
    capabilities: Arc<Capabilities>,
    at_first: Arc<Capabilities>,
    is_closed: AtomicBool,
    url: BrokerUrl,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Transport for BrokenTransport {
    fn capabilities(&self) -> Arc<Capabilities> {
        let has_channel = !lock(&self.link.channels).is_empty();
        Arc::clone(if has_channel { &self.capabilities } else { &self.at_first })
    }

    fn register_with_event_loop(&self, hub: &dyn Hub) -> Result<()> {
        *lock(&self.link.hub) = Some(hub.io().handle());
        if let Some(machine) = self.link.machine.clone().filter(|machine| machine.desk.is_some()) {
            let clock = Arc::clone(&self.clock);
            hub.io().on_tick(Box::new(move |hub| machine.serve(hub, &clock)));
        }
        self.link.memory.register_with_event_loop(hub)
    }

    async fn connect(&self) -> Result<()> {
        match self.link.fault {
            Fault::ShowsPassword if self.url.password().is_some() => {
                let password = self.url.password().unwrap_or_default();
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
        match &self.link.machine {
            Some(machine) => machine.connect(&self.link, &self.url)?,
            None if table::has_network(self.link.fault) => network::refuse(&self.url, self.link.fault).await?,
            None => {}
        }
        self.link.memory.connect().await
    }

    async fn channel(&self) -> Result<Arc<dyn Channel>> {
        let inside = Arc::new(Inside::new(self.link.memory.channel().await?));
        lock(&self.link.channels).push(Arc::downgrade(&inside));
        Ok(Arc::new(BrokenChannel::new(inside, Arc::clone(&self.link))))
    }

    async fn close(&self) -> Result<()> {
        let was_closed = self.is_closed.swap(true, Ordering::AcqRel);
        if self.link.fault == Fault::TransportCloseTwiceFails && was_closed {
            return Err(Error::new(ErrorKind::InvalidState, "closed twice"));
        }
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
