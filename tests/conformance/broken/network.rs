//! A network that is not there: brokers of this process behind links that can be cut, and a door for other processes.

mod desk;
mod guest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use kombu_conformance::{Broker, Hook};
use kombu_core::hub::Hub;
use kombu_core::method::{BasicPublish, ExchangeDeclare, ExchangeDelete};
use kombu_core::{
    BrokerUrl, Clock, Confirm, Confirmation, Envelope, Error, ErrorKind, Outcome, Result, Scope, ShortStr,
    TransportConfig,
};

use self::desk::Desk;
pub(crate) use self::desk::LEASE;
pub(crate) use self::guest::{GuestTransport, is_guest};
use crate::channel::BrokenChannel;
use crate::fault::Fault;
use crate::inside::now;
use crate::world::{Link, lock};

/// The only address at which no broker is.
const NOBODY: &str = "127.0.0.1";

/// The password of the brokers that a check treats badly.
const PASSWORD: &str = "open-sesame";

/// A broker, as the network sees it.
pub(crate) struct Machine {
    fault: Fault,
    state: Mutex<State>,
    links: Mutex<Vec<Weak<Link>>>,
    /// The queues that were published to.
    queues: Mutex<BTreeSet<ShortStr>>,
    /// The exchanges that do not outlive a restart.
    transients: Mutex<BTreeSet<ShortStr>>,
    pub(crate) desk: Option<Desk>,
}

struct State {
    is_up: bool,
    is_blocked: bool,
    was_cut: bool,
    was_stopped: bool,
    password: Option<&'static str>,
}

impl Machine {
    fn new(name: &str, fault: Fault, password: Option<&'static str>) -> Arc<Self> {
        Arc::new(Machine {
            fault,
            state: Mutex::new(State { is_up: true, is_blocked: false, was_cut: false, was_stopped: false, password }),
            links: Mutex::default(),
            queues: Mutex::default(),
            transients: Mutex::default(),
            desk: Desk::for_check(name, fault),
        })
    }

    /// Returns the broker at `url`.
    pub(crate) fn at(url: &BrokerUrl, fault: Fault) -> Option<Arc<Machine>> {
        let name = url.host().filter(|name| *name != NOBODY)?;
        Some(Arc::clone(lock(machines()).entry(name.to_owned()).or_insert_with(|| Machine::new(name, fault, None))))
    }

    /// Lets a link in, or says why not.
    pub(crate) fn connect(&self, link: &Arc<Link>, url: &BrokerUrl) -> Result<()> {
        let state = lock(&self.state);
        if !state.is_up {
            return Err(nobody(url, self.fault));
        }
        if let Some(right) = state.password
            && url.password() != Some(right)
        {
            match self.fault {
                Fault::AnyPasswordWorks => {}
                Fault::WrongPasswordIsALostLink => return Err(lost("the broker hung up")),
                _ => {
                    return Err(
                        Error::new(ErrorKind::AccessRefused, "the password is wrong").in_scope(Scope::Connection)
                    );
                }
            }
        }
        drop(state);
        lock(&self.links).push(Arc::downgrade(link));
        Ok(())
    }

    /// Serves other processes.
    pub(crate) fn serve(&self, hub: &dyn Hub, clock: &Arc<dyn Clock>) {
        if let Some(desk) = &self.desk {
            desk.serve(hub, clock);
        }
    }

    fn living(&self) -> Vec<Arc<Link>> {
        lock(&self.links).iter().filter_map(Weak::upgrade).filter(|link| !link.is_lost()).collect()
    }

    /// Cuts every link.
    fn cut(&self) {
        lock(&self.state).was_cut = true;
        let links = self.living();
        if self.fault == Fault::CutLosesMessages {
            self.purge(&links);
        }
        links.iter().for_each(|link| link.lose());
    }

    fn purge(&self, links: &[Arc<Link>]) {
        let Some(link) = links.first() else { return };
        for queue in lock(&self.queues).iter() {
            drop(link.aside().map(|aside| now(aside.queue_purge(queue.clone()))));
        }
    }

    fn stop(&self) {
        {
            let mut state = lock(&self.state);
            (state.is_up, state.was_stopped) = (false, true);
        }
        let links = self.living();
        let transients = std::mem::take(&mut *lock(&self.transients));
        for exchange in transients {
            let method = ExchangeDelete { exchange, if_unused: false };
            drop(links.first().map(|link| link.aside().map(|aside| now(aside.exchange_delete(method)))));
        }
        if self.fault == Fault::RestartLosesMessages {
            links.iter().for_each(|link| link.living().iter().for_each(|channel| channel.drop_held()));
            self.purge(&links);
        }
        self.cut();
    }

    fn start(&self) {
        lock(&self.state).is_up = self.fault != Fault::RestartStaysDown;
    }

    fn block(&self, is_blocked: bool) {
        if self.fault == Fault::BlockedForEver && !is_blocked {
            return;
        }
        lock(&self.state).is_blocked = is_blocked;
        let reason = || is_blocked.then(|| ShortStr::from("low on memory"));
        for link in self.living() {
            link.living().iter().filter_map(|channel| channel.observer()).for_each(|events| events.blocked(reason()));
        }
    }

