//! The hubs that belong to this thread.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::{Hub, HubId};

thread_local! {
    static LOCAL: RefCell<Vec<(HubId, Weak<dyn Hub>)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that `hub` belongs to this thread, so that `.wait()` called here turns it instead of parking the thread that should
/// turn it. Called by hub implementations; undone when the guard is dropped.
#[must_use = "the hub is forgotten when the guard is dropped"]
pub fn register_local_hub(id: HubId, hub: Weak<dyn Hub>) -> LocalHubGuard {
    LOCAL.with_borrow_mut(|hubs| hubs.push((id, hub)));
    LocalHubGuard { id, _on_this_thread: std::marker::PhantomData }
}

/// Returns the hub `id` if it belongs to this thread.
pub fn local_hub(id: HubId) -> Option<Rc<dyn Hub>> {
    // A thread that is ending has dropped its list: nothing belongs to it any more.
    LOCAL.try_with(|hubs| hubs.borrow().iter().find(|(name, _)| *name == id).and_then(|(_, hub)| hub.upgrade())).ok()?
}

/// Keeps a hub noted as this thread's; see [`register_local_hub`].
#[derive(Debug)]
pub struct LocalHubGuard {
    id: HubId,
    _on_this_thread: std::marker::PhantomData<*const ()>,
}

impl Drop for LocalHubGuard {
    fn drop(&mut self) {
        // Failing means the thread is ending and its list is gone already.
        let _ = LOCAL.try_with(|hubs| hubs.borrow_mut().retain(|(id, _)| *id != self.id));
    }
}
