//! The future a loop is turned for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use crate::shared::Shared;

/// Says whether the future of `block_on` or `wait_io` wants to be polled.
pub(crate) struct Root(Arc<Flag>);

struct Flag {
    woken: AtomicBool,
    shared: Arc<Shared>,
}

impl Root {
    /// Makes the flag of a future that was not polled yet: it wants to be.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Root(Arc::new(Flag { woken: AtomicBool::new(true), shared: Arc::clone(shared) }))
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.0.woken.load(Ordering::SeqCst)
    }

    pub(crate) fn take_woken(&self) -> bool {
        self.0.woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.swap(true, Ordering::SeqCst);
        self.shared.wake();
    }
}
