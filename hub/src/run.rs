//! The loops that turn a hub: for ever, once, for a future, or for a future's I/O only.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use kombu_core::hub::{Class, Hub, instant_after};
use kombu_core::{Error, ErrorKind, Result};

use crate::root::Root;
use crate::state::Core;
use crate::turn::{Turn, Wait};

impl Core {
    /// Turns both classes until stopped or closed.
    pub(crate) fn run_forever(self: &Rc<Self>, user: &dyn Hub) -> Result<()> {
        let _turning = self.start_turning("hub.run_forever")?;
        let turn = Turn { heeds_stop: true, ..Turn::of(user, Wait::Forever) };
        loop {
            self.turn(&turn)?;
            if self.shared.take_stop() || self.closing.get() {
                return Ok(());
            }
        }
    }

    /// Turns both classes until something ran or `timeout` passed; says whether something ran.
    pub(crate) fn run_once(self: &Rc<Self>, user: &dyn Hub, timeout: Option<Duration>) -> Result<bool> {
        let _turning = self.start_turning("hub.run_once")?;
        let deadline = timeout.map(|timeout| instant_after(self.shared.clock.now(), timeout));
        let wait = match deadline {
            _ if timeout == Some(Duration::ZERO) => Wait::No,
            Some(deadline) => Wait::Until(deadline),
            None => Wait::Forever,
        };
        let turn = Turn { one: true, heeds_stop: true, ..Turn::of(user, wait) };
        loop {
            let ran = self.turn(&turn)?;
            if ran || self.closing.get() {
                return Ok(ran);
            }
            // A wake-up alone is nothing the caller waits for: what was handed in runs in the next tick.
            let passed = deadline.is_some_and(|deadline| self.shared.clock.now() >= deadline);
            if (passed && (wait == Wait::No || !self.has_work(&turn))) || self.shared.take_stop() {
                return Ok(false);
            }
        }
    }

    /// Turns both classes until `future` is ready.
    pub(crate) fn block_on<T>(
        self: &Rc<Self>,
        user: &dyn Hub,
        mut future: Pin<&mut dyn Future<Output = T>>,
    ) -> Result<T> {
        let _turning = self.start_turning("hub.block_on")?;
        let root = Root::new(&self.shared);
        let waker = root.waker();
        let turn = Turn { root: Some(&root), ..Turn::of(user, Wait::Forever) };
        loop {
            if root.take_woken() {
                let _inside = Restore::set(&self.inside, Some(Class::User));
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(value);
                }
            }
            if self.closing.get() {
                return Err(closed("hub.block_on"));
            }
            self.turn(&turn)?;
        }
    }

    /// Turns the I/O class until `future` is ready (`true`) or `deadline` passed (`false`).
    pub(crate) fn wait_io(
        self: &Rc<Self>,
        io: &dyn Hub,
        mut future: Pin<&mut dyn Future<Output = ()>>,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        if self.waiting.get() || (self.turning.get() && self.inside.get() != Some(Class::User)) {
            let why =
                "a wait inside a wait, or inside a callback of the I/O class, would block the answer it waits for";
            return Err(Error::new(ErrorKind::Reentrant, why).during("hub.wait"));
        }
        if self.is_closed() {
            return Err(closed("hub.wait"));
        }
        let _turning = if self.turning.get() { None } else { Some(self.start_turning("hub.wait")?) };
        let _waiting = Restore::set(&self.waiting, true);
        let root = Root::new(&self.shared);
        let waker = root.waker();
        let wait = deadline.map_or(Wait::Forever, Wait::Until);
        let turn = Turn { user: None, io, wait, one: false, heeds_stop: false, root: Some(&root) };
        loop {
            if root.take_woken() && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return Ok(true);
            }
            if self.is_closed() {
                return Err(closed("hub.wait"));
            }
            if deadline.is_some_and(|deadline| self.shared.clock.now() >= deadline) {
                return Ok(false);
            }
            self.turn(&turn)?;
        }
    }

    /// Notes that a loop of this thread turns the hub.
    pub(crate) fn start_turning(self: &Rc<Self>, operation: &'static str) -> Result<Turning> {
        if self.turning.get() {
            let why = "called from inside a callback of the same hub; `.wait()` on an answer is possible there";
            return Err(Error::new(ErrorKind::Reentrant, why).during(operation));
        }
        if self.is_closed() {
            return Err(closed(operation));
        }
        self.turning.set(true);
        self.shared.set_running(true);
        Ok(Turning(Rc::clone(self)))
    }
}

impl<'a> Turn<'a> {
    fn of(user: &'a dyn Hub, wait: Wait) -> Self {
        Turn { user: Some(user), io: user.io(), wait, one: false, heeds_stop: false, root: None }
    }
}

/// Keeps the hub noted as turning; its end closes a hub that was closed from inside a callback.
pub(crate) struct Turning(Rc<Core>);

impl Drop for Turning {
    fn drop(&mut self) {
        let core = &self.0;
        core.step_time.set(None);
        core.turning.set(false);
        core.shared.set_running(false);
        if core.closing.get() {
            core.close();
        }
    }
}

/// Sets a cell and puts the old value back when dropped, also by a panic of a future.
struct Restore<'a, T: Copy> {
    cell: &'a Cell<T>,
    old: T,
}

impl<'a, T: Copy> Restore<'a, T> {
    fn set(cell: &'a Cell<T>, value: T) -> Self {
        Restore { cell, old: cell.replace(value) }
    }
}

impl<T: Copy> Drop for Restore<'_, T> {
    fn drop(&mut self) {
        self.cell.set(self.old);
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, "the hub is closed").during(operation)
}
