//! What a hub consists of on its own thread.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use kombu_core::hub::{Callback, Class, HubId, PollEvent, RemoteHub, RepeatedCallback, TimerHandle};
use kombu_core::{Error, ErrorKind, Result};
use mio::Token;

use crate::builder::{Budgets, HubBuilder};
use crate::face::Face;
use crate::hooks::Hooks;
use crate::lane::Item;
use crate::look_out::LookOut;
use crate::per_class::PerClass;
use crate::poller::MioPoller;
use crate::report::{Reporter, panicked};
use crate::shared::Shared;
use crate::sources::Sources;
use crate::stats::{Count, Counters};
use crate::tasks::Tasks;
use crate::timers::Action;

/// The state of one hub. Borrows are short: nothing foreign is called or dropped while a cell is borrowed.
pub(crate) struct Core {
    pub(crate) name: String,
    pub(crate) budgets: Budgets,
    /// The view user callbacks are given.
    pub(crate) face: OnceCell<Weak<Face>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) poller: MioPoller,
    /// A buffer for what a poll reports, empty between polls.
    pub(crate) events: RefCell<Vec<PollEvent>>,
    pub(crate) look_out: LookOut,
    pub(crate) ready: RefCell<PerClass<Ready>>,
    pub(crate) timer_callbacks: RefCell<HashMap<u64, TimerCallback>>,
    pub(crate) hooks: RefCell<Hooks>,
    pub(crate) sources: RefCell<Sources>,
    /// Watches whose callback ran and that are to be armed again before the next poll.
    pub(crate) rearm: RefCell<Vec<usize>>,
    /// The descriptor that was looked at last to see whether it is still the same file.
    pub(crate) looked_at: Cell<RawFd>,
    pub(crate) tasks: Tasks,
    pub(crate) reporter: Reporter,
    pub(crate) counters: Counters,
    /// The time of the current tick step; `None` outside a tick.
    pub(crate) step_time: Cell<Option<Instant>>,
    /// Some loop is turning the hub.
    pub(crate) turning: Cell<bool>,
    /// A `wait_io` is turning it.
    pub(crate) waiting: Cell<bool>,
    /// The class of the callback that is running.
    pub(crate) inside: Cell<Option<Class>>,
    /// Closed from inside a callback: the loops end, the outermost closes.
    pub(crate) closing: Cell<bool>,
}

/// Callbacks for the next tick.
#[derive(Default)]
pub(crate) struct Ready {
    pub(crate) queue: VecDeque<ReadyItem>,
    /// How many were ever queued here.
    pub(crate) pushed: u64,
    /// How many were ever taken.
    pub(crate) popped: u64,
    /// An empty buffer to exchange for what comes in.
    spare: VecDeque<Item>,
}

pub(crate) enum ReadyItem {
    Local(Callback),
    Shared(Item),
}

pub(crate) enum TimerCallback {
    Once(Callback),
    /// `None` while it is called.
    Repeated(Option<RepeatedCallback>),
}

const WAKER: Token = Token(0);

impl Core {
    pub(crate) fn new(builder: HubBuilder) -> Result<Rc<Self>> {
        let poller = MioPoller::new(builder.budgets.events)?;
        let waker = mio::Waker::new(poller.registry(), WAKER).map_err(|error| {
            Error::new(ErrorKind::Internal, "the operating system gives no waker").during("hub.new").caused_by(error)
        })?;
        let core = Rc::new(Core {
            name: builder.name,
            budgets: builder.budgets,
            face: OnceCell::new(),
            shared: Shared::new(builder.clock, waker),
            poller,
            events: RefCell::default(),
            look_out: LookOut::new(),
            ready: RefCell::default(),
            timer_callbacks: RefCell::default(),
            hooks: RefCell::default(),
            sources: RefCell::new(Sources::new()),
            rearm: RefCell::default(),
            looked_at: Cell::new(-1),
            tasks: Tasks::new(),
            reporter: Reporter::default(),
            counters: Counters::default(),
            step_time: Cell::new(None),
            turning: Cell::new(false),
            waiting: Cell::new(false),
            inside: Cell::new(None),
            closing: Cell::new(false),
        });
        LOCAL.with_borrow_mut(|cores| {
            cores.retain(|(_, core)| core.strong_count() > 0);
            cores.push((core.shared.id(), Rc::downgrade(&core)));
        });
        Ok(core)
    }

