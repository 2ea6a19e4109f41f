//! What a check works with: a hub on its own thread, connections, names nobody else has, and patience.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use kombu_core::hub::Hub;
use kombu_core::method::{ExchangeDelete, QueueDelete};
use kombu_core::{Capabilities, Clock, ManualClock, ShortStr, Support, SystemClock, Transport};

use crate::broker::Broker;
use crate::check::Check;
use crate::failure::{Failure, Verdict};
use crate::ground::Ground;
use crate::lane::Lane;
use crate::need::Need;
use crate::rng::Rng;
use crate::sink::{Collector, Listener, Poke};

/// The surroundings of one run of one check.
pub(crate) struct Bench {
    pub(crate) ground: Arc<Ground>,
    pub(crate) hub: Rc<dyn Hub>,
    pub(crate) clock: Arc<dyn Clock>,
    manual: Option<ManualClock>,
    pub(crate) url: String,
    prefix: String,
    rng: RefCell<Rng>,
    queues: RefCell<Vec<ShortStr>>,
    exchanges: RefCell<Vec<ShortStr>>,
    transports: RefCell<Vec<Arc<dyn Transport>>>,
    capabilities: RefCell<Option<Arc<Capabilities>>>,
    broker: RefCell<Option<Box<dyn Broker>>>,
    /// What is going on, for a check that hangs.
    stage: Arc<Mutex<String>>,
    names: Cell<u32>,
    /// By a clock that is turned by hand, time passes while the check waits.
    flows: bool,
}

/// By a clock that is turned by hand, so many turns of the hub in which nothing happens mean that nothing is under way.
const IDLE_TURNS: u32 = 12;

/// By such a clock, checks of links and of processes let so much time pass whenever nothing is under way: what failed is tried again
/// after a while.
const STEP: Duration = Duration::from_millis(20);

/// By a clock that is turned by hand, so many turns of the hub mean that it turns for ever: no wait of a check takes a tenth.
const MOST_TURNS: u32 = 20_000;

impl Bench {
    pub(crate) fn new(
        ground: Arc<Ground>,
        check: &'static Check,
        broker: Option<Box<dyn Broker>>,
        stage: Arc<Mutex<String>>,
    ) -> Verdict<Self> {
        let manual = ground.is_manual.then(ManualClock::new);
        let clock: Arc<dyn Clock> = match &manual {
            Some(manual) => Arc::new(manual.clone()),
            None => Arc::new(SystemClock),
        };
        let prefix = format!("k{}-{}", ground.run, check.name);
        let url = match &broker {
            Some(broker) => broker.url(),
            None if ground.is_hub_alone => String::new(),
            None => ground.url(&prefix).map_err(Failure::new)?,
        };
        let hub = ground.hub(Arc::clone(&clock))?;
        let rng = RefCell::new(Rng::new(ground.seed, check.name));
        Ok(Bench {
            ground,
            hub,
            clock,
            manual,
            url,
            prefix,
            rng,
            queues: RefCell::default(),
            exchanges: RefCell::default(),
            transports: RefCell::default(),
            capabilities: RefCell::default(),
            broker: RefCell::new(broker),
            stage,
            names: Cell::new(0),
            flows: check.needs.iter().any(|need| need.is_hook() || *need == Need::Can("multi_process")),
        })
    }

    /// Returns `k<run>-<check>-<what>`, to be cleaned up by who makes it.
    pub(crate) fn name(&self, what: &str) -> ShortStr {
        format!("{}-{what}", self.prefix).into()
    }

    /// Returns the name of a queue that is deleted when the check ends.
    pub(crate) fn queue_name(&self, what: &str) -> ShortStr {
        let name = self.name(what);
        self.keep_queue(name.clone());
        name
    }

    /// Has a queue deleted when the check ends.
    pub(crate) fn keep_queue(&self, name: ShortStr) {
        self.queues.borrow_mut().push(name);
    }

    /// Returns the name of an exchange that is deleted when the check ends.
    pub(crate) fn exchange_name(&self, what: &str) -> ShortStr {
        let name = self.name(what);
        self.exchanges.borrow_mut().push(name.clone());
        name
    }

