//! What any thread may put in front of the hub: one lane per class.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_task::Runnable;
use kombu_core::hub::{RemoteCallback, Scheduled};

/// One thing to run in the next tick.
pub(crate) enum Item {
    Callback(RemoteCallback),
    Scheduled(Arc<dyn Scheduled>),
    Spawn(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The first poll of a task; later ones go through the run queue.
    Task(Runnable),
}

/// The queues of one class. Nothing foreign is called or dropped while the mutex is held.
#[derive(Default)]
pub(crate) struct Lane(Mutex<Queues>);

#[derive(Default)]
struct Queues {
    ready: VecDeque<Item>,
    tasks: VecDeque<Runnable>,
    ready_closed: bool,
    tasks_closed: bool,
}

impl Lane {
    /// Queues `item`, or gives it back when the hub is closed.
    pub(crate) fn push(&self, item: Item) -> Result<(), Item> {
        let mut queues = self.lock();
        if queues.ready_closed {
            return Err(item);
        }
        queues.ready.push_back(item);
        Ok(())
    }

    /// Queues a task that was woken, or gives it back when the hub has dropped its tasks.
    pub(crate) fn push_task(&self, task: Runnable) -> Result<(), Runnable> {
        let mut queues = self.lock();
        if queues.tasks_closed {
            return Err(task);
        }
        queues.tasks.push_back(task);
        Ok(())
    }

    /// Exchanges what is ready for `empty`, which must be empty.
    pub(crate) fn swap_ready(&self, empty: &mut VecDeque<Item>) {
        std::mem::swap(&mut self.lock().ready, empty);
    }

    /// Moves the woken tasks to the end of `into`.
    pub(crate) fn take_tasks(&self, into: &mut VecDeque<Runnable>) {
        into.append(&mut self.lock().tasks);
    }

    pub(crate) fn has_work(&self) -> bool {
        let queues = self.lock();
        !queues.ready.is_empty() || !queues.tasks.is_empty()
    }

    /// Refuses new items from now on; woken tasks still come in.
    pub(crate) fn close_ready(&self) {
        self.lock().ready_closed = true;
    }

    /// Refuses woken tasks from now on.
    pub(crate) fn close_tasks(&self) {
        self.lock().tasks_closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while the lock is held; poisoned queues are as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
