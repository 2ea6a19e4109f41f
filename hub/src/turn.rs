//! One tick: ready callbacks → timers → on_tick → poll → sources, readers and writers → tasks.

use std::rc::Rc;
use std::time::{Duration, Instant};

use kombu_core::hub::{Class, Hub, PollEvent, Poller};
use kombu_core::{Error, ErrorKind, Result};

use crate::lane::Item;
use crate::per_class::CLASSES;
use crate::root::Root;
use crate::sources::{Called, Role, Taken};
use crate::state::{Core, ReadyItem, TimerCallback};
use crate::stats::Count;
use crate::timers::Due;

/// What one tick is about.
pub(crate) struct Turn<'a> {
    /// The view user callbacks are given; `None` leaves the user class alone.
    pub(crate) user: Option<&'a dyn Hub>,
    /// The view I/O callbacks are given.
    pub(crate) io: &'a dyn Hub,
    /// How long the poll may wait.
    pub(crate) wait: Wait,
    /// The poll does not wait when something ran before it.
    pub(crate) one: bool,
    /// `stop` keeps the poll from waiting.
    pub(crate) heeds_stop: bool,
    /// The future that the loop is turned for.
    pub(crate) root: Option<&'a Root>,
}

/// How long a poll may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

impl Turn<'_> {
    fn classes(&self) -> &'static [Class] {
        if self.user.is_some() { &CLASSES } else { &CLASSES[..1] }
    }

    fn view(&self, class: Class) -> &dyn Hub {
        match class {
            Class::Io => self.io,
            Class::User => self.user.unwrap_or(self.io),
        }
    }
}

impl Core {
    /// Runs one tick; says whether anything ran.
    pub(crate) fn turn(self: &Rc<Self>, turn: &Turn<'_>) -> Result<bool> {
        if !self.poller.is_own() {
            let why = "the hub belongs to the process this one was forked from; make a hub and connections of your own";
            return Err(Error::new(ErrorKind::InvalidState, why).during("hub.turn"));
        }
        self.counters.add(Count::Tick);
        let mut ran = 0;
        self.next_step();
        for class in turn.classes() {
            ran += self.run_ready(*class, turn.view(*class));
        }
        ran += self.fire_timers(turn);
        for class in turn.classes().iter().rev() {
            self.run_hooks(*class, turn.view(*class));
        }
        self.poll(turn, ran > 0)?;
        for class in turn.classes() {
            ran += self.dispatch(*class, turn.view(*class));
        }
        for class in turn.classes() {
            ran += self.run_tasks(*class);
        }
        Ok(ran > 0)
    }

    /// Runs what was ready when the tick began, within the budget; returns how many.
    pub(crate) fn run_ready(self: &Rc<Self>, class: Class, hub: &dyn Hub) -> usize {
        self.take_shared_ready(class);
        let last = self.ready.borrow().of(class).pushed;
        let mut ran = 0;
        while ran < self.budgets.ready {
            let next = {
                let mut ready = self.ready.borrow_mut();
                let ready = ready.of_mut(class);
                if ready.popped >= last {
                    break;
                }
                ready.popped += 1;
                ready.queue.pop_front()
            };
            let Some(item) = next else { break };
            ran += 1;
            if !matches!(item, ReadyItem::Shared(Item::Task(_) | Item::Spawn(_))) {
                self.counters.add(Count::Ready);
            }
            match item {
                ReadyItem::Local(callback) => {
                    self.guarded(class, "hub.call_soon", || callback(hub));
                }
                ReadyItem::Shared(Item::Callback(callback)) => {
                    self.guarded(class, "hub.call_soon", || callback(hub));
                }
                ReadyItem::Shared(Item::Scheduled(task)) => {
                    self.guarded(class, "hub.schedule", || task.run(hub));
                }
                ReadyItem::Shared(Item::Spawn(future)) => self.start(class, future),
                ReadyItem::Shared(Item::Task(task)) => self.run_task(class, task),
            }
        }
        ran
    }

    fn fire_timers(&self, turn: &Turn<'_>) -> usize {
        self.drop_orphans();
        let now = self.next_step();
        let last = self.shared.timers.inserted();
        let mut fired = 0;
        while fired < self.budgets.timers {
            let Some((class, due)) = self.shared.timers.pop_due(turn.classes(), now, last) else { break };
            fired += 1;
            self.counters.add(Count::Timer);
            let hub = turn.view(class);
            match due {
                Due::Wake(waker) => {
                    self.guarded(class, "hub.timer", || waker.wake());
                }
                Due::Callback(number) => {
                    let callback = self.timer_callbacks.borrow_mut().remove(&number);
                    if let Some(TimerCallback::Once(callback)) = callback {
                        self.guarded(class, "hub.timer", || callback(hub));
                    }
                }
                Due::Repeated(number) => self.fire_repeated(class, number, hub),
            }
        }
        fired
    }

    fn fire_repeated(&self, class: Class, number: u64, hub: &dyn Hub) {
        let taken = match self.timer_callbacks.borrow_mut().get_mut(&number) {
            Some(TimerCallback::Repeated(callback)) => callback.take(),
            _ => None,
        };
        let Some(mut callback) = taken else { return };
        let worked = self.guarded(class, "hub.timer", || callback(hub)).is_some();
        if !worked {
            self.cancel_timer(number);
        }
        let mut left = Some(callback);
        let wanted = worked && self.shared.timers.repeat(number, self.shared.clock.now());
        if let Some(TimerCallback::Repeated(slot)) =
            self.timer_callbacks.borrow_mut().get_mut(&number).filter(|_| wanted)
        {
            *slot = left.take();
        }
        self.discard(left);
    }