    /// Notes that an exchange is declared; says whether that is to be forgotten.
    pub(crate) fn forgets_exchange(&self, method: &ExchangeDeclare) -> bool {
        if !method.durable && !method.passive {
            lock(&self.transients).insert(method.exchange.clone());
        }
        self.fault == Fault::RestartForgetsExchanges && lock(&self.state).was_stopped
    }

    pub(crate) fn forgets_bindings(&self) -> bool {
        self.fault == Fault::RestartForgetsBindings && lock(&self.state).was_stopped
    }

    /// Answers a publish that memory is not asked for.
    pub(crate) fn answer(&self, channel: &BrokenChannel, envelope: &Arc<Envelope>) -> Option<Confirm> {
        if envelope.exchange.is_empty() {
            lock(&self.queues).insert(envelope.routing_key.clone());
        }
        let (is_blocked, was_cut) = {
            let state = lock(&self.state);
            (state.is_blocked, state.was_cut)
        };
        let store = || drop(channel.memory().basic_publish(BasicPublish::default(), Arc::clone(envelope)));
        let refuse = |kind| Some(Confirm::ready(Err(Error::new(kind, "not now").with_outcome(Outcome::NotSent))));
        let is_even = envelope.body.len().is_multiple_of(2);
        match self.fault {
            _ if channel.link.is_lost() => {
                Some(Confirm::ready(Err(lost("the link was cut").with_outcome(Outcome::NotSent))))
            }
            Fault::BlockedConfirms if is_blocked && envelope.body.ends_with(b"0") => {
                Some(Confirm::ready(Ok(Confirmation::Confirmed { queues: Some(1) })))
            }
            Fault::BlockedStoresRefused if is_blocked => {
                store();
                refuse(ErrorKind::Overloaded)
            }
            Fault::CutStoresRefused if was_cut && is_even => {
                store();
                refuse(ErrorKind::Overloaded)
            }
            _ if is_blocked => refuse(ErrorKind::Overloaded),
            _ => None,
        }
    }
}

impl Link {
    /// Loses the link: what its channels held goes back, and core is told.
    fn lose(&self) {
        self.mark_lost();
        let channels = self.living();
        match self.fault {
            Fault::CutLosesHeld => channels.iter().for_each(|channel| channel.drop_held()),
            Fault::CutForgetsFlags => channels.iter().for_each(|channel| channel.held_to_tail()),
            _ => {}
        }
        drop(now(self.memory.close()));
        if self.fault != Fault::CutIsNotNoticed {
            channels
                .iter()
                .filter_map(|channel| channel.observer())
                .for_each(|events| events.closed(lost("the link was cut")));
        }
    }
}

fn machines() -> &'static Mutex<BTreeMap<String, Arc<Machine>>> {
    static MACHINES: OnceLock<Mutex<BTreeMap<String, Arc<Machine>>>> = OnceLock::new();
    MACHINES.get_or_init(Mutex::default)
}

/// Refuses a connection to an address where no broker is.
pub(crate) async fn refuse(url: &BrokerUrl, fault: Fault) -> Result<()> {
    match fault {
        Fault::NobodyAnswers => std::future::pending().await,
        Fault::NobodyConnects => Ok(()),
        _ => Err(nobody(url, fault)),
    }
}

fn nobody(url: &BrokerUrl, fault: Fault) -> Error {
    if fault == Fault::NobodyIsFatal {
        return Error::new(ErrorKind::AccessRefused, format!("nobody at {url}")).in_scope(Scope::Connection);
    }
    lost(&format!("nobody listens at {}:{}", url.host().unwrap_or_default(), url.port().unwrap_or_default()))
}

pub(crate) fn lost(text: &str) -> Error {
    Error::new(ErrorKind::ConnectionLost, text.to_owned()).in_scope(Scope::Connection)
}

/// Starts a broker that the suite may treat badly.
pub(crate) fn start(scheme: &'static str, fault: Fault) -> Box<dyn Broker> {
    static NEXT: Mutex<u32> = Mutex::new(0);
    let number = {
        let mut next = lock(&NEXT);
        *next += 1;
        *next
    };
    let name = format!("machine-{number}");
    let machine = Machine::new(&name, fault, Some(PASSWORD));
    lock(machines()).insert(name.clone(), Arc::clone(&machine));
    Box::new(Harness { scheme, name, machine })
}

struct Harness {
    scheme: &'static str,
    name: String,
    machine: Arc<Machine>,
}

impl Broker for Harness {
    fn url(&self) -> String {
        format!("{}://suite:{PASSWORD}@{}", self.scheme, self.name)
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Restart, Hook::Cut, Hook::Block, Hook::Password]
    }

    fn stop(&mut self) {
        self.machine.stop();
    }

    fn start(&mut self) {
        self.machine.start();
    }

    fn cut(&mut self) {
        self.machine.cut();
    }

    fn block(&mut self, is_blocked: bool) {
        self.machine.block(is_blocked);
    }

    fn password(&self) -> Option<String> {
        Some(PASSWORD.to_owned())
    }
}

/// Makes memory's transport of the broker `name`.
pub(crate) fn memory(name: &str, mut config: TransportConfig) -> Result<Arc<dyn kombu_core::Transport>> {
    config.url = format!("memory://{name}").parse::<BrokerUrl>()?;
    (kombu_core::registry::find("memory")?.make)(config)
}
