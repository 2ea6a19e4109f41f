//! Futures that live on the hub's thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::{Runnable, Task};
use kombu_core::hub::{Class, LocalFuture, RemoteHub};
use kombu_core::reply::Reply;
use kombu_core::{Error, ErrorKind, Result};

use crate::lane::Item;
use crate::per_class::{CLASSES, PerClass};
use crate::slots::Slots;
use crate::state::Core;
use crate::stats::Count;

/// The tasks of a hub.
pub(crate) struct Tasks {
    /// Woken tasks that this tick's budget left over.
    woken: RefCell<PerClass<VecDeque<Runnable>>>,
    /// A waker per living task: waking all of them is how they are all reached when the hub closes.
    living: RefCell<Slots<Option<Waker>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Tasks { woken: RefCell::default(), living: RefCell::new(Slots::new()) }
    }

    pub(crate) fn has_woken(&self, class: Class) -> bool {
        !self.woken.borrow().of(class).is_empty()
    }
}

impl Core {
    /// Makes a task of `future` and queues its first poll. `None` when the hub is closed.
    pub(crate) fn spawn(self: &Rc<Self>, class: Class, future: LocalFuture) -> Option<Task<()>> {
        if self.shared.is_closed() {
            self.discard(future);
            return None;
        }
        let (first, task) = self.make_task(class, future);
        self.shared.push(class, Item::Task(first));
        Some(task)
    }

    /// Makes a task of `future` and polls it at once: its turn in the ready queue has come.
    pub(crate) fn start(self: &Rc<Self>, class: Class, future: LocalFuture) {
        let (first, task) = self.make_task(class, future);
        task.detach();
        self.run_task(class, first);
    }

    /// Polls a task.
    pub(crate) fn run_task(&self, class: Class, task: Runnable) {
        self.counters.add(Count::Task);
        // The future catches its own panics.
        self.guarded(class, "hub.task", || task.run());
    }

    /// Polls the woken tasks of `class` in the order they were woken, within the budget; returns how many.
    pub(crate) fn run_tasks(&self, class: Class) -> usize {
        let mut polls = 0;
        while polls < self.budgets.tasks {
            let next = {
                let mut woken = self.tasks.woken.borrow_mut();
                let woken = woken.of_mut(class);
                if woken.is_empty() {
                    self.shared.lanes.of(class).take_tasks(woken);
                }
                woken.pop_front()
            };
            let Some(task) = next else { break };
            self.run_task(class, task);
            polls += 1;
        }
        polls
    }

    /// Drops every future, then refuses woken tasks.
    pub(crate) fn drop_tasks(&self) {
        // A task that another thread is waking at this moment is between two queues; it arrives within microseconds.
        const PATIENCE: u32 = 100_000;
        for round in 0..PATIENCE {
            let wakers: Vec<Waker> = {
                let mut living = self.tasks.living.borrow_mut();
                living.keys().into_iter().filter_map(|key| living.get_mut(key)?.take()).collect()
            };
            for waker in wakers {
                self.discard(catch_unwind(AssertUnwindSafe(|| waker.wake())));
            }
            for class in CLASSES {
                let mut woken = std::mem::take(self.tasks.woken.borrow_mut().of_mut(class));
                self.shared.lanes.of(class).take_tasks(&mut woken);
                for task in woken {
                    self.discard(task);
                }
            }
            if self.tasks.living.borrow().len() == 0 {
                break;
            }
            if round > 0 {
                std::thread::yield_now();
            }
        }
        for class in CLASSES {
            self.shared.lanes.of(class).close_tasks();
        }
    }

    fn make_task(self: &Rc<Self>, class: Class, future: LocalFuture) -> (Runnable, Task<()>) {
        let key = self.tasks.living.borrow_mut().insert(None);
        let place = Place { core: Rc::downgrade(self), key };
        let task = LocalTask { future: Some(future), place };
        let shared = Arc::clone(&self.shared);
        let (runnable, task) = async_task::spawn_local(task, move |task| shared.push_task(class, task));
        if let Some(waker) = self.tasks.living.borrow_mut().get_mut(key) {
            *waker = Some(runnable.waker());
        }
        (runnable, task)
    }
}

/// A future that catches its panics and reports them.
struct LocalTask {
    future: Option<LocalFuture>,
    place: Place,
}

impl Future for LocalTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(()),
            Err(payload) => {
                if let Some(core) = self.place.core.upgrade() {
                    core.report_panic("hub.task", payload);
                }
                Poll::Ready(())
            }
        }
    }
}

impl Drop for LocalTask {
    fn drop(&mut self) {
        // async-task ends the process when the drop of a future panics.
        let future = self.future.take();
        match self.place.core.upgrade() {
            Some(core) => core.discard(future),
            None => drop(catch_unwind(AssertUnwindSafe(|| drop(future)))),
        }
    }
}

/// A task's place among the living, given up when its future is dropped.
struct Place {
    core: Weak<Core>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            let waker = core.tasks.living.borrow_mut().remove(self.key);
            drop(waker);
        }
    }
}

/// The result of a task started with [`MioHub::spawn_local`](crate::MioHub::spawn_local): a future of its value.
///
/// Dropping it lets the task go on by itself.
#[must_use = "the task goes on without it; drop it or `let _ =` it to say so"]
pub struct JoinHandle<T> {
    reply: Reply<T>,
    task: Option<Task<()>>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(reply: Reply<T>, task: Option<Task<()>>) -> Self {
        JoinHandle { reply, task }
    }

    /// Stops the task: its future is dropped in the next tick at the latest, and this handle answers `Closed`.
    pub fn cancel(&mut self) {
        self.task = None;
    }
}

impl<T> Future for JoinHandle<T> {
    /// The value; `Closed` when the task was cancelled, panicked, or was dropped with the hub.
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        Pin::new(&mut self.reply).poll(cx).map(|value| {
            value.ok_or_else(|| {
                let why = "the task ended without a value: it was cancelled, panicked, or its hub closed";
                Error::new(ErrorKind::Closed, why).during("hub.spawn_local")
            })
        })
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinHandle")
    }
}
