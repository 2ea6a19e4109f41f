//! The end of a hub.

use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use kombu_core::hub::{Class, Hub, Poller, RemoteHub};
use mio::unix::SourceFd;

use crate::per_class::CLASSES;
use crate::state::Core;

impl Core {
    /// Closes the hub; from inside a callback, as soon as the tick ends.
    pub(crate) fn close(self: &Rc<Self>) {
        self.closing.set(true);
        if self.turning.get() || self.shared.is_closed() {
            return;
        }
        self.turning.set(true);
        // The views live as long as somebody can call this.
        if let Some(user) = self.face.get().and_then(Weak::upgrade).filter(|_| self.poller.is_own()) {
            // Until the goodbyes are said the hub works, so that they may wait for an answer.
            self.closing.set(false);
            self.say_goodbye(&*user);
            self.closing.set(true);
        }
        self.shared.close();
        self.drop_ready();
        self.drop_tasks();
        for waker in self.shared.timers.close() {
            self.guarded(Class::Io, "hub.timer", || waker.wake());
        }
        let timers = self.timer_callbacks.take();
        self.discard(timers);
        let hooks = self.hooks.take();
        self.discard(hooks);
        self.drop_sources();
        self.turning.set(false);
    }

    /// Runs the callbacks of `on_close`, then what is ready, once, then the `on_close` callbacks that this added. The handle works
    /// all the while.
    fn say_goodbye(self: &Rc<Self>, user: &dyn Hub) {
        let view = |class: Class| if class == Class::Io { user.io() } else { user };
        let say_all = || {
            let last = self.hooks.borrow().last();
            loop {
                let next = self.hooks.borrow_mut().take_close(last);
                let Some((class, callback)) = next else { break };
                self.guarded(class, "hub.on_close", || callback(view(class)));
            }
        };
        say_all();
        for class in CLASSES {
            self.take_shared_ready(class);
            let last = self.ready.borrow().of(class).pushed;
            while self.ready.borrow().of(class).popped < last {
                self.run_ready(class, view(class));
            }
        }
        say_all();
    }

    /// Drops what is ready and did not run.
    fn drop_ready(&self) {
        for class in CLASSES {
            let here = std::mem::take(&mut self.ready.borrow_mut().of_mut(class).queue);
            let mut came_in = VecDeque::new();
            self.shared.lanes.of(class).swap_ready(&mut came_in);
            for item in here {
                self.discard(item);
            }
            for item in came_in {
                self.discard(item);
            }
        }
    }

    fn drop_sources(&self) {
        let (descriptors, callbacks) = self.sources.borrow_mut().clear();
        for descriptor in descriptors.into_iter().filter(|descriptor| descriptor.is_current()) {
            // The poller goes with the hub; one that is not registered any more needs nothing.
            let _ = self.poller.deregister(&mut SourceFd(&descriptor.fd));
        }
        for callback in callbacks {
            self.discard(callback);
        }
    }
}