    /// Returns the time of the current tick step, or the clock's outside a tick.
    pub(crate) fn now(&self) -> Instant {
        self.step_time.get().unwrap_or_else(|| self.shared.clock.now())
    }

    /// Reads the clock for the next step of a tick.
    pub(crate) fn next_step(&self) -> Instant {
        let now = self.shared.clock.now();
        self.step_time.set(Some(now));
        now
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closing.get() || self.shared.is_closed()
    }

    /// Calls foreign code for `class`; `None` when it panicked, which is reported under `operation`.
    pub(crate) fn guarded<R>(&self, class: Class, operation: &'static str, call: impl FnOnce() -> R) -> Option<R> {
        let outer = self.inside.replace(Some(class));
        let result = catch_unwind(AssertUnwindSafe(call));
        self.inside.set(outer);
        result.map_err(|payload| self.report_panic(operation, payload)).ok()
    }

    /// Drops something foreign.
    pub(crate) fn discard<T>(&self, value: T) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
            self.report_panic("hub.drop", payload);
        }
    }

    /// Reports a panic, whose payload is foreign too.
    pub(crate) fn report_panic(&self, operation: &'static str, payload: Box<dyn Any + Send>) {
        self.report(&panicked(operation, &*payload));
        let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    }

    pub(crate) fn report(&self, error: &Error) {
        self.counters.add(Count::Error);
        self.reporter.report(self.shared.clock.now(), error);
    }

    /// Queues a callback behind everything this thread queued before, here or through a handle.
    pub(crate) fn call_soon(&self, class: Class, callback: Callback) {
        if self.shared.is_closed() {
            return self.discard(callback);
        }
        self.take_shared_ready(class);
        self.ready.borrow_mut().of_mut(class).push(ReadyItem::Local(callback));
    }

    /// Moves what came in through handles behind what is queued here.
    pub(crate) fn take_shared_ready(&self, class: Class) {
        let mut ready = self.ready.borrow_mut();
        let ready = ready.of_mut(class);
        // The two buffers go back and forth, so handing in allocates only while they grow.
        let mut came_in = std::mem::take(&mut ready.spare);
        self.shared.lanes.of(class).swap_ready(&mut came_in);
        for item in came_in.drain(..) {
            ready.push(ReadyItem::Shared(item));
        }
        ready.spare = came_in;
    }

    pub(crate) fn add_timer(&self, class: Class, due: Instant, action: Action, callback: TimerCallback) -> TimerHandle {
        let number = match self.shared.timers.insert(class, due, action) {
            Ok((number, _)) => {
                self.timer_callbacks.borrow_mut().insert(number, callback);
                number
            }
            Err(_) => {
                self.discard(callback);
                0
            }
        };
        TimerHandle::new(Arc::clone(&self.shared) as Arc<dyn RemoteHub>, number)
    }

    /// Removes a timer and drops its callback.
    pub(crate) fn cancel_timer(&self, number: u64) {
        self.shared.timers.cancel(number, true);
        let callback = self.timer_callbacks.borrow_mut().remove(&number);
        self.discard(callback);
    }

    /// Drops the callbacks of timers that other threads cancelled.
    pub(crate) fn drop_orphans(&self) {
        for number in self.shared.timers.take_orphans() {
            let callback = self.timer_callbacks.borrow_mut().remove(&number);
            self.discard(callback);
        }
    }
}

impl Ready {
    fn push(&mut self, item: ReadyItem) {
        self.pushed += 1;
        self.queue.push_back(item);
    }
}

thread_local! {
    static LOCAL: RefCell<Vec<(HubId, Weak<Core>)>> = const { RefCell::new(Vec::new()) };
}

/// Returns hub `id` if it belongs to this thread.
pub(crate) fn local_core(id: HubId) -> Option<Rc<Core>> {
    // A thread that is ending has dropped its list, and its hubs with it.
    let found = LOCAL
        .try_with(|cores| cores.borrow().iter().find(|(name, _)| *name == id).and_then(|(_, core)| core.upgrade()));
    found.ok()?
}