    /// Returns a number no other call of this check returned.
    pub(crate) fn number(&self) -> u32 {
        self.names.set(self.names.get() + 1);
        self.names.get()
    }

    pub(crate) fn random(&self, limit: usize) -> usize {
        self.rng.borrow_mut().below(limit)
    }

    pub(crate) fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        let index = self.random(choices.len());
        &choices[index]
    }

    /// Returns `count`, or a twentieth of it in a small run, such as those over broken transports.
    pub(crate) fn many(&self, count: usize) -> usize {
        if self.ground.is_small { (count / 20).max(20).min(count) } else { count }
    }

    /// Says whether this is a small run.
    pub(crate) fn is_small(&self) -> bool {
        self.ground.is_small
    }

    pub(crate) fn patience(&self) -> Duration {
        self.ground.patience
    }

    /// Says whether time passes only by [`pass`](Bench::pass).
    pub(crate) fn is_manual(&self) -> bool {
        self.manual.is_some()
    }

    /// Notes what is being done, for the report of a check that hangs.
    pub(crate) fn stage(&self, what: impl Into<String>) {
        *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = what.into();
    }

    // --- the hub ---

    /// Turns the hub once; says whether anything ran.
    pub(crate) fn turn(&self) -> Verdict<bool> {
        if self.manual.is_some() {
            let ran = self.hub.run_once(Some(Duration::ZERO))?;
            if !ran {
                std::thread::yield_now();
            }
            return Ok(ran);
        }
        Ok(self.hub.run_once(Some(Duration::from_millis(20)))?)
    }

    /// Turns the hub until `done`.
    pub(crate) fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) -> Verdict {
        self.wait_until_within(self.patience(), what, &mut done)
    }

    pub(crate) fn wait_until_within(&self, patience: Duration, what: &str, done: &mut dyn FnMut() -> bool) -> Verdict {
        match &self.manual {
            Some(manual) if self.flows => self.wait_by_clock(manual, patience, what, done),
            Some(_) => self.wait_by_turns(what, done),
            None => self.wait_by_machine(patience, what, done),
        }
    }

    /// Waits by the machine's time, whatever the check's clock says: for what another process does.
    pub(crate) fn wait_by_machine(&self, patience: Duration, what: &str, done: &mut dyn FnMut() -> bool) -> Verdict {
        let end = Instant::now() + patience;
        while !done() {
            if !self.turn()? && self.is_manual() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if Instant::now() > end {
                return Err(Failure::new(format!("waited {patience:?} in vain for {what}")));
            }
        }
        Ok(())
    }

    /// Waits where time stands still: how long the machine takes for it does not matter.
    fn wait_by_turns(&self, what: &str, done: &mut dyn FnMut() -> bool) -> Verdict {
        match self.turn_until(done)? {
            Turned::Done => Ok(()),
            Turned::Idle => Err(Failure::new(format!("waited for {what}, but nothing is under way any more"))),
            Turned::Endless => Err(Failure::new(format!("waited {MOST_TURNS} turns of the hub in vain for {what}"))),
        }
    }

    /// Waits where time passes whenever nothing is under way.
    fn wait_by_clock(
        &self,
        manual: &ManualClock,
        patience: Duration,
        what: &str,
        done: &mut dyn FnMut() -> bool,
    ) -> Verdict {
        let mut passed = Duration::ZERO;
        loop {
            match self.turn_until(done)? {
                Turned::Done => return Ok(()),
                Turned::Idle if passed < patience => {
                    manual.advance(STEP);
                    passed += STEP;
                }
                _ => return Err(Failure::new(format!("waited {passed:?} by the clock in vain for {what}"))),
            }
        }
    }

    /// Turns the hub until `done`, or until nothing is under way.
    fn turn_until(&self, done: &mut dyn FnMut() -> bool) -> Verdict<Turned> {
        let mut idle = 0;
        for _ in 0..MOST_TURNS {
            if done() {
                return Ok(Turned::Done);
            }
            idle = if self.turn()? { 0 } else { idle + 1 };
            if idle > IDLE_TURNS {
                return Ok(Turned::Idle);
            }
        }
        Ok(Turned::Endless)
    }

    /// Drives `future` to its end as a task of the hub's I/O class, as core drives what it asks of a transport.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        what: &str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Verdict<T> {
        let mut reply = pin!(self.hub.io().handle().spawn(future));
        let mut answer = None;
        self.wait_until(what, || match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => {
                answer = Some(value);
                true
            }
            Poll::Pending => false,
        })?;
        answer.flatten().ok_or_else(|| Failure::new(format!("{what}: the hub dropped the task")))
    }

    /// Waits for `future` on this thread while the whole hub is turned: for what an application awaits.
    pub(crate) fn settle<T>(&self, what: &str, future: impl Future<Output = T>) -> Verdict<T> {
        let mut future = pin!(future);
        let mut answer = None;
        let waker = poke_waker(self.hub.handle());
        self.wait_until(what, || match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => {
                answer = Some(value);
                true
            }
            Poll::Pending => false,
        })?;
        answer.ok_or_else(|| Failure::new(format!("{what}: no answer")))
    }

    /// Turns the hub until a thread of the check is finished.
    pub(crate) fn join(&self, is_finished: &dyn Fn() -> bool) -> Verdict {
        let end = Instant::now() + self.patience();
        while !is_finished() {
            self.turn()?;
            if Instant::now() > end {
                return Err(Failure::new(format!("a thread did not finish within {:?}", self.patience())));
            }
        }
        Ok(())
    }

    /// Ends a sleep of the hub that nothing else ends, once the patience is over; until the returned value is dropped.
    pub(crate) fn rescue(&self) -> Rescue {
        let (sender, dropped) = std::sync::mpsc::channel::<()>();
        let (manual, handle, patience) = (self.manual.clone(), self.hub.handle(), self.patience());
        let sleep = if self.is_small() { patience / 3 } else { patience };
        let came = Arc::new(AtomicBool::new(false));
        let coming = Arc::clone(&came);
        std::thread::spawn(move || {
            if dropped.recv_timeout(sleep) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                coming.store(true, Ordering::Release);
                if let Some(manual) = manual {
                    manual.advance(patience * 1000);
                }
                handle.stop();
            }
        });
        Rescue { came, _sender: sender }
    }

    /// Lets `time` pass: at once by a clock that is turned by hand, else by turning the hub for that long.
    pub(crate) fn pass(&self, time: Duration) -> Verdict {
        if let Some(manual) = &self.manual {
            manual.advance(time);
            let mut turns = 0;
            while turns < 1000 && self.turn()? {
                turns += 1;
            }
            return Ok(());
        }
        let end = Instant::now() + time;
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            self.hub.run_once(Some(left.min(Duration::from_millis(20))))?;
        }
        Ok(())
    }

    /// Lets a moment pass where time passes while a check waits.
    pub(crate) fn flow(&self) {
        if let Some(manual) = self.manual.as_ref().filter(|_| self.flows) {
            manual.advance(STEP);
        }
    }

    // --- the transport ---

    /// Connects to the check's broker.
    pub(crate) fn connect(&self) -> Verdict<Arc<dyn Transport>> {
        let url = self.url.clone();
        self.connect_to(&url)
    }

    pub(crate) fn connect_to(&self, url: &str) -> Verdict<Arc<dyn Transport>> {
        let transport = self.ground.make(url, Arc::clone(&self.clock))?;
        transport.register_with_event_loop(self.hub.io())?;
        self.transports.borrow_mut().push(Arc::clone(&transport));
        let connecting = Arc::clone(&transport);
        self.run("connect", async move { connecting.connect().await })??;
        if self.capabilities.borrow().is_none() {
            *self.capabilities.borrow_mut() = Some(transport.capabilities());
        }
        Ok(transport)
    }

    /// Opens a channel on a connection of its own.
    pub(crate) fn channel(&self) -> Verdict<Lane<'_>> {
        let transport = self.connect()?;
        self.channel_on(&transport)
    }

    /// Opens another channel on a connection.
    pub(crate) fn channel_on(&self, transport: &Arc<dyn Transport>) -> Verdict<Lane<'_>> {
        let opening = Arc::clone(transport);
        let channel = self.run("open a channel", async move { opening.channel().await })??;
        Ok(Lane::new(self, channel))
    }

    pub(crate) fn close(&self, transport: &Arc<dyn Transport>) -> Verdict {
        self.transports.borrow_mut().retain(|known| !Arc::ptr_eq(known, transport));
        let closing = Arc::clone(transport);
        Ok(self.run("close the connection", async move { closing.close().await })??)
    }

    /// Returns what the connected transport declares.
    pub(crate) fn capabilities(&self) -> Verdict<Arc<Capabilities>> {
        if self.ground.is_hub_alone {
            return Ok(Arc::default());
        }
        if self.capabilities.borrow().is_none() {
            self.connect()?;
        }
        self.capabilities.borrow().clone().ok_or_else(|| Failure::new("a connected transport declares nothing"))
    }

    /// Says whether a capability is declared.
    pub(crate) fn can(&self, capability: &'static str) -> Verdict<bool> {
        Ok(Need::Can(capability).support(&*self.capabilities()?).is_some_and(Support::is_available))
    }

    pub(crate) fn collector(&self) -> Arc<Collector> {
        Collector::new(Poke::new(self.hub.handle()))
    }

    pub(crate) fn listener(&self) -> Arc<Listener> {
        Listener::new(Poke::new(self.hub.handle()))
    }

    /// Does something to the check's own broker.
    pub(crate) fn with_broker<T>(&self, act: impl FnOnce(&mut dyn Broker) -> T) -> Verdict<T> {
        match self.broker.borrow_mut().as_mut() {
            Some(broker) => Ok(act(broker.as_mut())),
            None => Err(Failure::new("the harness gave this check no broker of its own")),
        }
    }

    /// Deletes what the check declared and closes what it opened. A failure here is not the check's.
    pub(crate) fn clean_up(&self) {
        self.stage("clean up");
        let transports = std::mem::take(&mut *self.transports.borrow_mut());
        for transport in transports {
            // What is broken already cannot be closed better.
            let _ = self.run("close", async move { transport.close().await });
        }
        let queues = std::mem::take(&mut *self.queues.borrow_mut());
        let exchanges = std::mem::take(&mut *self.exchanges.borrow_mut());
        let is_private = self.broker.borrow().is_some() || self.is_manual();
        if is_private || (queues.is_empty() && exchanges.is_empty()) {
            return;
        }
        let Ok(transport) = self.connect() else { return };
        for queue in queues {
            let Ok(lane) = self.channel_on(&transport) else { return };
            let _ = lane.delete(QueueDelete { queue, ..QueueDelete::default() });
            let _ = lane.close();
        }
        for exchange in exchanges {
            let Ok(lane) = self.channel_on(&transport) else { return };
            let _ = lane.exchange_delete(ExchangeDelete { exchange, if_unused: false });
            let _ = lane.close();
        }
        let _ = self.close(&transport);
    }
}

/// How a wait by a clock that is turned by hand ended.
enum Turned {
    /// What was waited for happened.
    Done,
    /// Nothing is under way.
    Idle,
    /// There is always something under way.
    Endless,
}

/// See [`Bench::rescue`].
pub(crate) struct Rescue {
    came: Arc<AtomicBool>,
    /// Its drop tells that nobody needs to be rescued any more.
    _sender: std::sync::mpsc::Sender<()>,
}

impl Rescue {
    /// Says whether it was needed.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::Acquire)
    }
}

/// A waker that wakes a hub.
pub(crate) fn poke_waker(handle: kombu_core::hub::HubHandle) -> Waker {
    struct Wake(kombu_core::hub::HubHandle);
    impl std::task::Wake for Wake {
        fn wake(self: Arc<Self>) {
            self.0.call_soon(|_| ());
        }
    }
    Waker::from(Arc::new(Wake(handle)))
}