    fn run_hooks(&self, class: Class, hub: &dyn Hub) {
        let last = self.hooks.borrow().last();
        let mut id = 0;
        loop {
            let next = self.hooks.borrow_mut().take_tick(class, id, last);
            let Some((next, mut callback)) = next else { break };
            id = next;
            self.counters.add(Count::Hook);
            let worked = self.guarded(class, "hub.on_tick", || callback(hub)).is_some();
            let mut hooks = self.hooks.borrow_mut();
            let (left, removed) = if worked {
                (hooks.put_back_tick(id, callback), None)
            } else {
                (Some(callback), hooks.remove(kombu_core::hub::HookId(id)))
            };
            drop(hooks);
            self.discard((left, removed));
        }
    }

    fn poll(&self, turn: &Turn<'_>, ran: bool) -> Result<()> {
        self.rearm_watches();
        let mut events = self.events.take();
        let in_passing = turn.wait == Wait::No || (turn.one && ran) || self.has_work(turn);
        let result = if in_passing {
            self.poller.poll(&mut events, Some(Duration::ZERO))
        } else {
            match self.look_out(turn, ran, &mut events) {
                Some(looked) => looked,
                None => self.sleep(turn, &mut events),
            }
        };
        self.counters.add(Count::Poll);
        self.next_step();
        let mut sources = self.sources.borrow_mut();
        for event in events.drain(..) {
            sources.note(&event);
        }
        drop(sources);
        self.events.replace(events);
        result
    }

    /// After work, looks out for more of it before this thread goes to sleep: what another thread hands in, and what the sockets say.
    /// `None` when nothing came.
    fn look_out(&self, turn: &Turn<'_>, ran: bool, events: &mut Vec<PollEvent>) -> Option<Result<()>> {
        const TURNS: u32 = 4;
        const SPINS: u32 = 32;
        if !ran {
            return None;
        }
        let mut result = Ok(());
        let came = self.look_out.run(|| {
            let is_handed_in = (0..TURNS).any(|_| {
                (0..SPINS).for_each(|_| std::hint::spin_loop());
                self.has_work(turn)
            });
            result = self.poller.poll(events, Some(Duration::ZERO));
            is_handed_in || result.is_err() || !events.is_empty()
        });
        came.then_some(result)
    }

    /// Waits for the sockets, a timer, or whoever hands something in.
    fn sleep(&self, turn: &Turn<'_>, events: &mut Vec<PollEvent>) -> Result<()> {
        let timeout = self.fall_asleep(turn);
        let result = self.poller.poll(events, timeout);
        self.shared.park.awake();
        self.shared.timers.awake();
        if timeout != Some(Duration::ZERO) {
            self.counters.add(Count::WakeUp);
        }
        result
    }

    /// Publishes that this thread sleeps and returns for how long the poll may block.
    fn fall_asleep(&self, turn: &Turn<'_>) -> Option<Duration> {
        if !self.shared.park.sleep_unless(|| self.has_work(turn)) {
            return Some(Duration::ZERO);
        }
        let limit = match turn.wait {
            Wait::No => return Some(Duration::ZERO),
            Wait::Until(limit) => Some(limit),
            Wait::Forever => None,
        };
        let end = self.shared.timers.sleep(turn.classes(), limit)?;
        // Read after "sleeping" is published: a clock that is turned from here on wakes the hub.
        let left = end.saturating_duration_since(self.shared.clock.now());
        if left.is_zero() || self.shared.clock.runs() { Some(left) } else { None }
    }

    /// Says whether anything is queued that this turn would serve; also asked after "sleeping" is published, so every queue is in it.
    pub(crate) fn has_work(&self, turn: &Turn<'_>) -> bool {
        let queued = |class: Class| {
            let ready = self.ready.borrow();
            let ready = ready.of(class);
            !ready.queue.is_empty()
                || self.tasks.has_woken(class)
                || self.sources.borrow().has_ready(class)
                || self.shared.lanes.of(class).has_work()
        };
        self.closing.get()
            || (turn.heeds_stop && self.shared.is_stopping())
            || turn.root.is_some_and(Root::is_woken)
            || turn.classes().iter().any(|class| queued(*class))
    }

    fn dispatch(&self, class: Class, hub: &dyn Hub) -> usize {
        let waiting = self.sources.borrow().ready_count(class);
        let mut called = 0;
        for _ in 0..waiting {
            let taken = self.sources.borrow_mut().take_ready(class);
            let Some(taken) = taken else { continue };
            called += 1;
            self.call_source(class, taken, hub);
        }
        called
    }

    fn call_source(&self, class: Class, taken: Taken, hub: &dyn Hub) {
        let Taken { key, role, readiness, callback, listener } = taken;
        match callback {
            Called::Source(mut callback) => {
                self.counters.add(Count::Source);
                let progress = self.guarded(class, "hub.source", || callback(hub, readiness));
                let mut sources = self.sources.borrow_mut();
                let (left, removed) = match progress {
                    Some(progress) => (sources.put_back_source(key, listener, callback, progress), None),
                    None => (Some(callback), sources.remove_source(key)),
                };
                drop(sources);
                self.discard((left, removed));
            }
            Called::Watch(mut callback) => {
                let (count, operation) = match role {
                    Role::Writer => (Count::Writer, "hub.writer"),
                    Role::Reader | Role::Source => (Count::Reader, "hub.reader"),
                };
                self.counters.add(count);
                let worked = self.guarded(class, operation, || callback(hub)).is_some();
                let left = self.sources.borrow_mut().put_back_watch(key, role, listener, callback);
                let gone = left.is_some();
                self.discard(left);
                if !worked && !gone {
                    let watched = self.sources.borrow().watched_as(key);
                    if let Some(watched) = watched {
                        self.remove_watch(watched.descriptor.fd, role);
                    }
                }
                self.want_rearm(key);
            }
        }
    }
}
